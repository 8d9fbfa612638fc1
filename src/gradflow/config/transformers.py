"""Transformers are data: placements and connections are rows, which one builder reads.

A block computes y = after(S(x) + F(x)), its plain twin y = after(F(x)). Attention and MLP blocks
stand in turn; a layer is a pair of them.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from gradflow.config.needs import Need
from gradflow.config.networks import (
    ACTIVATIONS,
    DELTA_ORTHOGONAL,
    INITIALIZATIONS,
    NORMS,
    NetworkConfig,
    Readers,
)
from gradflow.config.registry import OfPlugins
from gradflow.config.validation import choice, number


class Power(NamedTuple):
    """(factor * layers) ** exponent."""

    factor: float
    exponent: float

    def of(self, layers: int) -> float:
        """Its value for that number of layers."""
        return float((self.factor * layers) ** self.exponent)


class Placement(NamedTuple):
    """The layers of both kinds of block, as `gradflow.networks.layers.layer_stack` reads them.

    attention, mlp: their branches.
    after_attention, after_mlp: what follows their additions.
    stem, head: what follows the embedding, and precedes the output.
    normed: which of an attention's queries, keys and values have norms.
    carried: S(x) is x times this.
    shrunk: the initial weights of values, attention outputs and MLPs are times this.
    """

    attention: str
    mlp: str
    after_attention: str = ""
    after_mlp: str = ""
    stem: str = ""
    head: str = ""
    normed: str = ""
    carried: Power | None = None
    shrunk: Power | None = None


PLACEMENTS = {
    "pre_norm": Placement("nt", "ncac", head="n"),
    "post_norm": Placement("t", "cac", "n", "n"),
    "peri_norm": Placement("ntn", "ncacn", stem="n", head="n"),
    "sandwich": Placement("ntn", "ncacn", head="n"),
    "hybrid": Placement("t", "cac", after_attention="n", head="n", normed="qkv"),
    "layer_norm_scaling": Placement("nst", "nscac", head="n"),
    "deep_norm": Placement("t", "cac", "n", "n", carried=Power(2, 0.25), shrunk=Power(8, -0.25)),
}
"""placement -> attention block; MLP block, in a network of N layers; n is the norm:

pre_norm            x + A(n(x)); x + M(n(x)); n before the head (Xiong et al. 2020, fig. 1b)
post_norm           n(x + A(x)); n(x + M(x)) (Vaswani et al. 2017, section 3.1)
peri_norm           x + n(A(n(x))); x + n(M(n(x))); n after the embedding and before the head
                    (Kim et al. 2025, Peri-LN, 2502.02732, section 3; the first of these norms
                    is optional there, as we read it)
sandwich            the same without the norm of the embedding (Ding et al. 2021, CogView,
                    2105.13290, Sandwich-LN)
hybrid              y = x + A(x), A with norms of queries, keys and values; n(y) + M(n(y))
                    (Zhuo et al. 2025, HybridNorm, 2503.04598; as we read it, with n before the
                    head). Its second n follows the addition of the attention block.
layer_norm_scaling  pre_norm, each n of layer l = 1 ... N times 1/sqrt(l), the head's not
                    (Sun et al. 2025, 2502.05795, eq. 9 as we read it)
deep_norm           n(a x + A(x)); n(a x + M(x)), a = (2N)^(1/4); initial weights of values,
                    attention outputs and MLPs times (8N)^(-1/4) (Wang et al. 2022, DeepNet,
                    2203.00555, fig. 2, encoder-only and decoder-only)
"""


class Connection(NamedTuple):
    """How a block's input reaches its branch, and what is added to the branch.

    state: what passes from block to block: one tensor [B, T, C]; a number of streams
        [B, T, n, C]; a stack [B, T, l, C] that grows by one slot per block; or a tensor and the
        first attention's values [B, T, 2, C].
    weights: how the weights are found by which streams or slots are read, written and mixed.
    gated: whether a gate weighs S(x) against F(x).
    """

    state: Literal["tensor", "streams", "stack", "values"] = "tensor"
    weights: str = ""
    gated: bool = False


CONNECTIONS = {
    "residual": Connection(),
    "highway": Connection(gated=True),
    "value_residual": Connection("values"),
    "hyper": Connection("streams", "static"),
    "dynamic_hyper": Connection("streams", "dynamic"),
    "manifold_hyper": Connection("streams", "manifold"),
    "reversible": Connection("streams", "swap"),
    "attention_residual": Connection("stack", "softmax"),
    "dense": Connection("stack", "average"),
}
"""connection -> its row; the formulas are in `gradflow.networks.connections`.

residual            x + F(x) (He et al. 2015)
highway             (1 - g) x + g F(x), g = sigmoid(W x + b) (Srivastava et al. 2015)
value_residual      x + F(x), each attention's values averaged with the first's (2410.17897)
hyper               n streams, read, written and mixed by learned weights (2409.19606, static)
dynamic_hyper       the same, weights plus a function of the streams
manifold_hyper      the same, the streams mixed by a doubly stochastic matrix (2512.24880)
reversible          two streams, (a, b) -> (b, a + F(b)) (Gomez et al. 2017, RevNet, eq. 6)
attention_residual  a block reads a softmax over all earlier outputs (2603.15031)
dense               a block reads a weighted sum of all earlier outputs (2402.02622, DenseFormer)
"""

COUNTED = ("static", "dynamic", "manifold")
"""Weights of a connection that has as many streams as asked for."""

NORMS_ALONE = ("post_norm", "peri_norm", "sandwich", "hybrid")
"""Placements that are pre_norm if there is no norm."""

ADDED_LATER: dict[str, Any] = {"qk_norm": False, "connection": "residual", "streams": 4}
"""Options of which runs of image transformers before them have no column, and their defaults."""


@dataclass(frozen=True)
class AttentionConfig(NetworkConfig):
    """Options of the families whose blocks are attention and MLP in turn; depth 4n+2."""

    depth: int = number(10, at_least=6)
    width: int = number(32, at_least=1)
    # The package's other norms take channels to be dimension 1, which is that of tokens here.
    norm: str = choice("layer", "rms", "dyt", "none", table=OfPlugins(NORMS))
    activation: str = choice("gelu", table=ACTIVATIONS)
    initialization: str = choice("xavier", table=INITIALIZATIONS)
    bias: bool | None = True
    placement: str = choice("pre_norm", table=PLACEMENTS)
    heads: int = number(4, at_least=1)
    qk_norm: bool = False
    connection: str = choice("residual", table=CONNECTIONS)
    streams: int = number(4, at_least=2, at_most=8)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.blocks_per_stage(1)
        if self.width % self.heads:
            self.refuse("heads", f"must divide width={self.width}")
        if self.initialization in ("fixup", *DELTA_ORTHOGONAL, "looks_linear"):
            self.refuse("initialization", "is not defined for attention; use xavier")
        row = self.placed()
        if self.qk_norm and row.normed:
            self.refuse("qk_norm", f"placement={self.placement} has these norms; use false")
        if self.qk_norm and self.norm == "none":
            self.refuse("qk_norm", "needs a norm; use norm=layer, rms or dyt")
        if self.norm == "none" and self.placement in NORMS_ALONE:
            self.refuse_new(
                "norm", f"placement={self.placement} places norms; use pre_norm with none"
            )
        if self.connection != "residual" and (row.after_attention or row.carried):
            between = [
                name for name, p in PLACEMENTS.items() if not (p.after_attention or p.carried)
            ]
            self.refuse(
                "connection",
                f"placement={self.placement} changes the shortcut itself; "
                f"use connection=residual or placement={' or '.join(between)}",
            )

    def read_by(self) -> Readers:
        """As of every network, with the connections that have as many streams as asked for."""
        counted = tuple(name for name, row in CONNECTIONS.items() if row.weights in COUNTED)
        return {**super().read_by(), "streams": ("connection", counted)}

    def lacks(self) -> tuple[Need, ...]:
        """Of connections, what is not as of x + F(x)."""
        row = self.connected()
        lacking: dict[Need, bool] = {
            "ungated": row.gated,
            "own values": row.state == "values",
            "shape": row.weights == "average",
        }
        return tuple(need for need, is_lacking in lacking.items() if is_lacking)

    def placed(self) -> Placement:
        """The layers of both kinds of block."""
        return PLACEMENTS[self.placement]

    def connected(self) -> Connection:
        """The connection of the blocks."""
        return CONNECTIONS[self.connection]

    def normed(self) -> str:
        """Which of queries, keys and values have norms: q, k, v."""
        return self.placed().normed or ("qk" if self.qk_norm else "")

    def layers(self) -> int:
        """Pairs of an attention and an MLP block."""
        return self.blocks_per_stage(1)

    def layers_per_block(self) -> int:
        """Of a pair of blocks: query-key-value and output; the two layers of the MLP."""
        return 4
