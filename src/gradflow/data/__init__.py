"""Data sets as uint8 tensors, and the batches a run sees, as a function of (seed, epoch)."""
