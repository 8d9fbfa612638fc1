"""The typed config of a run: what can be set, its default, its range.

Every key that the command line knows is a field here. The classes are frozen; a value
that has passed the door is never checked again.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from omegaconf import MISSING

from gradflow.config.diagnostics import DIAGNOSTICS, DiagnosticConfig, NoDiagnosticConfig
from gradflow.config.networks import FAMILIES, MlpConfig, NetworkConfig
from gradflow.config.validation import Checked, choice, number


@dataclass(frozen=True)
class DataConfig(Checked):
    """A data set, how much of it, and how it is fed."""

    GROUP: ClassVar[str] = "data"
    name: str = MISSING
    batch_size: int = number(64, at_least=2)
    subset: int | None = number(None, at_least=1)
    augment: bool = False


@dataclass(frozen=True)
class DigitsConfig(DataConfig):
    """scikit-learn's handwritten digits: 1,437 training and 360 test images, 1x8x8."""

    name: str = choice("digits")


@dataclass(frozen=True)
class Cifar10Config(DataConfig):
    """CIFAR-10 from a folder of parquet files with the columns `img` and `label`."""

    name: str = choice("cifar10")
    batch_size: int = number(128, at_least=2)
    folder: str = "data/cifar10"
    augment: bool = True


@dataclass(frozen=True)
class OptimizerConfig(Checked):
    """What every optimiser has. Weight decay acts on every parameter, as in He et al. 2015.

    `clip_norm`: a gradient whose norm over all parameters is above it is scaled down to it.
    """

    GROUP: ClassVar[str] = "optimizer"
    name: str = MISSING
    learning_rate: float = number(MISSING, above=0)
    weight_decay: float = number(1e-4, at_least=0)
    clip_norm: float | None = number(None, above=0)


@dataclass(frozen=True)
class SGDConfig(OptimizerConfig):
    """Stochastic gradient descent with momentum."""

    name: str = choice("sgd")
    learning_rate: float = number(0.05, above=0)
    momentum: float = number(0.9, at_least=0, below=1)


@dataclass(frozen=True)
class AdamWConfig(OptimizerConfig):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    name: str = choice("adamw")
    learning_rate: float = number(1e-3, above=0)
    weight_decay: float = number(1e-2, at_least=0)
    beta1: float = number(0.9, at_least=0, below=1)
    beta2: float = number(0.999, at_least=0, below=1)


@dataclass(frozen=True)
class ScheduleConfig(Checked):
    """A learning rate as a function of the step; `optimizer.learning_rate` is its peak."""

    GROUP: ClassVar[str] = "schedule"
    name: str = MISSING


@dataclass(frozen=True)
class ConstantConfig(ScheduleConfig):
    """The peak at every step."""

    name: str = choice("constant")


@dataclass(frozen=True)
class MultiStepConfig(ScheduleConfig):
    """He et al. 2015: `factor` at each milestone; a warm-up below the peak, then the peak."""

    name: str = choice("multi_step")
    milestones: tuple[int, ...] = (32_000, 48_000)
    factor: float = number(0.1, above=0, at_most=1)
    warmup_steps: int = number(0, at_least=0)
    warmup_factor: float = number(0.1, above=0, at_most=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if list(self.milestones) != sorted(set(self.milestones)) or min(self.milestones) < 1:
            self.refuse("milestones", "must be rising steps from 1 on, such as [32000,48000]")


@dataclass(frozen=True)
class CosineConfig(ScheduleConfig):
    """From the peak to 0 along half a cosine (Loshchilov and Hutter 2017)."""

    name: str = choice("cosine")


@dataclass(frozen=True)
class OneCycleConfig(ScheduleConfig):
    """Up from peak/start_divisor, then down to near 0, both along half a cosine (Smith 2018)."""

    name: str = choice("one_cycle")
    rise: float = number(0.3, above=0, below=1)
    start_divisor: float = number(25.0, at_least=1)
    end_divisor: float = number(1e4, at_least=1)


@dataclass(frozen=True)
class ProbeConfig(Checked):
    """At which steps the gradient is measured (`probe`), or looked at closely (`details`)."""

    GROUP: ClassVar[str] = "probe"
    name: str = MISSING


@dataclass(frozen=True)
class EveryConfig(ProbeConfig):
    """Every `every` steps, the first and the last step always."""

    name: str = choice("every")
    every: int = number(5, at_least=1)


@dataclass(frozen=True)
class LogSpacedConfig(ProbeConfig):
    """So many steps a decade, the first and the last step always."""

    name: str = choice("log_spaced")
    per_decade: int = number(10, at_least=1, at_most=1000)


@dataclass(frozen=True)
class ListedConfig(ProbeConfig):
    """These steps (0 is the network at initialisation) and no other."""

    name: str = choice("listed")
    steps: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.steps or min(self.steps) < 0:
            self.refuse("steps", "must be steps from 0 on, such as [0,10,100]")


@dataclass(frozen=True)
class InitializationConfig(ProbeConfig):
    """The first step only: the network as it was drawn."""

    name: str = choice("initialization")


@dataclass(frozen=True)
class OffConfig(ProbeConfig):
    """Never."""

    name: str = choice("off")


SCHEDULES = (EveryConfig, LogSpacedConfig, ListedConfig, InitializationConfig, OffConfig)


@dataclass(frozen=True)
class EvaluationConfig(Checked):
    """When loss and error are taken in evaluation mode; always after the last step."""

    GROUP: ClassVar[str] = "evaluation"
    every: int = number(60, at_least=1)
    images: int | None = number(None, at_least=1)


@dataclass(frozen=True)
class StudyConfig(Checked):
    """The sweep that a run belongs to: its folder's name and the analysis that ends it."""

    GROUP: ClassVar[str] = "study"
    name: str = "scratch"
    analysis: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name or self.name.startswith("."):
            self.refuse("name", "must be a plain folder name, such as degradation")


@dataclass(frozen=True)
class SearchConfig(Checked):
    """How experiments/tune.py searches; `study` and `trial` say which of its trials a run is."""

    GROUP: ClassVar[str] = "search"
    trials: int = number(20, at_least=1)
    batch: int = number(4, at_least=1)
    objective: str = choice("final_train_error", "final_test_error", "final_train_loss")
    prune: bool = True
    seed: int = number(0, at_least=0)
    study: str | None = None
    trial: int | None = number(None, at_least=0)


@dataclass(frozen=True)
class RunConfig(Checked):
    """One training of one network from one seed.

    `dtype`: of weights and arithmetic; with bfloat16 and tf32 weights, gradients and norms are
    float32, and what is multiplied is rounded to bfloat16 (autocast) or TF32 before. auto: the
    faster of float32 and bfloat16, timed before the run has an id (see gradflow.runs.precision).
    `graph`: the training step is captured once as a CUDA graph and replayed.
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
    seed: int = number(0, at_least=0)
    steps: int = number(120, at_least=1)
    device: str = choice("cpu", "cuda")
    dtype: str = choice("float32", "float64", "bfloat16", "tf32", "auto")
    graph: bool = False
    threads: int = number(1, at_least=1)
    study: StudyConfig = field(default_factory=StudyConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    output_root: str = "outputs"
    checkpoint_seconds: float = number(60.0, at_least=0)
    task: str = choice("family", "identity")
    only: str = choice("unfinished", "failed", "missing")
    resume: str = choice("auto", "force")
    dry_run: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.device == "cpu" and self.dtype == "tf32":
            self.refuse("dtype", "needs device=cuda; a CPU has float32, float64, bfloat16 and auto")
        if self.device == "cpu" and self.graph:
            self.refuse("graph", "needs device=cuda")
        if self.data.subset is not None and self.data.subset < self.data.batch_size:
            self.data.refuse("subset", f"must be >= data.batch_size={self.data.batch_size}")
        asked, subset = self.diagnostic, self.data.subset
        looks = asked.name != "off" and asked.split == "train"
        if looks and subset is not None and asked.images > subset:
            asked.refuse("images", f"must be <= data.subset={subset}")
        if self.task == "identity":
            if not isinstance(self.network, MlpConfig):
                self.refuse("task", f"needs network=mlp, not {self.network.name}")
            if self.network.norm != "none" or self.network.activation != "relu":
                self.refuse("task", "needs network.norm=none and network.activation=relu")


@dataclass(frozen=True)
class DiagnoseConfig(Checked):
    """What experiments/diagnose.py takes: the folder of a run or of a study, and what to do."""

    run: str = MISSING
    diagnostic: DiagnosticConfig = MISSING


@dataclass(frozen=True)
class DescribeConfig(Checked):
    """What experiments/describe.py takes: a network, and what goes in and comes out."""

    network: NetworkConfig = MISSING
    image_shape: tuple[int, int, int] = (3, 32, 32)
    outputs: int = number(10, at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.image_shape) != 3 or min(self.image_shape) < 1:
            self.refuse("image_shape", "must be channels, height and width, such as [3,32,32]")


GROUPS: dict[str, tuple[type[Checked], ...]] = {
    "network": tuple(FAMILIES.values()),
    "data": (DigitsConfig, Cifar10Config),
    "optimizer": (SGDConfig, AdamWConfig),
    "schedule": (ConstantConfig, MultiStepConfig, CosineConfig, OneCycleConfig),
    "probe": SCHEDULES,
    # The same schedules; the errors of their keys name the other group.
    "details": tuple(type(f"Details{c.__name__}", (c,), {"GROUP": "details"}) for c in SCHEDULES),
    "diagnostic": DIAGNOSTICS,
}
"""Config group -> the classes that `group=name` chooses from."""
