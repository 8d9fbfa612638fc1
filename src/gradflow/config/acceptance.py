"""What gradflow acceptance takes."""

from dataclasses import dataclass

from gradflow.config.data import DataConfig
from gradflow.config.validation import MISSING, Checked, number


@dataclass(frozen=True)
class AcceptanceConfig(Checked):
    """Where real images are, which random networks are drawn, which claims are tested.

    seed: 0, 1, ... each draws every random network and image anew.
    times: as many networks of each claim as the claim says, times this.
    match: only the claims whose topic or name contains this.
    workers: processes that share the topics; None: one per core.
    laws: draw the laws over depth, as courses, too.
    """

    data: DataConfig = MISSING
    seed: int = number(0, at_least=0)
    times: int = number(1, at_least=1, at_most=50)
    match: str = ""
    workers: int | None = number(None, at_least=1)
    laws: bool = False
    output_root: str = "outputs"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data.name != "cifar10":
            self.data.refuse("name", "the claims about real images are about data=cifar10")
