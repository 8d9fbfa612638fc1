"""How a study's runs ended, in a line for people."""

from collections import Counter
from collections.abc import Sequence

from hydra.core.utils import JobReturn

from gradflow.core.errors import GradflowError
from gradflow.core.progress import RunResult
from gradflow.runs.status import ENDED


def summary(results: Sequence[RunResult], failed: int) -> str:
    """How a study's runs ended, in one line; a run that had ended before counts as such."""
    counts = Counter(_ending(result) for result in results)
    counts["failed"] = failed
    parts = [f"{count} {ending}" for ending, count in counts.items() if count]
    return f"{len(results) + failed} runs: {', '.join(parts)}"


def _ending(result: RunResult) -> str:
    if result.skipped:
        return "had ended before" if result.status in ENDED else f"{result.status} and left so"
    return result.status


def failures(failed: Sequence[JobReturn]) -> str:
    """The distinct errors, each with the number of runs it struck and one that shows it."""
    by_text: dict[str, list[JobReturn]] = {}
    for job in failed:
        error = job._return_value
        text = (
            str(error) if isinstance(error, GradflowError) else f"{type(error).__name__}: {error}"
        )
        by_text.setdefault(text, []).append(job)
    lines = [
        f"{text} ({len(jobs)} runs, such as {' '.join(jobs[0].overrides or ())})"
        for text, jobs in by_text.items()
    ]
    return f"{'; '.join(lines)}. The same command tries the failed runs again."
