"""Watching trainings whose loop another package owns; each module imports its package."""
