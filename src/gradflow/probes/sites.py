"""What a probe measures: the weighted layers and the residual blocks of any network."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from gradflow.core.errors import GradflowError

NORMS = (nn.LayerNorm, nn.RMSNorm)  # their weights may be matrices, but weigh no inputs

Branch = str | tuple[str, str]
"""A branch by name: its module, or the first and the last of its modules."""


@dataclass(frozen=True)
class Layer:
    """A weighted layer; `block_index` is None outside the blocks."""

    index: int
    name: str
    kind: str
    block_index: int | None
    weight: Tensor


@dataclass(frozen=True)
class Site:
    """A residual block as a probe sees it.

    Attributes:
        entry: the module that the block's input x enters first.
        exit: the module that F(x) leaves, or None where the branch is not named.
        shortcut: the module S, or None.
        identity: whether x itself is added, without a module.
    """

    index: int
    name: str
    block: nn.Module
    entry: nn.Module
    exit: nn.Module | None
    shortcut: nn.Module | None
    identity: bool

    @cached_property
    def has_ledger(self) -> bool:
        return self.exit is not None and (self.identity or self.shortcut is not None)

    @property
    def is_one_module(self) -> bool:
        """Whether the branch is one module, so that it is called with x and returns F(x).

        Not where anything inside works in place: x may be another after the call.
        """
        return self.entry is self.exit and not any(
            getattr(module, "inplace", False) for module in self.entry.modules()
        )


def find_layers(network: nn.Module, blocks: Sequence[Site]) -> list[Layer]:
    """Every weight of two or more dimensions, in order of definition (here the forward order).

    A layer is named by its module; where a module has several weights, or one that is not
    called `weight`, the weight's own name follows.

    Raises:
        GradflowError: there is none.
    """
    modules = dict(network.named_modules())
    prefixes = [(f"{site.name}.", site.index) for site in blocks]
    layers: list[Layer] = []
    for path, weight in network.named_parameters():
        owner, _, name = path.rpartition(".")
        if weight.ndim < 2 or "weight" not in name or isinstance(modules[owner], NORMS):
            continue
        block = next((index for prefix, index in prefixes if path.startswith(prefix)), None)
        shown = owner if name == "weight" and owner else path
        layers.append(Layer(len(layers), shown, type(modules[owner]).__name__, block, weight))
    if not layers:
        raise GradflowError(f"{type(network).__name__}: has no weighted layer to measure")
    return layers


def find_blocks(
    network: nn.Module,
    pattern: str,
    branches: Branch | Sequence[Branch] | None,
    shortcut: str | None,
) -> list[Site]:
    """The blocks whose names match, in order of definition; a site for each of their branches.

    Args:
        pattern: a module's name in which * stands for one part, such as "layers.*".
        branches: within a block, the branch F by its module, or by the first and the last
            of its modules; a list where a block adds several times; None where unknown.
        shortcut: within a block, the module S; where a block has none of that name (or
            None in its place) x is added as it is. "identity": it always is. None: unknown,
            so there is no ledger.

    Raises:
        GradflowError: nothing matches, or a matching block lacks a named module.
    """
    wanted = re.compile(re.escape(pattern).replace(r"\*", "[^.]+"))
    found = [(name, module) for name, module in network.named_modules() if wanted.fullmatch(name)]
    if not found:
        lists = [
            f"{name}.*" if name else "*"
            for name, module in network.named_modules()
            if isinstance(module, nn.Sequential | nn.ModuleList) and len(module)
        ]
        raise GradflowError(
            f"{type(network).__name__}: no module is named blocks={pattern!r}; "
            f"try one of {', '.join(lists[:8]) or 'its named_modules()'}, or blocks=None"
        )
    named: Sequence[Branch | None] = (
        [branches] if branches is None or isinstance(branches, str | tuple) else list(branches)
    )
    sites: list[Site] = []
    for name, block in found:
        parts = dict(block.named_modules())
        for branch in named:
            ends = (branch, branch) if isinstance(branch, str) else branch
            for end in ends or ():
                if end not in parts:
                    children = ", ".join(child for child, _ in block.named_children())
                    raise GradflowError(
                        f"{name}: has no module branch={end!r}; its modules: {children}"
                    )
            carrier = parts.get(shortcut) if shortcut is not None else None
            sites.append(
                Site(
                    index=len(sites),
                    name=name,
                    block=block,
                    entry=parts[ends[0]] if ends else block,
                    exit=parts[ends[1]] if ends else None,
                    shortcut=carrier,
                    identity=shortcut is not None and carrier is None,
                )
            )
    return sites
