"""The autograd graph behind a forward pass, and what kinds of nodes there are in it."""

import re
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.autograd.function import BackwardCFunction

Node = Any  # torch.autograd.graph.Node: torch's C++ nodes are not its subclasses
Edge = tuple[Node, int]
"""A tensor of the graph: the node that made it, and which of the node's outputs it is."""
Use = tuple[Node, int]
"""A place where a tensor is used: the node, and which of its inputs."""

LAYERS = re.compile(
    r"Conv|Slow|Thnn|Mkldnn|Onednn|Xnnpack|Cudnn(Conv|Rnn)|Miopen(Conv|Rnn)|(B|Sparse)?[Mm]m$|Add(mm|mv|bmm|r)$|Baddbmm|Mv$|Dot"
    r"|Vdot|Linear|Embedding|ScaledDot|Efficient|Flash|Flex|Lstm|Gru|Rnn|Fft|Trilinear|Cdist"
    r"|Native(Multi|Conv)|Grid|CopySlices|Linalg(?!VectorNorm)|GroupedMm|Segment|Index(Put|Reduce)"
)
NONLINEAR = re.compile(
    r"Relu|Elu|Gelu|Celu|Selu|Silu|Mish|Sigmoid|Tanh|Soft|Hard|Threshold|Exp|Pow|Log|Sin|Cos|Abs"
    r"|Clamp|Max(imum)?$|Min(imum)?$|ScaledDot|Flash|Flex|Lstm|Gru|Rnn|Erf|Sqrt|Reciprocal|LinalgVectorNorm|CopySlices"
)
PASSING = re.compile(
    r"View|Clone|Permute|Transpose|^T$|Squeeze|Slice|Select|Pad|Expand|Alias|ToCopy|NativeDropout"
    r"|Contiguous|Flatten|Reshape|Split|Chunk|Narrow"
)
ACCUMULATE = "torch::autograd::AccumulateGrad"


class Graph:
    """The graph behind some tensors, as far back as node number `begin`.

    Attributes:
        nodes: the latest first.
        edges, uses: from a node to the tensors that it took, and back.
        came: node -> the use by which it was first reached; None at the outputs.
    """

    def __init__(self, outputs: Iterable[Node], begin: int):
        self.begin = begin
        self.edges: dict[Node, tuple[Edge, ...]] = {}
        self.uses: dict[Edge, list[Use]] = {}
        self.came: dict[Node, Use | None] = {}
        self.kinds: dict[Node, str] = {}
        self.numbers: dict[Node, int] = {}
        self.in_order = True
        queue: list[Node] = []
        for node in outputs:
            if node not in self.came:
                self.came[node] = None
                queue.append(node)
        for node in queue:  # grows while it is read
            kind = node.name()
            leaf = kind == ACCUMULATE
            number = -1 if leaf else node._sequence_nr()
            self.kinds[node], self.numbers[node] = kind_of(kind), number
            self.edges[node] = () if leaf or number < begin else node.next_functions
            for place, (source, output) in enumerate(self.edges[node]):
                if source is None:
                    continue
                self.uses.setdefault((source, output), []).append((node, place))
                if source not in self.came:
                    self.came[source] = (node, place)
                    queue.append(source)
        for node in queue:
            for source, _ in self.edges[node]:
                if source is not None and self.numbers[source] >= self.numbers[node]:
                    self.in_order = False  # made by several threads
        self.nodes = sorted(queue, key=self.numbers.__getitem__, reverse=True)
        # What is computed from parameters alone: a weight's transpose, a normalized weight.
        self.parameters: set[Node] = set()
        for node in reversed(self.nodes):
            made = [source for source, _ in self.edges[node] if source is not None]
            if self.kinds[node] == ACCUMULATE:
                if isinstance(node.variable, nn.Parameter):
                    self.parameters.add(node)
            elif made and not LAYERS.match(self.kinds[node]) and self.parameters.issuperset(made):
                self.parameters.add(node)

    def is_parameter(self, node: Node) -> bool:
        return node in self.parameters

    def leaves(self, node: Node) -> list[Any]:
        """The parameters that a node is computed from."""
        if self.kinds[node] == ACCUMULATE:
            return [node.variable]
        return [leaf for source, _ in self.edges[node] if source for leaf in self.leaves(source)]

    def is_nonlinear(self, node: Node) -> bool:
        kind = self.kinds[node]
        if kind in ("Mul", "Div"):  # of two activations
            made = [e for e, _ in self.edges[node] if e is not None]
            return len([e for e in made if not self.is_parameter(e)]) > 1
        return bool(NONLINEAR.match(kind)) or is_opaque(node)


def kind_of(name: str) -> str:
    """`AddBackward0` -> `Add`; other names as they are."""
    return re.sub(r"Backward\d*$", "", name)


def is_opaque(node: Node) -> bool:
    """Whether a node is a Python function's, a checkpoint or a compiled region among them."""
    return isinstance(node, BackwardCFunction)
