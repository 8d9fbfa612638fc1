"""Analysis scripts: from records to figures and tables. No torch here."""
