"""The values of a launcher's options, checked before anything is written."""

from typing import Any

from gradflow.core.errors import GradflowError

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
            "hydra.launcher.dashboard=true: needs bokeh: pip install -e '.[dashboard]'"
        ) from error
    return "127.0.0.1:8787"


def whole(key: str, value: Any, least: int) -> int:
    """A launcher's value as a whole number.

    Raises:
        GradflowError: it is none, or less than `least`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise GradflowError(f"hydra.launcher.{key}={value}: must be a whole number >= {least}")
    return value


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
        raise GradflowError(
            f"hydra.launcher.{key}={value}: must be a size such as 2GB, at least "
            f"{LEAST_MEMORY // 10**6} MB"
        )
    return found
