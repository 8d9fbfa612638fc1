"""Hydra's own sweeper, without its second composition of every job's config."""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class GridSweeper(BasicSweeper):
    """The grid of all overrides. The launcher checks each config before the first run, so
    Hydra need not compose them all once more to see whether they are legal."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        return
