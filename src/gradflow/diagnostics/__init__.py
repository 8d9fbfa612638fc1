"""What is measured on a frozen network: one diagnostic a file, its rows a table of the records."""

from gradflow.diagnostics.diagnosis import diagnose

__all__ = ["diagnose"]
