"""Closed forms beside the measurements: each with its source, its assumptions, its domain."""
