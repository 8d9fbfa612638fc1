"""The typed config: dataclasses inside, Hydra at the door."""

from gradflow.config.run import RunConfig

__all__ = ["RunConfig"]
