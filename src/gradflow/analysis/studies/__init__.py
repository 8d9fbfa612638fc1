"""One module per family of studies: its figures and tables."""
