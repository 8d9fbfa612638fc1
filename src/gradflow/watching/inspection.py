"""A network at initialization, in one forward and backward pass: will its gradient arrive?"""

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from gradflow.core.errors import GradflowError, shown
from gradflow.probes import Probes
from gradflow.watching.alerts import Alarms, Alert
from gradflow.watching.losses import Loss, Losses
from gradflow.watching.seen import seen_of
from gradflow.watching.siblings import Siblings


@dataclass(frozen=True)
class Inspection:
    """What one pass shows; str() is a paragraph of plain words.

    Attributes:
        layers, blocks: a row per layer and per residual sum, columns as in the records;
            of layers also has_gradient.
        ratio: gradient norm at the first block's input over that at the last block's output;
            None without blocks.
        predicted: of the ratio, see `predicted_ratio`; None if the structure is not known.
        growth: root mean square of the last block's input over that of the first's.
        cosine: mean cosine between the gradients of two examples; NaN if it was not measured.
        alerts: of this pass, see `gradflow.watching.alerts`.
    """

    name: str
    loss: float
    layers: pd.DataFrame
    blocks: pd.DataFrame
    ratio: float | None
    predicted: float | None
    growth: float | None
    cosine: float
    alerts: tuple[Alert, ...]

    def __str__(self) -> str:
        count = int(self.layers.has_gradient.sum())
        parts = [f"{self.name}: {count} of {len(self.layers)} layers have a gradient; the loss is"]
        parts[0] += f" {self.loss:.4g}."
        if self.ratio is not None:
            parts.append(
                f"Of {len(self.blocks) - 1} residual sums, the first one's input receives "
                f"{self.ratio:.3g} times the gradient norm at the last one's output{self._theory}."
            )
        else:
            parts.append("No residual sum was found.")
        if self.growth is not None:
            parts.append(f"Forward, the stream grows {self.growth:.3g} times over the blocks.")
        if not np.isnan(self.cosine):
            parts.append(f"Gradients of two examples have a cosine of {self.cosine:.2f}{self._of}.")
        wrong = "; ".join(f"{alert.kind}: {alert.text}" for alert in self.alerts)
        parts.append(f"Alerts: {wrong}." if wrong else "Nothing is out of range.")
        return " ".join(parts)

    @property
    def _theory(self) -> str:
        if self.predicted is None:
            return ""
        return f" (independent branches of these sizes: {self.predicted:.3g})"

    @property
    def _of(self) -> str:
        return (
            " (0: each pulls its own way, as in shattered gradients)" if self.cosine < 0.1 else ""
        )


def inspect(model: nn.Module, batch: Any, loss: Loss | None = None) -> Inspection:
    """One forward and backward pass of a copy of the model; the model is left as it is.

    Args:
        batch: (inputs, targets) for a loss of both; inputs are a tensor, or a tuple or a dict of
            arguments. Without a loss: a dict of arguments with which the model puts out its
            own, as `.loss`.
        loss: of the model's outputs and the targets, such as torch.nn.functional.cross_entropy.

    Raises:
        GradflowError: a value of another type, a model without a weighted layer, a loss that is
            no single number; or what the model or the loss raised, in one line.
    """
    if not isinstance(model, nn.Module):
        raise GradflowError(f"model={shown(model)}: must be a torch.nn.Module")
    losses = Losses(batch, loss)
    with torch.random.fork_rng(), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        copied = copy.deepcopy(model)
        copied.zero_grad(set_to_none=True)
        with Probes(copied) as probes:
            probes.arm(0)
            value = losses.whole(copied)
            value.backward()
            tables = probes.tables()
        cosine = losses.cosine(copied)
    if "layers" not in tables:
        raise GradflowError(f"{type(model).__name__}: its backward pass could not be measured")
    layers = tables["layers"].to_pandas()
    layers["has_gradient"] = tables["layers"]["grad_norm"].is_valid().to_numpy()  # NaN is one
    blocks = tables["blocks"].to_pandas() if "blocks" in tables else pd.DataFrame()
    lacking = Siblings(model).without_sum(tables) if len(blocks) else {}
    loss_value = float(value.detach())
    alarms, seen = Alarms(), seen_of(tables, 0, loss_value, lacking)
    alerts = {alert.kind: alert for _ in range(2) for alert in alarms.see(seen)}
    rms = blocks.input_rms.to_numpy(float)[:-1] if len(blocks) else np.zeros(0)
    return Inspection(
        name=type(model).__name__,
        loss=loss_value,
        layers=layers,
        blocks=blocks,
        ratio=_ratio(blocks),
        predicted=predicted_ratio(blocks),
        growth=float(rms[-1] / rms[0]) if len(rms) > 1 else None,
        cosine=cosine,
        alerts=tuple(alerts.values()),
    )


def predicted_ratio(blocks: pd.DataFrame) -> float | None:
    """The end-to-end ratio if branches are independent: sqrt(prod_l 1 + |F_l|^2 / |x_l|^2).

    A branch of independent weights of mean 0 that keeps its width multiplies squared norms
    forward as it multiplies squared gradients backward, and is uncorrelated with its shortcut
    (Hanin and Rolnick 2018): both grow by 1 + |F|^2 / |x|^2 at a block. Exact in expectation for
    x + W ReLU(x); of a branch behind a norm, or with more layers, to a factor near 1.

    Args:
        blocks: rows of one step; None is returned unless each has the sizes of x and F(x).
    """
    if len(blocks) < 3:
        return None
    inside = blocks.iloc[:-1]
    x, branch = inside.input_rms.to_numpy(float), inside.branch_rms.to_numpy(float)
    if not (np.isfinite(x).all() and np.isfinite(branch).all() and (x > 0).all()):
        return None
    return float(np.exp(0.5 * np.log1p((branch / x) ** 2).sum()))


def _ratio(blocks: pd.DataFrame) -> float | None:
    if len(blocks) < 2:
        return None
    gradient = blocks.input_grad_norm.to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(gradient[0] / gradient[-1])
