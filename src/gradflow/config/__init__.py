"""The typed config: dataclasses inside, Hydra at the door."""

from gradflow.config.schema import RunConfig

__all__ = ["RunConfig"]
