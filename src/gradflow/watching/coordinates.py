"""The coordinate check: do a network's outputs, and their changes, keep their size as it grows?

Networks of several widths (or depths) take a few steps. In the maximal-update parametrization the
coordinates of each layer's output, and of their change since initialization, have the same size
at every width (Yang et al., Tensor Programs V, arXiv 2203.03466, appendix D.1); in others some
grow or vanish as a power of the width, mostly a multiple of 1/2.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch
from torch import nn

from gradflow.config.validation import typed, whole
from gradflow.core.errors import GradflowError, shown
from gradflow.core.seeds import derive_seed
from gradflow.statistics import CLAIM_FROM
from gradflow.watching.coordinate_verdict import TOLERANCE, CoordinateCheck, judge
from gradflow.watching.losses import Losses
from gradflow.watching.outputs import Outputs, aligned
from gradflow.watching.user_function import first_line

Make = Callable[[int], Any]
MADE = "(model, batch, loss, optimizer), or (model, batch, optimizer)"


def coordinate_check(
    make: Make,
    *,
    widths: Sequence[int] | None = None,
    depths: Sequence[int] | None = None,
    steps: int = 4,
    seeds: int = 5,
    wanted: float = 0.0,
    tolerance: float = TOLERANCE,
) -> CoordinateCheck:
    """Train networks of several widths for a few steps; judge how their outputs scale.

    Each network is trained on its one batch. Recorded are, per layer with a weight and per block
    (a module in a Sequential or ModuleList), the root mean square of its output and of the
    output's change since initialization. Over the widths each grows as a power: its exponent is
    the slope of log size by log width, one per seed, with Student's t interval over seeds. Of
    depths, layers whose names differ in their number within a list are taken together.

    It fails if an exponent is outside wanted +- tolerance, with a chance of at most 5 % that one
    is called so although none is (Holm, over all layers, steps and both sizes). It passes if all
    are inside, with a chance of at most 5 % of a pass although one is outside. Else it is
    inconclusive. The size of the last layer's output may shrink: in the maximal-update
    parametrization it does at initialization, or is 0. By depth, so may outputs within repeated
    blocks, of which each may add as depth^-1/2; what the blocks put out may not.

    Args:
        make: a width (or depth) to (model, batch, loss, optimizer), batch and loss as
            `gradflow.inspect` takes them; a model with a loss of its own needs none. It draws
            weights by torch's default generator, which is seeded before each call; a batch that
            is drawn before them is the same at every width.
        widths: at least two; from 64 on they tell most.
        depths: at least two, in place of widths.
        steps: of the optimizer.
        wanted: the exponent of every size: 0 in the maximal-update parametrization.
        tolerance: wrong exponents are multiples of 1/2, so that 1/4 parts them from right ones.

    Raises:
        GradflowError: a value of another type or range; networks, or seeds, that do not differ;
            an output that is not finite, a training that changes nothing; or what the user's
            code raised, in one line.
    """
    axis, sizes = _axis(widths, depths)
    if not callable(make):
        raise GradflowError(f"make={shown(make)}: must be a function of a {axis}")
    steps, seeds = whole("steps", steps, 1, 1000), whole("seeds", seeds, CLAIM_FROM, 1000)
    wanted = _finite("wanted", wanted)
    tolerance = _finite("tolerance", tolerance)
    if not tolerance > 0:
        raise GradflowError(f"tolerance={tolerance:g}: must be > 0")
    found: list[dict[int, _Trained]] = []
    for seed in range(seeds):
        found.append({size: _trained(make, size, seed, steps) for size in sizes})
        _check_differ(found, axis)
    names, left_out = aligned({s: t.outputs for s, t in found[0].items()}, merge=axis == "depth")
    frame = pd.concat(
        trained.outputs.sizes(names[size]).assign(**{axis: size, "seed": seed})
        for seed, at in enumerate(found)
        for size, trained in at.items()
    )
    return judge(frame, axis, wanted, tolerance, left_out)


class _Trained:
    """What is kept of one network."""

    def __init__(self, outputs: Outputs, parameters: int):
        self.outputs, self.parameters = outputs, parameters


def _trained(make: Make, size: int, seed: int, steps: int) -> _Trained:
    """Build and train one network. Every pass draws the same numbers, such as dropout masks."""
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(derive_seed(seed, "coordinates"))
        model, losses, optimizer = _built(make, size)
        kind = type(model).__name__
        with Outputs(model) as outputs:
            for step in range(steps + 1):
                torch.manual_seed(derive_seed(seed, "pass"))
                place = f"make({size}), seed {seed}, step {step}"
                try:
                    outputs.begin_pass()
                    loss = losses.whole(model)
                    outputs.end_pass()
                    if step < steps:
                        loss.backward()
                        optimizer.step()
                        optimizer.zero_grad()
                except GradflowError as error:
                    raise GradflowError(f"{place}: {error}") from error
                except Exception as error:
                    line = f"{kind}: {shown(first_line(error), 300)}"
                    raise GradflowError(f"{place}: {line}") from error
    return _Trained(outputs, sum(p.numel() for p in model.parameters()))


def _built(make: Make, size: int) -> tuple[nn.Module, Losses, torch.optim.Optimizer]:
    place = f"make({size})"
    try:
        made = make(size)
        if not isinstance(made, tuple | list) or len(made) not in (3, 4):
            raise GradflowError(f"must return {MADE}, and returned {shown(type(made).__name__)}")
        model, batch, *loss, optimizer = made
        if not isinstance(model, nn.Module):
            kind = shown(type(model).__name__)
            raise GradflowError(f"must return {MADE}; its model is a {kind}, no torch.nn.Module")
        if not isinstance(optimizer, torch.optim.Optimizer):
            kind = shown(type(optimizer).__name__)
            raise GradflowError(f"must return {MADE}; its optimizer is a {kind}")
        return model, Losses(batch, *(loss or [None])), optimizer
    except GradflowError as error:
        raise GradflowError(f"{place}: {error}") from error
    except Exception as error:
        raise GradflowError(f"{place}: {shown(first_line(error), 300)}") from error


def _axis(widths: Any, depths: Any) -> tuple[str, list[int]]:
    if (widths is None) == (depths is None):
        raise GradflowError("widths, depths: give one of them, such as widths=[64, 128, 256]")
    axis, given = ("width", widths) if depths is None else ("depth", depths)
    try:
        sizes = sorted(typed(list(given), tuple[int, ...]))
    except (TypeError, ValueError) as error:
        line = f"{axis}s={shown(given)}: must be whole numbers, such as [64, 128, 256]"
        raise GradflowError(line) from error
    if len(sizes) < 2 or len(set(sizes)) < len(sizes) or sizes[0] < 1:
        raise GradflowError(f"{axis}s={shown(given)}: must be two or more different numbers >= 1")
    return axis, sizes


def _finite(name: str, value: Any) -> float:
    try:
        number: float = typed(value, float)
    except ValueError as error:
        raise GradflowError(f"{name}={shown(value)}: {error}") from error
    if not abs(number) < float("inf"):
        raise GradflowError(f"{name}={shown(value)}: must be finite")
    return number


def _check_differ(found: Sequence[dict[int, _Trained]], axis: str) -> None:
    """Networks of two sizes differ, and so do those of two seeds."""
    first, last = found[0], found[-1]
    smaller: dict[int, int] = {}
    for size, trained in first.items():
        other = smaller.setdefault(trained.parameters, size)
        if other != size:
            raise GradflowError(
                f"{axis}s: make({size}) has as many parameters as make({other}), "
                f"{trained.parameters}: its argument must change the {axis}"
            )
    if len(found) > 1 and all(last[s].outputs.sums == first[s].outputs.sums for s in first):
        raise GradflowError(
            "seeds: two of them give the same outputs to the last bit: make must draw the weights "
            "by torch's default generator, and must not seed it"
        )
