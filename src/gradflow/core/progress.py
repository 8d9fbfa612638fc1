"""Where a run reports how far it is, to a bar of its own or to the study's, and how it ended.

What a user must know while it runs is a line on the terminal: `tell`.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm


class Progress(NamedTuple):
    """How far a run is; `loss` is the last mini-batch's."""

    run: str
    step: int
    steps: int
    loss: float


class RunResult(NamedTuple):
    """Where a run's records are, how it ended, and whether it had ended before."""

    folder: Path
    status: str
    skipped: bool
    final_train_error: float | None


Reporter = Callable[[Progress], None]
Teller = Callable[[str], None]


def print_line(line: str) -> None:
    """To stderr, above any bar."""
    tqdm.write(line, file=sys.stderr)


_REPORTER: ContextVar[Reporter | None] = ContextVar("reporter", default=None)
_TELLER: ContextVar[Teller] = ContextVar("teller", default=print_line)


@contextmanager
def reporting_to(reporter: Reporter, teller: Teller) -> Iterator[None]:
    """Send the reports and lines of runs inside this block there; a launcher's side of it."""
    tokens = _REPORTER.set(reporter), _TELLER.set(teller)
    try:
        yield
    finally:
        _REPORTER.reset(tokens[0])
        _TELLER.reset(tokens[1])


def tell(line: str) -> None:
    """Show a line on the user's terminal, from a worker's process too."""
    _TELLER.get()(line)


@contextmanager
def reporter(run: str, steps: int) -> Iterator[Reporter]:
    """Where one run reports to: a surrounding launcher, else a bar; nothing off a terminal."""
    outer = _REPORTER.get()
    if outer is not None:
        yield outer
        return
    with tqdm(total=steps, desc=run, unit="step", disable=not sys.stderr.isatty()) as bar:

        def show(progress: Progress) -> None:
            bar.update(progress.step - bar.n)
            bar.set_postfix(loss=f"{progress.loss:.3g}")

        yield show


class StudyBar:
    """How far a study is: runs ended, running and failed, throughput, time left.

    On a terminal one bar; elsewhere a line now and then, for a log.
    """

    def __init__(self, runs: int, line_seconds: float = 60.0):
        self._on_terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=runs,
            bar_format="{percentage:3.0f}%|{bar}| {desc} [{elapsed}<{remaining}{postfix}]",
            disable=not self._on_terminal,
        )
        self._runs = runs
        self._running: dict[str, Progress] = {}
        self._ended = self._failed = self._workers = 0
        self._line_seconds = line_seconds
        self._started = self._told = time.monotonic()

    def __enter__(self) -> "StudyBar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, progress: Progress) -> None:
        """Take note of a run's report."""
        self._running[progress.run] = progress
        if progress.step == progress.steps:
            del self._running[progress.run]
        self._refresh()

    def forget(self, run: str) -> None:
        """Take note that a run lost its worker: what it had reported counts no more."""
        self._running.pop(run, None)

    def note(self, line: str) -> None:
        """Print a line of its own."""
        self._bar.write(line, file=sys.stderr)

    def end_run(self, *, failed: bool) -> None:
        """Take note that a run, whichever, has ended."""
        self._ended += 1
        self._failed += failed
        self._refresh()

    def look(self, workers: int) -> None:
        """Take note of how many workers there are; draw the bar anew, or tell a line if due."""
        self._workers = workers
        self._refresh()

    def _refresh(self) -> None:
        begun = sum(p.step / p.steps for p in list(self._running.values()))
        done = min(self._ended + begun, self._runs)
        if self._on_terminal:
            self._bar.n = done
            self._bar.set_description_str(self._counts(), refresh=False)
            losses = (f"{p.run} loss {p.loss:.2g}" for p in list(self._running.values()))
            self._bar.set_postfix_str(", ".join(losses))
        elif time.monotonic() - self._told >= self._line_seconds:
            self._told = time.monotonic()
            minutes = (self._told - self._started) / 60
            pace = ""
            if done:
                left = _span(minutes * (self._runs / done - 1))
                pace = f", {done / minutes:.2g} a minute, {left} left"
            print(f"{self._counts()}{pace}", file=sys.stderr)

    def _counts(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        running = min(self._workers, self._runs - self._ended)  # a worker has one run at a time
        return f"{self._ended}/{self._runs} runs, {running} running{failed}"


def _span(minutes: float) -> str:
    if minutes < 120:
        return f"{minutes:.0f} minutes"
    hours = minutes / 60
    return f"{hours:.0f} hours" if hours < 72 else f"{hours / 24:.0f} days"
