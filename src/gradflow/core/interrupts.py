"""A clean stop: whoever wants a run to end asks, and the run ends after its step.

The first Ctrl-C or SIGTERM asks; a second one ends the process at once.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ASKED = threading.Event()


class Interrupted(KeyboardInterrupt):
    """A run has written its checkpoint and stopped because it was asked to."""


def ask_to_stop() -> None:
    """Have every run of this process stop after its present step."""
    _ASKED.set()


def asked_to_stop() -> bool:
    """Whether a stop was asked for since signals were last handled."""
    return _ASKED.is_set()


@contextmanager
def on_signals() -> Iterator[None]:
    """Inside, Ctrl-C and SIGTERM ask. In a thread signals do not arrive, and nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if asked_to_stop():
            raise KeyboardInterrupt
        ask_to_stop()

    _ASKED.clear()
    with _handled_by(handle):
        yield


@contextmanager
def terminating_as_interrupt() -> Iterator[None]:
    """Inside, Ctrl-C and SIGTERM raise KeyboardInterrupt at once. In a thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled_by(handle):
        yield


@contextmanager
def _handled_by(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
