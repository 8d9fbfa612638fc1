"""Steps whose size is set tensor by tensor: what training/optimizers/muon and normalized build."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from gradflow.training.optimizers import uncompiled

SMALLEST_RMS = 1e-3  # of a tensor, for the size of its step: biases and some gains start at 0
VECTOR_BETAS = (0.9, 0.95)  # of the AdamW that steps what is no matrix


class Around(Optimizer):
    """An optimizer that shows gradients of its own making to others, which take the steps.

    Args:
        inner: the others, one per group of parameters, whose rates are those of the groups.
    """

    def __init__(self, groups: Sequence[Sequence[nn.Parameter]], inner: Sequence[Optimizer]):
        super().__init__([{"params": group} for group in groups], {"lr": inner[0].defaults["lr"]})
        self._inner = inner

    @abstractmethod
    def show(self) -> None:
        """Give the others' tensors their gradients."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch's is overloaded
        """One step of each; gradients are as they were after it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        held = [p for group in self.param_groups for p in group["params"]]
        gradients = [p.grad for p in held]
        self.show()
        for inner, group in zip(self._inner, self.param_groups, strict=True):
            inner.param_groups[0]["lr"] = group["lr"]
            inner.step()
        for p, gradient in zip(held, gradients, strict=True):
            p.grad = gradient
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Those of the others."""
        return {"inner": [inner.state_dict() for inner in self._inner]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What `state_dict` returned."""
        for inner, group, state in zip(
            self._inner, self.param_groups, state_dict["inner"], strict=True
        ):
            inner.load_state_dict(state)
            group["lr"] = inner.param_groups[0]["lr"]


class Muon(Around):
    """Orthogonalized momentum for matrices (torch.optim.Muon), AdamW for all other tensors.

    A filter is a row of its layer's matrix, [out, in * height * width], as in K. Jordan's Muon
    (2024). An update has 0.2 of the entries' root mean square of an orthogonal matrix as wide as
    the larger side, so that one rate and one decay serve both (Liu et al. 2025, arXiv
    2502.16982, equation 4). torch orthogonalizes in bfloat16, by five steps of Newton and Schulz.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], lr: float, weight_decay: float, momentum: float
    ):
        matrices = [p for p in parameters if p.ndim > 1]
        others = [p for p in parameters if p.ndim < 2]
        self._matrices = [(p, nn.Parameter(_matrix(p.detach(), like=p))) for p in matrices]
        inner = []
        if matrices:
            options = {"momentum": momentum, "adjust_lr_fn": "match_rms_adamw"}
            views = [view for _, view in self._matrices]
            inner.append(
                uncompiled(torch.optim.Muon, views, lr=lr, weight_decay=weight_decay, **options)
            )
        if others:
            options = {"betas": VECTOR_BETAS, "fused": True}
            inner.append(uncompiled(AdamW, others, lr=lr, weight_decay=weight_decay, **options))
        super().__init__([group for group in (matrices, others) if group], inner)

    def show(self) -> None:
        """The matrices' gradients, as matrices."""
        for p, view in self._matrices:
            view.grad = None if p.grad is None else _matrix(p.grad, like=p)


def _matrix(tensor: Tensor, like: Tensor) -> Tensor:
    """[out, rest], a view of a tensor in the memory layout of `like`.

    The order of columns, which differs between the layouts, changes no step.
    """
    if like.ndim == 4 and not like.is_contiguous():
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.flatten(1)


class Normalized(Around):
    """SGD with momentum whose steps have a tensor's own size, whatever its gradient's.

    A tensor w of n elements with the decayed gradient d = g + weight_decay * w moves along
    s * d / |d|, s = max(|w| / sqrt(n), 1e-3) * sqrt(n): rate and momentum alone decide by what
    share of its norm (You et al. 2017, arXiv 1708.03888, LARS, with all of the trust; the
    floor: Shazeer and Stern 2018, arXiv 1804.04235, section 8).
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        lr: float | Tensor,
        weight_decay: float,
        momentum: float,
    ):
        self._parameters = parameters
        self._decay = weight_decay
        inner = uncompiled(SGD, parameters, lr=lr, momentum=momentum, fused=True)
        super().__init__([parameters], [inner])

    def show(self) -> None:
        """The directions, in the sizes of the steps; one of zeros has none, and moves nothing."""
        for p in self._parameters:
            if p.grad is None:
                continue
            along = p.grad.add(p, alpha=self._decay)
            size = p.norm().clamp_min(SMALLEST_RMS * math.sqrt(p.numel()))
            p.grad = along.mul_(size / along.norm().clamp_min(torch.finfo(p.dtype).tiny))
