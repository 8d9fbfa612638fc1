"""What the families of networks share: options, ranges, and the combinations that exist.

A family is a file of gradflow/networks/families: a config class below one of these, registered
with the function (config, image shape, outputs) -> Network that builds it.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple

from gradflow.config.blocks import (
    FIXUP,
    LEARNED,
    PLACEMENTS,
    POWERS,
    SAME_WITHOUT_NORM,
    SHORTCUTS,
    Path,
    Placement,
)
from gradflow.config.data import CLASSES, IMAGES, NUMBERS, TOKENS
from gradflow.config.needs import Need
from gradflow.config.registry import Chosen, Registry
from gradflow.config.validation import MISSING, choice, number

NORMS: Registry[Callable[..., Any]] = Registry("norm", "gradflow.networks.norms")
ACTIVATIONS: Registry[Callable[..., Any]] = Registry("activation", "gradflow.networks.activations")
INITIALIZATIONS: Registry[Callable[..., Any]] = Registry(
    "initialization", "gradflow.networks.initial_weights"
)


DELTA_ORTHOGONAL = ("delta_orthogonal", "critical")
"""The initializations that put an orthogonal matrix at the center of a kernel."""

HE = ("he_fan_out", "he_fan_in")
"""The initializations that make up for the half of a signal that ReLU takes away."""

LARGEST_SIZE = 100_000
"""Of a network, in layers of depth and in width: ten times the deepest that was ever trained."""


class Objective(NamedTuple):
    """A task: the function of `gradflow.training.tasks.Task`, and whether it draws at random."""

    function: Callable[..., Any]
    draws_noise: bool


TASKS: Registry[Objective] = Registry("task", "gradflow.training.tasks")

TARGETS = {"classify": CLASSES, "regression": NUMBERS, "next_token": TOKENS}
"""Task -> what its targets are. A task that is not here reads none, or any."""

Readers = dict[str, tuple[str, tuple[str, ...]]]
"""Option -> the option that decides whether it is read, and with which of its values it is."""

TWINS: Registry[Callable[..., Any]] = Registry("twin", "gradflow.training.twins")
"""How the plain twin of a network that somebody else wrote is made and tested."""


@dataclass(frozen=True)
class NetworkConfig(Chosen):
    """The options that every family has.

    TASK: what the family is trained to do, a key of TASKS.
    TAKES: what its examples may be: images, vectors, tokens.
    OUTPUTS: how many outputs it has if no data set says.
    FITS_IDENTITY: whether task=identity can fix its stem and head: one Linear layer each.
    TRIED: whether a network is built, and its twin tested, before anything of a study is trained.
    ACTIVATES_EVERY_LAYER: whether each weighted layer but the head is followed by one activation,
        so that `depth` says how many a signal meets: what activation=tailored_relu is made for.
    """

    GROUP: ClassVar[str] = "network"
    FACTS: ClassVar[tuple[str, ...]] = ("TASK",)
    TASK: ClassVar[str]
    TAKES: ClassVar[tuple[str, ...]] = (IMAGES,)
    OUTPUTS: ClassVar[int] = 10
    FITS_IDENTITY: ClassVar[bool] = False
    TRIED: ClassVar[bool] = False
    ACTIVATES_EVERY_LAYER: ClassVar[bool] = False

    depth: int = MISSING
    width: int = number(MISSING, at_least=1)
    skip: bool = True
    norm: str = choice("batch", table=NORMS)
    activation: str = choice("relu", table=ACTIVATIONS)
    bias: bool | None = None
    initialization: str = choice("he_fan_out", table=INITIALIZATIONS)
    weight_variance: float = number(2.0, above=0)
    bias_variance: float = number(0.0, at_least=0)
    zero_last: bool = False
    scaling: str = choice(*POWERS, *LEARNED)
    branch_scale: float = 1.0
    survival: float = number(1.0, above=0, at_most=1)
    checkpoint: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("depth", "width"):
            if getattr(self, name) > LARGEST_SIZE:
                self.refuse(name, f"must be <= {LARGEST_SIZE}")
        self.check_read(self.read_by())
        if not self.skip:
            self._check_plain()
        if self.initialization == "fixup":
            self._check_fixup()
        if self.activation == "tailored_relu":
            self._check_tailored()
        if self.initialization == "critical":
            self._check_critical()
        if self.initialization == "looks_linear":
            if self.activation != "relu":
                self.refuse("initialization", f"needs activation=relu, not {self.activation}")
            if self.width % 2:
                self.refuse("initialization", f"mirrors channels; width={self.width} must be even")

    def read_by(self) -> Readers:
        """Of the options that not every network reads."""
        theirs = INITIALIZATIONS.of_plugins()  # which may read either
        return {
            "weight_variance": ("initialization", ("gaussian", *theirs)),
            "bias_variance": ("initialization", ("gaussian", "critical", *theirs)),
            "branch_scale": ("scaling", (*POWERS, "layer_scale")),
        }

    def lacks(self) -> tuple[Need, ...]:
        """What some diagnostics need and the network does not have."""
        return ()

    def check_read(self, options: Readers) -> None:
        """Refuse an option that has another value than its default and that nothing reads."""
        defaults = {entry.name: entry.default for entry in fields(self)}
        for name, (decides, readers) in options.items():
            default = defaults[name]
            here = getattr(self, decides)
            if getattr(self, name) != default and here not in readers:
                read = f"{decides}={', '.join(readers)}, not {here}"  # of a sweep: by which job
                self.refuse_unread(name, f"is read by {read}; use {default:g}")

    def _check_fixup(self) -> None:
        if self.norm != "none":
            self.refuse(
                "initialization", f"Fixup replaces the norm; use norm=none, not {self.norm}"
            )
        if self.zero_last:
            self.refuse_new("zero_last", "Fixup itself starts the end of a branch at 0; use false")

    def _check_tailored(self) -> None:
        if not self.ACTIVATES_EVERY_LAYER:
            self.refuse("activation", f"is not defined for network={self.name}; use leaky_relu")
        if self.norm == "none" and self.initialization in HE:
            self.refuse_new(
                "initialization",
                "doubles the mean square per layer with activation=tailored_relu and norm=none; "
                "use critical, orthogonal or xavier",
            )

    def _check_critical(self) -> None:
        keep = ("relu", "leaky_relu", "identity", "tailored_relu")
        if self.activation not in ("tanh", *keep):
            valid = ", ".join(("tanh", *keep))
            self.refuse("initialization", f"needs activation={valid}, not {self.activation}")
        if self.activation in keep and self.bias_variance > 0:
            self.refuse("bias_variance", f"activation={self.activation} is critical with 0 alone")

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
        """n of a depth that is n * stages * layers per block + 2: the stem and the head.

        Raises:
            GradflowError: the depth is none of these; the nearest are named.
        """
        step = stages * self.layers_per_block()
        n, rest = divmod(self.depth - 2, step)
        if rest or n < 1:
            below = max(n, 1) * step + 2
            nearest = (
                f"the nearest are {below} and {below + step}"
                if self.depth > below
                else f"the least is {below}"
            )
            self.refuse("depth", f"depth must be {step}n+2; {nearest}{self.of_block()}")
        return n

    def of_block(self) -> str:
        """For messages: of which block, if it is a choice."""
        return ""


@dataclass(frozen=True)
class BlockConfig(NetworkConfig):
    """Options of the families whose blocks `gradflow.networks.blocks.make_block` builds."""

    placement: str = choice("original", table=PLACEMENTS)
    shortcut: str = choice("A", "B", "C")
    shortcut_scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.initialization == "fixup" and self.placement != "original":
            self.refuse("placement", "Fixup is defined for placement=original")
        if self.norm == "none" and (same := SAME_WITHOUT_NORM.get(self.placement)):
            self.refuse_new("placement", f"is the same network as {same} without a norm; use that")

    def placed(self) -> Placement:
        """The layers of a block."""
        return FIXUP if self.initialization == "fixup" else PLACEMENTS[self.placement]

    def path(self) -> Path:
        """The shortcut of a block.

        Raises:
            GradflowError: the family has no such shortcut.
        """
        row = SHORTCUTS[self.shortcut]
        if row.project is None:
            self.refuse("shortcut", "gates and dropout are for convolutional families")
        return Path(row.project, self.shortcut_scale)
