"""Which runs of a study need more memory than a worker may use."""

from collections.abc import Sequence

from gradflow.runs.planning import PlannedRun
from gradflow.sweeps.deaths import gigabytes


def alike(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """One run for each choice of what decides about memory, of those on a CPU."""
    distinct: dict[str, PlannedRun] = {}
    for run in runs:
        config = run.config
        if config.device == "cpu":
            data = config.data.name, config.data.batch_size
            chosen = config.network, data, config.optimizer.name, config.details.name
            distinct.setdefault(repr((*chosen, config.dtype, config.task)), run)
    return list(distinct.values())


def peaks(runs: Sequence[PlannedRun]) -> list[int]:
    """The memory that each run needs, in bytes; imports torch."""
    from gradflow.runs.memory import peak_memory

    return [peak_memory(run.config) for run in runs]


def shortage(runs: Sequence[PlannedRun], needed: Sequence[int], limit: int) -> str:
    """One line that warns of the runs which need more than `limit`; empty if all fit."""
    over = [(need, run.name) for need, run in zip(needed, runs, strict=True) if need > limit]
    if not over:
        return ""
    need, name = max(over)
    more = f" (and {len(over) - 1} more)" if len(over) > 1 else ""
    return (
        f"warning: {name}{more} needs about {gigabytes(need)} of memory and a worker has "
        f"{gigabytes(limit)}: use fewer workers, a higher memory limit or a smaller "
        "data.batch_size"
    )
