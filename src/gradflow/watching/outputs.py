"""Sizes of a network's outputs, layer by layer and block by block, over a few passes."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from gradflow.core.errors import GradflowError, shown
from gradflow.probes.calls import tensors_in
from gradflow.probes.norms import square

LOST = 4.0
"""A change of up to this number of units in the last place is rounding, and counts as 0."""
LAST = "output"
PARAMETRIZATIONS = "parametrizations"


class Sums(NamedTuple):
    """Of one module's outputs in one pass: sums of squares, and how many elements."""

    size: float
    change: float
    elements: int


class Outputs:
    """Looks at the outputs of a model's layers and blocks while it is open.

    A layer is a module with a weight of two or more dimensions, a block one with modules inside
    that stands in a Sequential or ModuleList. Of several tensors the first is looked at.

    Attributes:
        sums: per pass, name -> sums; names in the order in which they were first put out.
        last: the layer that was called last.
    """

    def __init__(self, model: nn.Module):
        self._model = model
        self._handles: list[Any] = []
        self._first: dict[str, list[Tensor]] = {}
        self._pass: dict[str, list[Tensor]] | None = None
        self.sums: list[dict[str, Sums]] = []
        self.last = ""

    def __enter__(self) -> Self:
        layers, blocks = _places(self._model)
        if not layers:
            raise GradflowError(f"{type(self._model).__name__}: has no weighted layer to measure")
        for name, module in {**layers, **blocks}.items():

            def note(_: nn.Module, __: Any, output: Any, name: str = name) -> None:
                self._note(name, output, is_layer=name in layers)

            self._handles.append(module.register_forward_hook(note))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._first, self._pass = {}, None

    def _note(self, name: str, output: Any, *, is_layer: bool) -> None:
        tensor = next(tensors_in(output), None)
        if self._pass is None or tensor is None:  # no pass: a checkpoint computes it once more
            return
        tensor = tensor.detach().clone()  # what follows may change it in place
        self._pass.setdefault(name, []).append(tensor)
        if is_layer:
            self.last = name

    def begin_pass(self) -> None:
        """A forward pass comes."""
        self._pass = {}

    def end_pass(self) -> None:
        """It is over.

        Raises:
            GradflowError: no layer was called; an output is not finite, or has another shape
                than in the first pass.
        """
        seen, self._pass = self._pass or {}, None
        self._first = self._first or seen
        if not self.last:
            kind = type(self._model).__name__
            raise GradflowError(f"{kind}: none of its weighted layers is called as a module")
        shapes = [{n: [t.shape for t in ts] for n, ts in p.items()} for p in (self._first, seen)]
        if shapes[0] != shapes[1]:
            raise GradflowError("its layers put out other shapes than in the first pass")
        self.sums.append({name: _sums(name, now, self._first[name]) for name, now in seen.items()})

    def sizes(self, names: Mapping[str, str]) -> pd.DataFrame:
        """A row per place, step and kind: layer, quantity (size or change), step, rms, may_shrink.

        The last layer's size may shrink, and so may outputs within one of many blocks, which
        add up; what the blocks put out may not.

        Args:
            names: name -> the place that it belongs to; others are left out.
        """
        rows: list[dict[str, Any]] = []
        for step, of_pass in enumerate(self.sums):
            places: dict[str, Sums] = {}
            for name, sums in of_pass.items():
                if name in names:
                    a = places.get(names[name], Sums(0, 0, 0))
                    both = Sums(a[0] + sums[0], a[1] + sums[1], a[2] + sums[2])
                    places[names[name]] = both
            last = {names[n] for n in of_pass if n in names and f"{self.last}.".startswith(f"{n}.")}
            for place, sums in places.items():
                sizes = {"size": sums.size, "change": sums.change}
                for quantity, total in sizes.items():
                    if quantity == "size" or step > 0:
                        within = "*" in place and not place.endswith("*")
                        rows.append(
                            {
                                "layer": place,
                                "quantity": quantity,
                                "step": step,
                                "rms": (total / max(sums.elements, 1)) ** 0.5,
                                "may_shrink": within or (quantity == "size" and place in last),
                            }
                        )
        return pd.DataFrame(rows)


def _places(model: nn.Module) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    """Layers and blocks by name."""
    layers = {
        name or type(model).__name__: module
        for name, module in model.named_modules()
        if _is_layer(module) and PARAMETRIZATIONS not in name.split(".")
    }
    blocks = {
        f"{path}.{name}".removeprefix("."): child
        for path, parent in model.named_modules()
        if isinstance(parent, nn.Sequential | nn.ModuleList)
        for name, child in parent.named_children()
        if next(child.children(), None) is not None
    }
    return layers, blocks


def _is_layer(module: nn.Module) -> bool:
    own = list(module.parameters(recurse=False))
    if is_parametrized(module):
        own += module.get_submodule(PARAMETRIZATIONS).parameters()
    return any(p.ndim > 1 for p in own)


def _sums(name: str, now: list[Tensor], first: list[Tensor]) -> Sums:
    size = change = 0.0
    for tensor, before in zip(now, first, strict=True):
        own = float(square(tensor))
        moved = float(square(tensor - before))
        if not own + moved < float("inf"):
            raise GradflowError(
                f"the output of {shown(name)} is not finite; lower the learning rate, or take "
                "fewer steps"
            )
        resolution = LOST * torch.finfo(tensor.dtype).eps
        size += own
        change += moved if moved > resolution**2 * own else 0.0
    return Sums(size, change, sum(tensor.numel() for tensor in now))


def aligned(
    found: Mapping[int, Outputs], *, merge: bool
) -> tuple[dict[int, dict[str, str]], list[str]]:
    """Which outputs of networks of several sizes are the same place.

    Args:
        merge: names that differ in a number within a list of another length are one place:
            blocks.0.up and blocks.7.up are blocks.*.up. The last layer stays by itself.

    Returns:
        Per size, name -> place; and the places that some of the networks lack, left out.

    Raises:
        GradflowError: they have no place in common; or, without `merge`, differ in one.
    """
    outputs = {size: list(o.sums[0]) for size, o in found.items()}
    names = {size: {name: name for name in own} for size, own in outputs.items()}
    if merge:
        longer = _of_other_length(outputs)
        last = {o.last for o in found.values()}
        for size, own in names.items():
            own.update({name: _merged(name, longer) for name in own})
            own[found[size].last] = found[size].last if len(last) == 1 else LAST
    places = {size: set(own.values()) for size, own in names.items()}
    common = set.intersection(*places.values())
    alone = sorted(set.union(*places.values()) - common)
    if not common or (alone and not merge):
        raise GradflowError(
            f"make: layers of the networks differ: {', '.join(map(shown, alone[:3]))} not in each"
        )
    kept = {s: {n: p for n, p in own.items() if p in common} for s, own in names.items()}
    return kept, alone


def _of_other_length(outputs: Mapping[int, list[str]]) -> set[str]:
    """Lists (by their names) of which networks have other numbers of members."""
    members: dict[str, dict[int, set[str]]] = {}
    for size, names in outputs.items():
        for name in names:
            parts = name.split(".")
            for place, part in enumerate(parts):
                if part.isdigit():
                    at = members.setdefault(".".join(parts[:place]), {})
                    at.setdefault(size, set()).add(part)
    return {name for name, at in members.items() if len(set(map(frozenset, at.values()))) > 1}


def _merged(name: str, longer: set[str]) -> str:
    parts = name.split(".")
    return ".".join(
        "*" if part.isdigit() and ".".join(parts[:place]) in longer else part
        for place, part in enumerate(parts)
    )
