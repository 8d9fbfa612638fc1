"""A clean stop: Ctrl-C, SIGTERM and a closed terminal (SIGHUP), in every phase of a program.

The first signal asks a run to end after its step; a second one ends the process at once. A
program that uses `limited` ends within `LIMIT_SECONDS` whatever hangs, with one line.
"""

import multiprocessing
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LIMIT_SECONDS = 13.0  # from the first signal to the end of the program; 15 with all processes
AGAIN_SECONDS = 1.0  # from the second
LINE = "interrupted; the same command resumes with the runs that are not finished"

_ASKED = threading.Event()
_UNDO: list[Callable[[], object]] = []  # what is called when the limit ends the program
_said = False


class Interrupted(KeyboardInterrupt):
    """A run has written its checkpoint and stopped because it was asked to."""


class Killed(KeyboardInterrupt):
    """Processes that did not stop were killed; the text says which runs were theirs."""


def ask_to_stop() -> None:
    """Have every run of this process stop after its present step."""
    _ASKED.set()


def asked_to_stop() -> bool:
    """Whether a stop was asked for since signals were last handled."""
    return _ASKED.is_set()


@contextmanager
def on_signals() -> Iterator[None]:
    """Inside, a signal asks. In a thread signals do not arrive, and nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        _silence_if_closed(number)
        if asked_to_stop():
            raise KeyboardInterrupt
        ask_to_stop()

    _ASKED.clear()
    with _handled_by(handle):
        yield


@contextmanager
def terminating_as_interrupt() -> Iterator[None]:
    """Inside, a signal raises KeyboardInterrupt at once. In a thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        _silence_if_closed(number)
        raise KeyboardInterrupt

    with _handled_by(handle):
        yield


def leave_at_once() -> None:
    """From here on Ctrl-C ends the process with one line; for a script, before its imports.

    Processes that are forked later end without one.
    """
    own = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:
            os._exit(1)
        _leave("interrupted")

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not ignored
        signal.signal(signal.SIGINT, handle)


def end_with_parent() -> None:
    """In a process of a pool: end it when the process that made it is gone, however that ended."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def limited() -> Iterator[None]:
    """A signal that comes inside ends the program within `LIMIT_SECONDS`, for programs only.

    At the limit all processes that it started are killed. A thread counts, as Python's own
    handlers wait while the main thread computes. It counts on after an interrupt has left the
    block, as what follows may hang too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    threading.Thread(target=_count, args=(read,), daemon=True, name="interrupts").start()
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    interrupted = False
    try:
        with terminating_as_interrupt():
            yield
    except KeyboardInterrupt:
        interrupted = True
        raise
    finally:
        if not interrupted:
            signal.set_wakeup_fd(-1)
            os.close(write)


@contextmanager
def undone_at_the_limit(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` if the program is ended inside by the limit."""
    _UNDO.append(undo)
    try:
        yield
    finally:
        _UNDO.remove(undo)


def say(line: str) -> None:
    """Print the one line of an interrupt."""
    global _said
    if not _said:
        _said = True
        with suppress(OSError, ValueError):  # nobody reads it any more
            print(line, file=sys.stderr, flush=True)


def _count(read: int) -> None:
    """Wait for signals; end the program when too long has passed since the first."""
    deadline = float("inf")
    while True:
        left = None if deadline == float("inf") else max(0.0, deadline - time.monotonic())
        if not select.select([read], [], [], left)[0]:
            _leave(f"{LINE}; what did not stop within {LIMIT_SECONDS:.0f} s was killed")
        received = os.read(read, 64)
        if not received:  # the other end is closed
            os.close(read)
            return
        for number in received:
            if number in SIGNALS:
                seconds = LIMIT_SECONDS if deadline == float("inf") else AGAIN_SECONDS
                deadline = min(deadline, time.monotonic() + seconds)


def _leave(line: str) -> NoReturn:
    """End this process and all that it started, without waiting for anything."""
    with suppress(BaseException):
        if "psutil" in sys.modules:  # else nothing was started yet
            for child in sys.modules["psutil"].Process().children(recursive=True):
                with suppress(Exception):
                    child.kill()
        for undo in _UNDO:
            undo()
    say(line)
    os._exit(1)


def _silence_if_closed(number: int) -> None:
    """A terminal that is closed takes no text, and a run must not fail of that."""
    if number == signal.SIGHUP:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            if os.isatty(stream) or not _is_open(stream):
                os.dup2(nowhere, stream)
        os.close(nowhere)


def _is_open(stream: int) -> bool:
    try:
        os.write(stream, b"")
    except OSError:
        return False
    return True


@contextmanager
def _handled_by(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    # nohup ignores SIGHUP, and it stays ignored.
    taken = [n for n in SIGNALS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in taken}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
