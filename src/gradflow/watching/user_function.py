"""A function of the user's that a command names as module:function."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradflow.core.errors import GradflowError, shown


def function_of(text: str) -> Callable[..., Any]:
    """The function of `train:make` or `models/train.py:make`, of which errors are one line.

    Raises:
        GradflowError: there is none; the function that is returned raises it for whatever the
            user's raises.
    """
    module, _, name = text.partition(":")
    if not name:
        raise GradflowError(f"{shown(text)}: must be module:function")
    file = Path(module)
    is_file = file.suffix == ".py"
    sys.path.insert(0, str(file.parent) if is_file else "")
    try:
        found = getattr(importlib.import_module(file.stem if is_file else module), name, None)
    except Exception as error:  # whatever the user's module does while it is imported
        raise GradflowError(f"{shown(text)}: {shown(first_line(error), 300)}") from error
    if not callable(found):
        raise GradflowError(f"{shown(text)}: {module} has no function {shown(name)}")

    def called(*arguments: Any) -> Any:
        try:
            return found(*arguments)
        except Exception as error:
            raise GradflowError(f"{shown(text)}: {shown(first_line(error), 300)}") from error

    return called


def first_line(error: BaseException) -> str:
    """An error's class and the first line of its message."""
    line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
