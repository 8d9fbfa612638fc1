"""What every diagnostic of a frozen network has: of which weights, on how many images."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from gradflow.config.needs import LACKING, Need
from gradflow.config.registry import Chosen, register
from gradflow.config.validation import choice, number

AT = {"initialization": (False,), "final": (True,), "both": (False, True)}
"""`diagnostic.at` -> whether of trained weights, for each time that is diagnosed."""

Columns = dict[str, str]
"""Column -> its Arrow type by name, such as int32, float64, string, bool or list[int64]."""


@dataclass(frozen=True)
class DiagnosticConfig(Chosen):
    """A diagnostic is a file of gradflow/diagnostics: this, with a function.

    The function gets (frozen network, config) and returns table -> column -> values.

    TABLES: the tables that it fills, and their columns; `gradflow.records.schema` puts those in
        front that say of which run, diagnosis and step a row is.
    EXACT: whether it computes in float64, whatever the run was trained in.
    PART: the columns, of its only table, by which a part of the rows is known that is saved on its
        own, so that an interrupted diagnosis resumes behind it. The function then gets a third
        argument, the set of parts that are there, and yields the others one by one. (): all rows
        are saved together.
    NEEDS: of a network and its data, see `gradflow.config.needs`.
    """

    GROUP: ClassVar[str] = "diagnostic"
    FACTS: ClassVar[tuple[str, ...]] = ("TABLES", "EXACT")
    TABLES: ClassVar[dict[str, Columns]]
    EXACT: ClassVar[bool]
    PART: ClassVar[tuple[str, ...]] = ()
    NEEDS: ClassVar[tuple[Need, ...]] = ()

    at: str = choice("final", "initialization", "both")
    split: str = choice("train", "test")
    images: int = number(32, at_least=2)

    def check_needs(self, lacking: Collection[Need]) -> None:
        """Refuse a network that lacks what the diagnostic needs."""
        for need in self.NEEDS:
            if need in lacking:
                self.refuse("name", LACKING[need])


@dataclass(frozen=True)
class NoDiagnosticConfig(DiagnosticConfig):
    """Nothing beyond the training's own records."""

    TABLES: ClassVar[dict[str, Columns]] = {}
    EXACT: ClassVar[bool] = False

    name: str = choice("off")


@register(NoDiagnosticConfig)
def measure_nothing(frozen: object, config: NoDiagnosticConfig) -> dict[str, dict[str, list[int]]]:
    """No rows."""
    return {}
