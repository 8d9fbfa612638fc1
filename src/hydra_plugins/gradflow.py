"""What Hydra finds: every Hydra program on the machine imports this file, so it imports nothing.

Each class hands over to its namesake in gradflow.sweeps, which is loaded when it is used.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, ClassVar

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper


class _Deferred:
    """Builds an object of the class `TARGET` and passes every call on to it."""

    TARGET: ClassVar[str]  # module:class

    def __init__(self, **options: Any):
        module, _, name = self.TARGET.partition(":")
        self.plugin = getattr(import_module(module), name)(**options)

    def setup(self, **context: Any) -> None:
        self.plugin.setup(**context)


class _DeferredLauncher(_Deferred, Launcher):
    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        jobs: Sequence[JobReturn] = self.plugin.launch(job_overrides, initial_job_idx)
        return jobs

    def check(self) -> None:
        self.plugin.check()


class _DeferredSweeper(_Deferred, Sweeper):
    def sweep(self, arguments: list[str]) -> Any:
        return self.plugin.sweep(arguments)


class LocalLauncher(_DeferredLauncher):
    """hydra/launcher=local: runs side by side on this machine."""

    TARGET = "gradflow.sweeps.local:LocalLauncher"


class SlurmLauncher(_DeferredLauncher):
    """hydra/launcher=slurm: runs as Slurm jobs."""

    TARGET = "gradflow.sweeps.slurm:SlurmLauncher"


class GridSweeper(_DeferredSweeper):
    """hydra/sweeper=grid: every combination of the values given."""

    TARGET = "gradflow.sweeps.grid:GridSweeper"


class SearchSweeper(_DeferredSweeper):
    """hydra/sweeper=search: the best values of the keys that are searched."""

    TARGET = "gradflow.sweeps.search:SearchSweeper"
