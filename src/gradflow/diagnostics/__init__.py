"""What is measured on a frozen network: one file per diagnostic: options, tables, function."""
