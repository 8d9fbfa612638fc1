"""Records to figures, tables and reports; knows no torch."""
