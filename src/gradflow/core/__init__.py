"""What every room may use: errors, seeds, locks, interrupts, progress, provenance."""
