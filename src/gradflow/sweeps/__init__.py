"""Sweeps: which jobs there are, and where they run."""
