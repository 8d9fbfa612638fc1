"""The typed config of a run: what can be set, its default, its range.

Every key that the command line knows is a field here or in a group's class. The classes are
frozen; a value that has passed the door is never checked again.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from gradflow.config.data import DataConfig
from gradflow.config.diagnostics import DiagnosticConfig, NoDiagnosticConfig
from gradflow.config.networks import NetworkConfig
from gradflow.config.optimizers import OptimizerConfig
from gradflow.config.plugins import full_name, load_plugins
from gradflow.config.probes import ProbeConfig
from gradflow.config.registry import classes_of, name_of
from gradflow.config.schedules import ScheduleConfig
from gradflow.config.validation import LARGEST_SEED, MISSING, Checked, choice, number

DAMAGED = "damaged"  # ended, and some of its records or its config are not what was written
UNDIAGNOSED = "undiagnosed"  # ended, and a diagnosis that the config names is not there yet

ONLY = {
    "unfinished": (
        "missing",
        "interrupted",
        "pruned",
        "failed",
        "running",
        DAMAGED,
        UNDIAGNOSED,
    ),
    "failed": ("failed",),
    "missing": ("missing",),
}
"""`only=` -> the states of the runs that are then done."""

NAME = re.compile(r"\w[\w.+-]*")
"""Of a study: a folder, a part of links and of commands that are printed to be typed."""
LONGEST_NAME = 100  # bytes; a run's lock has it in its own name, and 255 is the limit

MOST_THREADS = 256  # of a run; a thousand are more than many machines let a process have


@dataclass(frozen=True)
class EvaluationConfig(Checked):
    """When loss and error are taken in evaluation mode; always after the last step."""

    GROUP: ClassVar[str] = "evaluation"
    every: int = number(60, at_least=1)
    images: int | None = number(None, at_least=1)
    all_at_end: bool = False  # after the last step, of all images, whatever `images` says

    def recorded(self) -> dict[str, Any]:
        """Without `all_at_end` unless it is true, so that ids of earlier runs stay."""
        recorded = super().recorded()
        return recorded if self.all_at_end else {k: recorded[k] for k in ("every", "images")}


@dataclass(frozen=True)
class StudyConfig(Checked):
    """The sweep that a run belongs to: its folder's name and the analysis that ends it."""

    GROUP: ClassVar[str] = "study"
    name: str = "scratch"
    analysis: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not NAME.fullmatch(self.name) or len(self.name.encode()) > LONGEST_NAME:
            self.refuse(
                "name",
                f"must be a plain folder name, such as degradation: at most {LONGEST_NAME} bytes "
                "of letters, digits and any of _ . - + after the first",
            )


@dataclass(frozen=True)
class SearchConfig(Checked):
    """How gradflow tune searches; `study` and `trial` say which of its trials a run is."""

    GROUP: ClassVar[str] = "search"
    trials: int = number(20, at_least=1)
    batch: int = number(4, at_least=1)
    objective: str = choice("final_train_error", "final_test_error", "final_train_loss")
    prune: bool = True
    seed: int = number(0, at_least=0, at_most=LARGEST_SEED)
    study: str | None = None
    trial: int | None = number(None, at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, other in (("trial", "study"), ("study", "trial")):
            if getattr(self, name) is not None and getattr(self, other) is None:
                self.refuse(name, f"needs search.{other} too; gradflow tune sets both")


def _import_plugins(config: "RunConfig | DiagnoseConfig | DescribeConfig") -> None:
    """Import what `plugins` names, each by its full name from now on."""
    load_plugins(config.plugins)
    object.__setattr__(config, "plugins", tuple(map(full_name, config.plugins)))


@dataclass(frozen=True)
class RunConfig(Checked):
    """One training of one network from one seed.

    `dtype`: of weights and arithmetic; with bfloat16 and tf32 weights, gradients and norms are
    float32, and what is multiplied is rounded to bfloat16 (autocast) or TF32 before. auto: the
    faster of float32 and bfloat16, timed before the run has an id (see gradflow.runs.precision).
    `task`: what the network is trained to do, if not what its family is for.
    `graph`: the training step is captured once as a CUDA graph and replayed.
    `plugins`: files (path/to/file.py) and modules of the user's that register choices; they are
    imported here, and a hash of their code is part of the run's identity.
    `resume`: force resumes a run from a checkpoint of other code, another torch version or
    another instruction set too; auto starts it again.
    """

    network: NetworkConfig = MISSING
    data: DataConfig = MISSING
    optimizer: OptimizerConfig = MISSING
    schedule: ScheduleConfig = MISSING
    probe: ProbeConfig = MISSING
    details: ProbeConfig = MISSING
    diagnostic: DiagnosticConfig = field(default_factory=NoDiagnosticConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    seed: int = number(0, at_least=0, at_most=LARGEST_SEED)
    steps: int = number(120, at_least=1)
    device: str = choice("cpu", "cuda")
    dtype: str = choice("float32", "float64", "bfloat16", "tf32", "auto")
    graph: bool = False
    threads: int = number(1, at_least=1, at_most=MOST_THREADS)
    study: StudyConfig = field(default_factory=StudyConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    output_root: str = "outputs"
    checkpoint_seconds: float = number(60.0, at_least=0)
    task: str = choice("family", "identity", "regression", "next_token")
    only: str = choice(*ONLY)
    resume: str = choice("auto", "force")
    dry_run: bool = False
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _import_plugins(self)
        if not self.output_root:
            self.refuse("output_root", "must name a folder")
        if self.device == "cpu" and self.dtype == "tf32":
            self.refuse("dtype", "needs device=cuda; a CPU has float32, float64, bfloat16 and auto")
        if self.device == "cpu" and self.graph:
            self.refuse("graph", "needs device=cuda")
        self._check_subset()
        if self.task == "identity":
            self._check_identity()
        elif self.task != "family" and self.network.TASK not in ("classify", self.task):
            self.refuse("task", f"network={self.network.name} is for {self.network.TASK} alone")
        if self.evaluation.images is None and self.data.EVALUATED is not None:
            some = replace(self.evaluation, images=self.data.EVALUATED)
            object.__setattr__(self, "evaluation", some)

    def _check_subset(self) -> None:
        asked, subset = self.diagnostic, self.data.subset
        if subset is None:
            return
        if subset < self.data.batch_size:
            self.data.refuse("subset", f"must be >= data.batch_size={self.data.batch_size}")
        if asked.name != "off" and asked.split == "train" and asked.images > subset:
            asked.refuse("images", f"must be <= data.subset={subset}")

    def _check_identity(self) -> None:
        network = self.network
        if not network.FITS_IDENTITY:
            families = classes_of("network")
            fit = [name_of(c) for c in families if issubclass(c, NetworkConfig) and c.FITS_IDENTITY]
            self.refuse("task", f"needs network={' or '.join(fit)}, not {network.name}")
        if network.norm != "none" or network.activation != "relu":
            self.refuse("task", "needs network.norm=none and network.activation=relu")


@dataclass(frozen=True)
class DiagnoseConfig(Checked):
    """What gradflow diagnose takes: the folder of a run or of a study, and what to do."""

    run: str = MISSING
    diagnostic: DiagnosticConfig = MISSING
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _import_plugins(self)


@dataclass(frozen=True)
class DescribeConfig(Checked):
    """What gradflow describe takes: a network, and what goes in and comes out.

    image_shape: channels, height and width; [1, 1, T] of T tokens. None: [3, 32, 32], or the
        tokens of an example of data=text if the network takes tokens alone.
    outputs: None: as many as the family has by default.
    """

    network: NetworkConfig = MISSING
    image_shape: tuple[int, int, int] | None = None
    outputs: int | None = number(None, at_least=1)
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _import_plugins(self)
        if self.image_shape is not None and min(self.image_shape) < 1:
            self.refuse("image_shape", "must be channels, height and width, such as [3,32,32]")
