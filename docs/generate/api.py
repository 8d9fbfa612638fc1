"""The page of the Python API: every name of `gradflow`, in the words of its docstring."""

import inspect
from collections.abc import Callable
from typing import Any

import gradflow

RELATED = {
    "gradflow.watching.session.Watch": "what `gradflow.watch` returns",
    "gradflow.watching.inspection.Inspection": "what `gradflow.inspect` returns",
    "gradflow.watching.coordinates.CoordinateCheck": "what `gradflow.coordinate_check` returns",
    "gradflow.watching.alerts.Alert": "an entry of `watch.alerts`",
    "gradflow.watching.sinks.Csv": "a sink",
    "gradflow.watching.sinks.TensorBoard": "a sink",
    "gradflow.watching.sinks.Tracked": "a sink, of Weights & Biases or trackio",
}
"""Further classes that a user meets -> what each is."""

HEAD = """# Python API

`import gradflow` gives these names. Each is imported when it is first used, so records are read
without torch.
"""


def page() -> str:
    """The page; mkdocstrings replaces each `:::` by a docstring."""
    parts = [HEAD]
    for name in sorted(gradflow.__all__, key=str.lower):
        value = getattr(gradflow, name)
        if isinstance(value, str):
            parts.append(f"`gradflow.{name}` is a text, such as `{value}`.\n")
        else:
            parts.append(_entry(_path(value), f"gradflow.{name}"))
    parts.append("## Related classes\n")
    for path, what in RELATED.items():
        parts.append(f"{what[0].upper()}{what[1:]}:\n")
        parts.append(_entry(path, path.removeprefix("gradflow."), level=3))
    return "\n".join(parts)


def _path(value: Callable[..., Any]) -> str:
    value = inspect.unwrap(value)
    return f"{value.__module__}.{value.__qualname__}"


def _entry(path: str, title: str, level: int = 2) -> str:
    return (
        f"::: {path}\n    options:\n      heading: {title}\n      toc_label: {title}\n"
        f"      heading_level: {level}\n"
    )
