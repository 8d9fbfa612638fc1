"""The options of families whose blocks are convolutions, and the combinations that exist."""

from dataclasses import dataclass
from typing import ClassVar

from gradflow.config.blocks import BLOCKS, REPVGG, SHORTCUTS, Path, Placement
from gradflow.config.needs import Need
from gradflow.config.networks import DELTA_ORTHOGONAL, BlockConfig, Readers
from gradflow.config.validation import choice, number

REPARAMETRIZED = ("dirac", "repvgg")
"""The blocks whose convolutions hold the identity: `gradflow.networks.reparametrized`."""


@dataclass(frozen=True)
class ConvolutionalConfig(BlockConfig):
    """Options of the families whose blocks are convolutions.

    UNGATED: the shortcut that a gate or a dropout is put on.
    """

    UNGATED: ClassVar[str] = "A"

    block: str = choice("basic", table=BLOCKS)
    shortcut: str = choice("A", table=SHORTCUTS)
    gate_bias: float = -6.0
    dropout: float = number(0.5, at_least=0, below=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        path = self.path()
        if not self.skip and (path.gate is not None or path.dropout is not None):
            self.refuse("shortcut", "skip=false has no shortcut to gate or drop; use A, B or C")
        if self.initialization in DELTA_ORTHOGONAL:
            self._check_delta_orthogonal()
        if self.block in REPARAMETRIZED:
            self._check_reparametrized()

    def read_by(self) -> Readers:
        """As of every network, with what a gate and a dropout read."""
        gates = tuple(name for name, row in SHORTCUTS.items() if row.gate is not None)
        drops = tuple(name for name, row in SHORTCUTS.items() if row.dropout)
        more = {"gate_bias": ("shortcut", gates), "dropout": ("shortcut", drops)}
        return {**super().read_by(), **more}

    def lacks(self) -> tuple[Need, ...]:
        """Paths without gates, if the shortcut has one."""
        return () if self.path().gate is None else ("ungated",)

    def _check_delta_orthogonal(self) -> None:
        widenings = [layer.widening for layer in BLOCKS[self.block_name()]]
        for before, after in zip([widenings[-1], *widenings], widenings, strict=False):
            if after < before:
                reduced = "C" if after == 1 else f"{after}C"
                self.refuse(
                    "initialization",
                    f"needs at least as many outputs as inputs, and block={self.block_name()} "
                    f"reduces {before}C to {reduced}; use block=basic or initialization=orthogonal",
                )

    def _check_reparametrized(self) -> None:
        if self.zero_last or self.initialization == "fixup":
            self.refuse("block", "its convolutions hold the identity and cannot start at zero")
        if self.initialization in (*DELTA_ORTHOGONAL, "looks_linear"):
            self.refuse_new(
                "initialization",
                f"block={self.block} adds the identity to its weights, and is not what is drawn; "
                "use he_fan_out",
            )
        if self.block == "dirac" and self.weight_variance != 2:
            self.refuse_unread(
                "weight_variance", "block=dirac divides each filter by its norm; use 2"
            )
        if self.block == "repvgg":
            if self.norm != "batch":
                self.refuse("norm", "block=repvgg has batch norms inside; use batch")
            if self.placement != "original":
                self.refuse("placement", "block=repvgg is defined for original")
            if self.bias:
                self.refuse_new("bias", "block=repvgg has its biases in its batch norms; use false")

    def placed(self) -> Placement:
        """The layers of a block."""
        return REPVGG if self.block_name() == "repvgg" else super().placed()

    def block_name(self) -> str:
        """The row of BLOCKS that the blocks are made of."""
        return self.block

    def of_block(self) -> str:
        """Which block, so that a sweep of several says which of them does not fit."""
        return f" with block={self.block_name()}"

    def layers_per_block(self) -> int:
        """Convolutions on a block's branch."""
        return len(BLOCKS[self.block_name()])

    def path(self) -> Path:
        """The shortcut of a block, with its gate or dropout."""
        row = SHORTCUTS[self.shortcut]
        project = row.project or SHORTCUTS[self.UNGATED].project
        assert project is not None  # UNGATED is A, B or C
        dropout = self.dropout if row.dropout else None
        return Path(project, self.shortcut_scale, row.gate, self.gate_bias, dropout)
