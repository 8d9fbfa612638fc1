"""Where a closed form holds: outside of it a function raises rather than return a number."""

from gradflow.core.errors import GradflowError


def require(condition: bool, name: str, value: object, valid: str) -> None:
    """Raise a GradflowError that names the argument and what it must be."""
    if not condition:
        raise GradflowError(f"{name}={value}: must be {valid}")
