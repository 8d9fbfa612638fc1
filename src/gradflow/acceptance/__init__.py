"""Acceptance: published numbers and closed forms, each tested by what this suite measures."""
