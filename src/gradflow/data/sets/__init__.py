"""Data sets, one file each; gradflow.data.arrays decodes and keeps them."""
