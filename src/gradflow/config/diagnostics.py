"""What can be measured on a frozen network: each diagnostic with its options."""

from dataclasses import dataclass
from typing import ClassVar

from omegaconf import MISSING

from gradflow.config.validation import Checked, choice, number

AT = {"initialization": (False,), "final": (True,), "both": (False, True)}
"""`diagnostic.at` -> whether of trained weights, for each time that is diagnosed."""


@dataclass(frozen=True)
class DiagnosticConfig(Checked):
    """What every diagnostic has: of which weights, and on how many images of a split."""

    GROUP: ClassVar[str] = "diagnostic"
    name: str = MISSING
    at: str = choice("final", "initialization", "both")
    split: str = choice("train", "test")
    images: int = number(32, at_least=2)


@dataclass(frozen=True)
class NoDiagnosticConfig(DiagnosticConfig):
    """Nothing beyond the training's own records."""

    name: str = choice("off")


@dataclass(frozen=True)
class ShatteringConfig(DiagnosticConfig):
    """Do gradients at similar inputs agree? Of examples, and along a line between two images."""

    name: str = choice("shattering")
    at: str = choice("both", "initialization", "final")
    images: int = number(16, at_least=2)
    points: int = number(256, at_least=8)  # on the line


@dataclass(frozen=True)
class JacobianConfig(DiagnosticConfig):
    """Singular values: all where a side has up to `exact_up_to` numbers, else the largest."""

    name: str = choice("jacobian")
    at: str = choice("both", "initialization", "final")
    examples: int = number(2, at_least=1)  # of the images, whose Jacobians are taken
    exact_up_to: int = number(1024, at_least=1)
    values: int = number(16, at_least=1)  # how many where not all


@dataclass(frozen=True)
class PathsConfig(DiagnosticConfig):
    """The gradient by the number of branches that it came through."""

    name: str = choice("paths")
    at: str = choice("both", "initialization", "final")
    images: int = number(4, at_least=2)
    samples: int = number(8, at_least=1)  # single paths of each length


@dataclass(frozen=True)
class LesionConfig(DiagnosticConfig):
    """The error after blocks were deleted or swapped, without training again."""

    name: str = choice("lesion")
    split: str = choice("test", "train")
    images: int = number(360, at_least=2)
    samples: int = number(5, at_least=1)  # draws of each number of blocks, or of swaps


@dataclass(frozen=True)
class LandscapeConfig(DiagnosticConfig):
    """The loss along filter-normalised random directions, on a line and on a plane."""

    name: str = choice("landscape")
    images: int = number(256, at_least=2)
    line: int = number(41, at_least=3)  # points, an odd number
    plane: int = number(15, at_least=3)  # points a side, an odd number
    reach: float = number(1.0, above=0)  # 1: as far as the weights themselves are long

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("line", "plane"):
            if getattr(self, name) % 2 == 0:
                self.refuse(name, "must be odd, so that one point is the network itself")


@dataclass(frozen=True)
class CurvatureConfig(DiagnosticConfig):
    """The Hessian of the loss by layer group: largest eigenvalue and trace."""

    name: str = choice("curvature")
    at: str = choice("both", "initialization", "final")
    images: int = number(128, at_least=2)
    vectors: int = number(32, at_least=2)  # of Hutchinson's estimate of the trace


@dataclass(frozen=True)
class IdentityConfig(DiagnosticConfig):
    """How near each block is to handing its input on unchanged."""

    name: str = choice("identity")
    at: str = choice("both", "initialization", "final")
    images: int = number(256, at_least=2)


DIAGNOSTICS = (
    NoDiagnosticConfig,
    ShatteringConfig,
    JacobianConfig,
    PathsConfig,
    LesionConfig,
    LandscapeConfig,
    CurvatureConfig,
    IdentityConfig,
)
