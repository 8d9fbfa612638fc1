"""What others offer to see gradients with, each as it is used in a training loop.

plot_grad_flow   the snippet that many copy: mean and largest |gradient| of every weight, as
                 numbers in lists
grad_norm        lightning.pytorch.utilities.grad_norm: the norm of every parameter's gradient
watch            wandb.watch(log="all", log_freq=1), offline: histograms of every parameter and
                 of its gradient, and a log line per step
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


class Other:
    """Something that looks at the gradients of a network; this one does nothing."""

    @contextmanager
    def on(self, network: nn.Module) -> Iterator[None]:
        """What has to be in the network for a step."""
        yield

    def gradients(self, network: nn.Module) -> None:
        """After the backward pass."""

    def updates(self) -> None:
        """After the optimizer's step."""

    def close(self) -> None:
        """End it."""


class PlotGradFlow(Other):
    """Mean and largest absolute gradient of each weight."""

    def __init__(self) -> None:
        self.means: list[float] = []
        self.largest: list[float] = []

    def gradients(self, network: nn.Module) -> None:
        """Two numbers per weight, in lists."""
        self.means, self.largest = [], []
        for name, parameter in network.named_parameters():
            if parameter.grad is not None and "bias" not in name:
                size = parameter.grad.abs()
                self.means.append(size.mean().item())
                self.largest.append(size.max().item())


class GradNorm(Other):
    """Lightning's norms, logged as numbers."""

    def __init__(self) -> None:
        from lightning.pytorch.utilities import grad_norm

        self.norms_of: Callable[..., Any] = grad_norm
        self.logged: dict[str, float] = {}

    def gradients(self, network: nn.Module) -> None:
        """A number per parameter, and their total."""
        found = self.norms_of(network, norm_type=2)
        self.logged = {name: float(norm) for name, norm in found.items()}


class Watch(Other):
    """W&B's watch, offline."""

    def __init__(self) -> None:
        import wandb

        self.folder = tempfile.TemporaryDirectory()
        quiet = wandb.Settings(silent=True, console="off")
        self.run: Any = wandb.init(mode="offline", dir=self.folder.name, settings=quiet)

    @contextmanager
    def on(self, network: nn.Module) -> Iterator[None]:
        """Its hooks, for one step."""
        self.run.watch(network, log="all", log_freq=1)
        try:
            yield
        finally:
            self.run.unwatch(network)

    def updates(self) -> None:
        """The step's line."""
        self.run.log({})

    def close(self) -> None:
        """End the run and delete its files."""
        self.run.finish()
        self.folder.cleanup()


OTHERS: dict[str, Callable[[], Other]] = {
    "plot_grad_flow": PlotGradFlow,
    "Lightning's grad_norm": GradNorm,
    "W&B's watch": Watch,
}


def others() -> tuple[dict[str, Other], list[str]]:
    """Those that can be imported, by name; and why others cannot."""
    found: dict[str, Other] = {}
    missing: list[str] = []
    for name, make in OTHERS.items():
        try:
            found[name] = make()
        except (ImportError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            missing.append(f"Without {name}: {reason}.")
    return found, missing
