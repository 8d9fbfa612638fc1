"""Tables: one set of rows, written as Markdown, LaTeX (booktabs) and CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from gradflow.analysis import latex
from gradflow.analysis.numbers import Cell, shown
from gradflow.core.files import atomic_write
from gradflow.statistics import PERCENT, Interval, interval

__all__ = ["Cell", "Table", "error_cell", "shown"]


@dataclass(frozen=True)
class Table:
    """Rows of cells by column title; the rows are the one source of every form.

    Attributes:
        rows: title -> cell, in the order of the columns. A float may be NaN and a cell None:
            both show as a dash. An `Interval` shows as mean (low ... high), and is three
            columns in CSV.
        formats: title -> format of its numbers, see `numbers.number`; ".1f" by default.
        best: (row, title) of the cells that are marked as the best of their column.
        significant: (row, title) of the cells that are marked as significant.
        note: text below the table.
        caption: of the table in LaTeX; the name it is saved by if empty.
        keys: how many of the first columns say what a row is about: a table that is too wide
            for a page repeats them.
    """

    rows: Sequence[Mapping[str, Cell]]
    formats: Mapping[str, str] = field(default_factory=dict)
    best: frozenset[tuple[int, str]] = frozenset()
    significant: frozenset[tuple[int, str]] = frozenset()
    note: str = ""
    caption: str = ""
    keys: int = 1

    @property
    def titles(self) -> list[str]:
        """The columns, in order."""
        return list(self.rows[0]) if self.rows else []

    def __str__(self) -> str:
        """Markdown."""
        lines = [self.titles, ["---" if t in self._left else "---:" for t in self.titles]]
        for index, row in enumerate(self.rows):
            cells = [self._marked(index, t, "**", "**", " *") for t in row]
            lines.append([cell.replace("|", "\\|") for cell in cells])
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"{table}\n\n{self.note}" if self.note else table

    def latex(self, name: str) -> str:
        """A table environment that fits the page, see `analysis.latex`."""
        columns = [
            latex.column(
                title,
                [
                    (
                        row[title],
                        self.formats.get(title, ".1f"),
                        (index, title) in self.best,
                        (index, title) in self.significant,
                    )
                    for index, row in enumerate(self.rows)
                ],
                title in self._left,
            )
            for title in self.titles
        ]
        notes = [line.removeprefix("- ") for line in self.note.splitlines() if line]
        if methods := self._methods:
            notes.append(f"Intervals: 95 %, {methods}.")
        caption = self.caption or f"{name.replace('_', ' ')}."
        return latex.table(columns, self.keys, caption, name, notes)

    @property
    def csv(self) -> str:
        """All digits; an interval as columns <title>, <title> low, <title> high, <title> n."""
        spread = {t for row in self.rows for t, cell in row.items() if isinstance(cell, Interval)}
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        titles = []
        for title in self.titles:
            parts = ("", " low", " high", " n") if title in spread else ("",)
            titles += [title + part for part in parts]
        writer.writerow(titles)
        for row in self.rows:
            cells: list[object] = []
            for title, cell in row.items():
                if title not in spread:
                    cells.append(_plain(cell))
                else:
                    found = cell if isinstance(cell, Interval) else (cell, None, None, None)
                    cells += [_plain(value) for value in found[:4]]
            writer.writerow(cells)
        return file.getvalue()

    def save(self, folder: Path, name: str, provenance: str) -> list[Path]:
        """Write <name>.md, .tex and .csv, the first two with their provenance."""
        folder.mkdir(exist_ok=True)
        if methods := self._methods:
            provenance += f"; intervals: 95 %, {methods}"
        contents = {
            "md": f"{self}\n\n{provenance}\n",
            "tex": f"% {provenance}\n% {latex.PACKAGES}\n{self.latex(name)}\n",
            "csv": self.csv,
        }
        paths = []
        for kind, content in contents.items():
            paths.append(folder / f"{name}.{kind}")
            atomic_write(paths[-1], content)
        return paths

    @property
    def _methods(self) -> str:
        """How the intervals were made."""
        cells = [cell for row in self.rows for cell in row.values()]
        return " and ".join(sorted({c.method for c in cells if isinstance(c, Interval)}))

    @property
    def _left(self) -> set[str]:
        """Columns of words."""
        return {t for t in self.titles if all(isinstance(row[t], str) for row in self.rows)}

    def _marked(self, index: int, title: str, before: str, after: str, star: str) -> str:
        text = shown(self.rows[index][title], self.formats.get(title, ".1f"))
        if (index, title) in self.best:
            text = f"{before}{text}{after}"
        return text + star if (index, title) in self.significant else text


def error_cell(errors: pd.Series) -> Cell:
    """The interval of errors in percent over runs; the word "diverged" if all of them did."""
    if len(errors) and errors.isna().all():
        return "diverged"
    return interval(errors.dropna(), within=PERCENT) if len(errors) else None


def _plain(cell: object) -> object:
    return "" if cell is None or (isinstance(cell, float) and np.isnan(cell)) else cell
