"""The training loop and all of its parts."""
