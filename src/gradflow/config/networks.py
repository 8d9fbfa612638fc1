"""The families of networks: their options, defaults and the combinations that exist."""

from dataclasses import dataclass
from typing import ClassVar

from omegaconf import MISSING

from gradflow.config.validation import Checked, choice, number

INITIALIZATIONS = (
    "he_fan_out",
    "he_fan_in",
    "default",
    "xavier",
    "gaussian",
    "orthogonal",
    "delta_orthogonal",
    "looks_linear",
    "fixup",
)
PLACEMENTS = (
    "original",
    "norm_after_addition",
    "activation_before_addition",
    "activation_only_preactivation",
    "full_preactivation",
)
ACTIVATIONS = ("relu", "leaky_relu", "tanh", "gelu", "silu", "identity")


@dataclass(frozen=True)
class NetworkConfig(Checked):
    """The options that every family has; README.md lists what each does."""

    GROUP: ClassVar[str] = "network"
    name: str = MISSING
    depth: int = MISSING
    width: int = number(MISSING, at_least=1)
    skip: bool = True
    norm: str = choice("batch", "none", "layer", "group", "rms")
    activation: str = choice(*ACTIVATIONS)
    bias: bool | None = None
    initialization: str = choice(*INITIALIZATIONS)
    weight_variance: float = number(2.0, above=0)
    bias_variance: float = number(0.0, at_least=0)
    zero_last: bool = False
    scaling: str = choice("constant", "inverse_sqrt", "inverse", "rezero", "layer_scale")
    branch_scale: float = 1.0
    survival: float = number(1.0, above=0, at_most=1)
    checkpoint: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.skip:
            self._check_plain()
        if self.initialization == "fixup" and self.norm != "none":
            self.refuse(
                "initialization", f"Fixup replaces the norm; use norm=none, not {self.norm}"
            )
        if self.initialization == "looks_linear":
            if self.activation != "relu":
                self.refuse("initialization", f"needs activation=relu, not {self.activation}")
            if self.width % 2:
                self.refuse("initialization", f"mirrors channels; width={self.width} must be even")

    def _check_plain(self) -> None:
        if self.survival < 1:
            self.refuse("survival", "skip=false leaves nothing where a branch is dropped; use 1")
        silent = {"scaling": "rezero", "initialization": "fixup", "zero_last": True}
        for name, value in silent.items():
            if getattr(self, name) == value:
                self.refuse(
                    name, "starts each branch at zero, and skip=false passes nothing else on"
                )

    def layers_per_block(self) -> int:
        """Weighted layers on a block's branch."""
        raise NotImplementedError

    def blocks_per_stage(self, stages: int) -> int:
        """n of a depth that is n * stages * layers per block + 2: the stem and the head."""
        step = stages * self.layers_per_block()
        n, rest = divmod(self.depth - 2, step)
        if rest or n < 1:
            below = max(n, 1) * step + 2
            nearest = (
                f"the nearest are {below} and {below + step}"
                if self.depth > below
                else f"the least is {below}"
            )
            self.refuse("depth", f"depth must be {step}n+2; {nearest}")
        return n


@dataclass(frozen=True)
class ConvolutionalConfig(NetworkConfig):
    """Options of the families whose blocks are convolutions."""

    block: str = choice("basic", "bottleneck")
    placement: str = choice(*PLACEMENTS)
    shortcut: str = choice("A", "B", "C", "exclusive_gate", "shortcut_gate", "dropout")
    shortcut_scale: float = 1.0
    gate_bias: float = -6.0
    dropout: float = number(0.5, at_least=0, below=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.skip and self.shortcut not in ("A", "B", "C"):
            self.refuse("shortcut", "skip=false has no shortcut to gate or drop; use A, B or C")
        if self.initialization == "fixup" and self.placement != "original":
            self.refuse("placement", "Fixup is defined for placement=original")
        if self.initialization == "delta_orthogonal" and self.block == "bottleneck":
            self.refuse(
                "initialization",
                "needs at least as many outputs as inputs, and block=bottleneck reduces 4C to C; "
                "use block=basic or initialization=orthogonal",
            )

    def layers_per_block(self) -> int:
        return {"basic": 2, "bottleneck": 3}[self.block]


@dataclass(frozen=True)
class CifarResNetConfig(ConvolutionalConfig):
    """He et al. 2015, section 4.2: 6n+2 (basic), 9n+2 (bottleneck); `stages` of n blocks."""

    name: str = choice("cifar_resnet")
    depth: int = number(20, at_least=8)
    width: int = number(16, at_least=1)
    stages: int = number(3, at_least=1, at_most=4)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.blocks_per_stage(self.stages)


@dataclass(frozen=True)
class ImageNetResNetConfig(ConvolutionalConfig):
    """He et al. 2015, table 1; basic blocks up to depth 34, bottlenecks from 50 on."""

    name: str = choice("imagenet_resnet")
    depth: int = number(18)
    width: int = number(64, at_least=1)
    shortcut: str = choice("B", "A", "C", "exclusive_gate", "shortcut_gate", "dropout")

    STAGES: ClassVar[dict[int, tuple[str, tuple[int, ...]]]] = {
        18: ("basic", (2, 2, 2, 2)),
        34: ("basic", (3, 4, 6, 3)),
        50: ("bottleneck", (3, 4, 6, 3)),
        101: ("bottleneck", (3, 4, 23, 3)),
        152: ("bottleneck", (3, 8, 36, 3)),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth not in self.STAGES:
            self.refuse("depth", f"choose one of {', '.join(map(str, self.STAGES))}")
        block, _ = self.STAGES[self.depth]
        if self.block != block:
            self.refuse("block", f"depth={self.depth} is made of block={block}")


@dataclass(frozen=True)
class MlpConfig(NetworkConfig):
    """Fully connected blocks of one or two layers; a projection where the width changes."""

    name: str = choice("mlp")
    depth: int = number(10, at_least=3)
    width: int = number(64, at_least=1)
    norm: str = choice("none", "batch", "layer", "group", "rms")
    initialization: str = choice("he_fan_in", *INITIALIZATIONS)
    layers: int = number(2, at_least=1, at_most=2)
    placement: str = choice(*PLACEMENTS)
    shortcut: str = choice("B", "A", "C")
    shortcut_scale: float = 1.0
    widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        n = self.blocks_per_stage(1)
        if self.widths and len(self.widths) != n:
            self.refuse("widths", f"depth={self.depth} has {n} blocks; give a width for each")
        if self.widths and min(self.widths) < 1:
            self.refuse("widths", "each must be >= 1")
        if self.initialization == "fixup" and self.placement != "original":
            self.refuse("placement", "Fixup is defined for placement=original")
        if self.initialization == "delta_orthogonal":
            self.refuse("initialization", "is for convolutions; use orthogonal")

    def layers_per_block(self) -> int:
        return self.layers


@dataclass(frozen=True)
class TransformerConfig(NetworkConfig):
    """Attention and MLP blocks in turn over image patches; depth 4n+2."""

    name: str = choice("transformer")
    depth: int = number(10, at_least=6)
    width: int = number(32, at_least=1)
    norm: str = choice("layer", "rms", "none")
    activation: str = choice("gelu", *ACTIVATIONS)
    initialization: str = choice("xavier", *INITIALIZATIONS)
    bias: bool | None = True
    placement: str = choice("pre_norm", "post_norm")
    heads: int = number(4, at_least=1)
    patch: int = number(2, at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.blocks_per_stage(1)
        if self.width % self.heads:
            self.refuse("heads", f"must divide width={self.width}")
        for unfit in ("fixup", "delta_orthogonal", "looks_linear"):
            if self.initialization == unfit:
                self.refuse("initialization", "is not defined for attention; use xavier")

    def layers_per_block(self) -> int:
        return 4  # query-key-value and output; the two layers of the MLP


@dataclass(frozen=True)
class UNetConfig(ConvolutionalConfig):
    """Two levels down and up again, n residual blocks each, long skips between; depth 10n+2."""

    name: str = choice("unet")
    depth: int = number(12, at_least=12)
    width: int = number(16, at_least=1)
    shortcut: str = choice("B", "C", "exclusive_gate", "shortcut_gate", "dropout")

    STAGES: ClassVar[int] = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.blocks_per_stage(self.STAGES)
        if self.initialization == "delta_orthogonal":
            self.refuse("initialization", "needs outputs >= inputs, and the way up has fewer")


@dataclass(frozen=True)
class DiffusionUNetConfig(UNetConfig):
    """A U-Net whose blocks are told the time of the diffusion (Ho et al. 2020)."""

    name: str = choice("diffusion_unet")
    norm: str = choice("group", "none", "batch", "layer", "rms")
    activation: str = choice("silu", *ACTIVATIONS)
    placement: str = choice("full_preactivation", *PLACEMENTS)


FAMILIES: dict[str, type[NetworkConfig]] = {
    "mlp": MlpConfig,
    "cifar_resnet": CifarResNetConfig,
    "imagenet_resnet": ImageNetResNetConfig,
    "transformer": TransformerConfig,
    "unet": UNetConfig,
    "diffusion_unet": DiffusionUNetConfig,
}
"""Family name -> its options."""
