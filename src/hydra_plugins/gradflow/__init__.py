"""Hydra plugins of this project: the local launcher and the end of a study."""
