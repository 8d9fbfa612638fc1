"""What a network is measured at: its layers, and the residual blocks that a user names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from gradflow.core.errors import GradflowError

Branch = str | tuple[str, str]
"""A branch by name: its module, or the first and the last of its modules."""


@dataclass(frozen=True)
class Layer:
    """A weighted layer: a parameter of two or more dimensions."""

    index: int
    name: str
    kind: str
    weight: Tensor


@dataclass(frozen=True)
class Names:
    """Blocks as a user names them.

    Attributes:
        blocks: module -> name.
        branches: the names of each branch's first and last module; None if unknown.
        shortcut: the name of S, "identity", or None if unknown.
    """

    blocks: dict[nn.Module, str]
    branches: tuple[tuple[str, str], ...] | None
    shortcut: str | None


def find_layers(network: nn.Module, *, every: bool = False) -> list[Layer]:
    """Every parameter of two or more dimensions, in order of definition; of any if `every`.

    A layer is named by its parameter, without a final `.weight`. Of a parametrized layer the
    parameters that are trained are layers, not the weight that is computed from them.

    Raises:
        GradflowError: there is none.
    """
    modules = dict(network.named_modules())
    layers: list[Layer] = []
    for path, weight in network.named_parameters():
        if weight.ndim < 2 and not every:
            continue
        owner, _, name = path.rpartition(".")
        maker = modules[owner]
        if isinstance(maker, ParametrizationList):
            maker = modules[owner.rpartition(".parametrizations")[0]]
        shown = owner if name == "weight" and owner else path
        layers.append(Layer(len(layers), shown, type(maker).__name__, weight))
    if not layers:
        raise GradflowError(f"{type(network).__name__}: has no weighted layer to measure")
    return layers


def find_names(
    network: nn.Module,
    pattern: str | None,
    branches: Branch | Sequence[Branch] | None,
    shortcut: str | None,
) -> Names | None:
    """The blocks that a user names; None if they are to be found in the graph.

    Args:
        pattern: "auto", or a module's name in which * stands for one part, such as
            "layers.*". "auto" takes "blocks.*" if each of them has a module `branch`, or what
            the network itself lists as `marked_blocks`, module -> name.
        branches: within a block, the branch F by its module, or by the first and the last
            of its modules; a list if a block adds several times; None if unknown.
        shortcut: within a block, the module S; in a block that has none of that name x is
            added as it is. "identity": it always is. None: unknown.

    Raises:
        GradflowError: nothing matches, or a matching block lacks a named module.
    """
    if pattern == "auto" or pattern is None:
        found = _matching(network, "blocks.*")
        ours = found and all("branch" in dict(block.named_children()) for block in found)
        if branches is None and shortcut is None and pattern == "auto" and ours:
            return Names(found, (("branch", "branch"),), "shortcut")
        marked = getattr(network, "marked_blocks", {})
        if branches is None and shortcut is None and pattern == "auto" and marked:
            return Names(marked, None, None)
        if branches is None and shortcut is None:
            return None
        raise GradflowError(
            f"branch={branches!r}, shortcut={shortcut!r}: they are within blocks; "
            "name the blocks too"
        )
    found = _matching(network, pattern)
    if not found:
        lists = [
            f"{name}.*" if name else "*"
            for name, module in network.named_modules()
            if isinstance(module, nn.Sequential | nn.ModuleList) and len(module)
        ]
        raise GradflowError(
            f"{type(network).__name__}: no module is named blocks={pattern!r}; "
            f"try one of {', '.join(lists[:8]) or 'its named_modules()'}, or leave it out"
        )
    listed: Sequence[Branch] | None = [branches] if isinstance(branches, str | tuple) else branches
    pairs = None
    if listed is not None:
        pairs = tuple((b, b) if isinstance(b, str) else (b[0], b[1]) for b in listed)
    for block, name in found.items():
        parts = dict(block.named_modules())
        for end in {end for pair in pairs or () for end in pair} - set(parts):
            children = ", ".join(child for child, _ in block.named_children())
            raise GradflowError(f"{name}: has no module branch={end!r}; its modules: {children}")
    return Names(found, pairs, shortcut)


def _matching(network: nn.Module, pattern: str) -> dict[nn.Module, str]:
    wanted = re.compile(re.escape(pattern).replace(r"\*", "[^.]+"))
    return {m: name for name, m in network.named_modules() if wanted.fullmatch(name)}


def compiled_parts(network: nn.Module) -> list[str]:
    """The names of the modules that torch.compile has compiled; "" is the network itself."""
    return [
        name
        for name, module in network.named_modules()
        if type(module).__name__ == "OptimizedModule"
        or getattr(module, "_compiled_call_impl", None) is not None
    ]
