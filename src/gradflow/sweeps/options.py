"""The values of a launcher's options, checked before anything is written."""

from collections.abc import Sequence
from typing import Any

from gradflow.core.errors import GradflowError, shown

LEAST_MEMORY = 100 * 10**6  # bytes of a worker; Python and torch alone take more


def dashboard_address(wanted: bool) -> str | None:
    """Where a scheduler serves its dashboard: at Dask's usual port, to this machine alone.

    Raises:
        GradflowError: it is wanted and cannot be drawn.
    """
    if not wanted:
        return None
    try:
        import bokeh  # noqa: F401
    except ImportError as error:
        raise GradflowError(
            "hydra.launcher.dashboard=true: needs bokeh: pip install 'gradflow-suite[dashboard]'"
        ) from error
    return "127.0.0.1:8787"


MOST = 100_000  # workers, jobs, cores: more than any machine has


def whole(key: str, value: Any, least: int, most: int = MOST) -> int:
    """A value of a launcher or sweeper as a whole number.

    Args:
        key: as it is typed; a launcher's without hydra.launcher.

    Raises:
        GradflowError: it is none, or less than `least` or more than `most`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _refusal(key, value, f"a whole number >= {least} and <= {most}")
    return value


def truth(key: str, value: Any) -> bool:
    """A launcher's value as true or false.

    Raises:
        GradflowError: it is neither.
    """
    if not isinstance(value, bool):
        raise _refusal(key, value, "true or false")
    return value


def text(key: str, value: Any) -> str | None:
    """A launcher's value as text of one line, or null.

    Raises:
        GradflowError: it is neither.
    """
    if value is not None and not (isinstance(value, str) and value.isprintable()):
        raise _refusal(key, value, "text of one line")
    return value


def texts(key: str, value: Any) -> list[str]:
    """A launcher's value as lines of text.

    Raises:
        GradflowError: it is no list, or not of text.
    """
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _refusal(key, value, "a list of lines")
    return [str(text(key, line)) for line in value]


def _refusal(key: str, value: Any, valid: str) -> GradflowError:
    key = key if key.startswith("hydra.") else f"hydra.launcher.{key}"
    return GradflowError(f"{key}={shown(value)}: must be {valid}")


def size(key: str, value: Any) -> int:
    """A launcher's value in bytes, such as 2GB.

    Raises:
        GradflowError: it is no size, or too small for any process.
    """
    from dask.utils import parse_bytes

    try:
        found = 0 if isinstance(value, bool) else int(parse_bytes(value))
    except (ValueError, TypeError, OverflowError, AttributeError):
        found = 0
    if found < LEAST_MEMORY:
        raise _refusal(key, value, f"a size such as 2GB, at least {LEAST_MEMORY // 10**6} MB")
    return found
