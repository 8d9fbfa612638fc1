"""Blocks are data: the rows of which config chooses and which the builders of networks read.

A block computes y = after(S(x) + F(x)); its plain twin y = after(F(x)). Another placement, block
or shortcut is another row here.
"""

from typing import Literal, NamedTuple


class Placement(NamedTuple):
    """Which layers a block has, as strings that `gradflow.networks.layers.layer_stack` reads.

    With k weighted layers the branch is `repeat` k-1 times, then `last`.

    before: the layers that stand before a block's first weighted layer. The stem ends with them
        instead of the first block, and they stand once more before the head, as in He et al.
        2016, section 4.1.
    """

    repeat: str
    last: str
    after: str
    before: str = ""


PLACEMENTS = {
    "original": Placement("cna", "cn", "a"),
    "norm_after_addition": Placement("cna", "c", "na"),
    "activation_before_addition": Placement("cna", "cna", ""),
    "activation_only_preactivation": Placement("acn", "acn", "", before="a"),
    "full_preactivation": Placement("nac", "nac", "", before="na"),
}
"""placement -> basic block, k = 2:

original                       cnacn|a    He et al. 2015, fig. 2
norm_after_addition            cnac|na    He et al. 2016, fig. 4b
activation_before_addition     cnacna|    fig. 4c
activation_only_preactivation  acnacn|    fig. 4d
full_preactivation             nacnac|    fig. 4e
"""

SAME_WITHOUT_NORM = {
    "norm_after_addition": "original",
    "activation_only_preactivation": "full_preactivation",
}
"""placement -> the one that is the same network if there is no norm."""

FIXUP = Placement("bcba", "bcmb", "a")
"""What initialization=fixup makes of `original` (Zhang et al. 2019, fig. 1 right)."""


REPVGG = Placement("ca", "c", "a")
"""What block=repvgg makes of `original`: its norms are inside its convolutions."""

Form = Literal["plain", "dirac", "repvgg"]


class Layer(NamedTuple):
    """A convolution of a block: its kernel, its outputs over the width, and whether it strides.

    form: a convolution, or one of `gradflow.networks.reparametrized`.
    """

    kernel: int
    widening: int
    strides: bool = False
    form: Form = "plain"


BLOCKS = {
    "basic": (Layer(3, 1, strides=True), Layer(3, 1)),
    "bottleneck": (Layer(1, 1), Layer(3, 1, strides=True), Layer(1, 4)),
    "single": (Layer(3, 1, strides=True),),
    "triple": (Layer(3, 1, strides=True), Layer(3, 1), Layer(3, 1)),
    "dirac": (Layer(3, 1, strides=True, form="dirac"), Layer(3, 1, form="dirac")),
    "repvgg": (Layer(3, 1, strides=True, form="repvgg"), Layer(3, 1, form="repvgg")),
}
"""block -> its convolutions; basic and bottleneck: He et al. 2015, fig. 5 left and right. single,
basic and triple: one, two or three layers per branch; section 3.2 there has "not observed
advantages" of one. dirac: Zagoruyko and Komodakis 2017; repvgg: Ding et al. 2021: basic, each
convolution trained as a sum that holds the identity."""

Projecting = Literal["never", "to fit", "always"]


class Shortcut(NamedTuple):
    """S(x): whether it is projected, and how both paths are weighed.

    project: to another shape by a 1x1 convolution (or a Linear layer); never: zeros are padded.
        None: as the family's own option does (`ConvolutionalConfig.UNGATED`).
    gate: S(x) times 1 - g(x); "exclusive": F(x) times g(x) as well (He et al. 2016, section 3.1).
    """

    project: Projecting | None
    gate: Literal["exclusive", "shortcut only"] | None = None
    dropout: bool = False


SHORTCUTS = {
    "A": Shortcut("never"),
    "B": Shortcut("to fit"),
    "C": Shortcut("always"),
    "exclusive_gate": Shortcut(None, gate="exclusive"),
    "shortcut_gate": Shortcut(None, gate="shortcut only"),
    "dropout": Shortcut(None, dropout=True),
}
"""shortcut -> its row. Options A, B and C are those of He et al. 2015, section 4.1."""


class Path(NamedTuple):
    """A `Shortcut` with the numbers that a config gives it."""

    project: Projecting
    scale: float = 1.0
    gate: Literal["exclusive", "shortcut only"] | None = None
    gate_bias: float = 0.0
    dropout: float | None = None


POWERS = {"constant": 0.0, "inverse_sqrt": 0.5, "inverse": 1.0}
"""scaling -> p: each of L branches is scaled by branch_scale / L^p."""
LEARNED = ("rezero", "layer_scale")
"""The scalings that are parameters of the network."""
