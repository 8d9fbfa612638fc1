"""Where the figures and tables of a study are written, in which formats, for which venue."""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from gradflow.analysis.figures import style
from gradflow.analysis.figures.plotted_data import drawn
from gradflow.analysis.figures.slides import Slides
from gradflow.analysis.settings import levels, value_text
from gradflow.analysis.study import Study
from gradflow.analysis.swept import file_part, label, short_key
from gradflow.analysis.tables import Table
from gradflow.core.errors import GradflowError
from gradflow.core.files import atomic_write

FORMATS = ("png", "pdf", "svg")
STAMPS = ("on", "off")
# Without a date in it, equal records give equal bytes.
DATELESS: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}
PROVENANCE = {"png": "Description", "pdf": "Subject", "svg": "Description"}
"""The key of a file's metadata that names study, runs and code, stamped or not."""


@dataclass
class Output:
    """What an analysis writes to: every figure and table of one study goes through here.

    What is made of one setting among several has the setting in its title, its caption and the
    names of its files.

    Attributes:
        study: the runs that are shown.
        formats: of figures; some of `FORMATS`.
        venue: one of `style.VENUES`. Figures for another venue than the web have a folder of
            their own.
        stamp: "on": notes, runs and code stand in the figure's footer. None: on for the
            web. In a paper and on a slide they are in the file's metadata and beside it alone.
        paths: the files written so far, in order.

    Raises:
        GradflowError: an unknown format or venue.
    """

    study: Study
    formats: Sequence[str] = ("png",)
    venue: str = "web"
    stamp: str | None = None
    paths: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse what cannot be written."""
        check_look(self.formats, self.venue, self.stamp)

    @property
    def figures(self) -> Path:
        """The folder of the figures."""
        folder = self.study.folder / "figures"
        return folder if self.venue == "web" else folder / self.venue

    @contextmanager
    def figure(
        self, rows: int, columns: int, *, height: float, **options: Any
    ) -> Iterator[tuple[style.Made, Any]]:
        """A page-wide figure of rows x columns panels, see `style.figure`."""
        with style.figure(rows, columns, height=height, venue=self.venue, **options) as made:
            yield made

    def add_figure(self, made: style.Made, name: str, caption: str) -> None:
        """Write a figure and, beside it, its provenance as JSON and its points as CSV.

        The figure names its study, runs and code in its footer or, without a stamp, in the
        file's metadata alone; equal records give equal bytes. Slides are files NAME_a, NAME_b, ...
        """
        study = self.study
        name += file_part(study.setting)
        self.figures.mkdir(parents=True, exist_ok=True)
        footer = [*(f"note: {note}" for note in study.notes), study.provenance]
        if isinstance(made, Slides):
            made.finish()
        pages = style.figures_of(made)
        for letter, page in zip("abcdefghijklmnopqrstuvwxyz", pages, strict=False):
            if study.setting:
                style.heading(page, _title(study), slide=isinstance(made, Slides))
            if self.stamp == "on" or (self.stamp is None and self.venue == "web"):
                style.stamp(page, footer)
            stem = f"{name}_{letter}" if isinstance(made, Slides) else name
            for kind in self.formats:
                image = io.BytesIO()
                metadata = DATELESS[kind] | {PROVENANCE[kind]: study.provenance}
                page.savefig(image, format=kind, metadata=metadata)
                self.paths.append(self.figures / f"{stem}.{kind}")
                atomic_write(self.paths[-1], image.getvalue())
        facts = {
            "caption": f"{_sentence(study)}{caption}",
            "study": study.folder.name,
            "setting": label(study.setting),
            "others": [label(other) for other in study.others],
            "runs": sorted(study.runs.run_id),
            "every_run": sorted(study.every or study.runs.run_id),
            "code_versions": sorted(study.runs.code_version.unique()),
            "notes": list(study.notes),
        }
        atomic_write(self.figures / f"{name}.json", json.dumps(facts, indent=1) + "\n")
        points = drawn(made).to_csv(index=False, lineterminator="\n")
        atomic_write(self.figures / f"{name}.csv", points)

    def add_table(self, name: str, table: Table, *, printed: bool = True) -> None:
        """Write a table as Markdown, LaTeX and CSV with its provenance, and print it."""
        study = self.study
        if study.setting:
            note = f"{_sentence(study)}{table.note}".rstrip()
            table = replace(table, note=note)
        name += file_part(study.setting)
        self.paths += table.save(study.folder / "tables", name, study.provenance)
        if printed:  # once it is written: who reads may have seen enough and close the pipe
            print(table)


def _sentence(study: Study) -> str:
    """Which setting is shown, and which others there are; empty for a study of one."""
    if not study.setting:
        return ""
    others = "; ".join(map(label, study.others))
    return f"Shown: {label(study.setting)}" + (f" (others: {others}). " if others else ". ")


def _title(study: Study) -> list[str]:
    """The setting, and the values of its keys in the study."""
    lines = [label(study.setting)]
    if study.others:
        every = (study.setting, *study.others)
        there = "; ".join(
            f"{short_key(key)}: " + ", ".join(map(value_text, levels(pd.Series(values))))
            for key in study.setting
            if (values := [each[key] for each in every if key in each])
        )
        lines.append(f"one of {len(study.others) + 1} settings of the study ({there})")
    return lines


def check_look(formats: Sequence[str], venue: str, stamp: str | None = None) -> None:
    """Refuse formats, venues and stamps that there are none of.

    Raises:
        GradflowError: with those that there are.
    """
    for name in formats:
        if name not in FORMATS:
            raise GradflowError(f"--format {name}: choose among {', '.join(FORMATS)}")
    if venue not in style.VENUES:
        raise GradflowError(f"--style {venue}: choose among {', '.join(style.VENUES)}")
    if stamp not in (None, *STAMPS):
        raise GradflowError(f"--stamp {stamp}: choose among {', '.join(STAMPS)}")
