"""Tables: one set of rows, written as Markdown, LaTeX (booktabs) and CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from gradflow.core.files import atomic_write
from gradflow.statistics import Interval, interval

Cell = str | int | float | Interval | None

LATEX = {"%": r"\%", "_": r"\_", "&": r"\&", "#": r"\#", "√": r"$\sqrt{}$", "±": r"$\pm$"}
LATEX |= {"τ": r"$\tau$", "χ": r"$\chi$", "π": r"$\pi$", "é": r"\'e", "...": r"\ldots"}


@dataclass(frozen=True)
class Table:
    """Rows of cells by column title; the rows are the one source of every form.

    Attributes:
        rows: title -> cell, in the order of the columns. A float may be NaN and a cell None:
            both show as a dash. An `Interval` shows as mean (low ... high), and is three
            columns in CSV.
        formats: title -> format of its numbers; ".1f" by default.
        best: (row, title) of the cells that are marked as the best of their column.
        significant: (row, title) of the cells that are marked as significant.
        note: text below the table in Markdown.
    """

    rows: Sequence[Mapping[str, Cell]]
    formats: Mapping[str, str] = field(default_factory=dict)
    best: frozenset[tuple[int, str]] = frozenset()
    significant: frozenset[tuple[int, str]] = frozenset()
    note: str = ""

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

    @property
    def latex(self) -> str:
        """A tabular with booktabs rules; numbers, intervals and signs as LaTeX writes them."""
        align = "".join("l" if title in self._left else "r" for title in self.titles)
        lines = [" & ".join(_escaped(title) for title in self.titles)]
        for index, row in enumerate(self.rows):
            cells = [
                _escaped(self._marked(index, t, "\0", "\1", "\2"))
                .replace("\0", r"\textbf{")
                .replace("\1", "}")
                .replace("\2", "$^{*}$")
                for t in row
            ]
            lines.append(" & ".join(cells))
        head, *body = (line + r" \\" for line in lines)
        top = [rf"\begin{{tabular}}{{{align}}}", r"\toprule", head, r"\midrule"]
        return "\n".join([*top, *body, r"\bottomrule", r"\end{tabular}"])

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
        cells = [cell for row in self.rows for cell in row.values()]
        if methods := sorted({cell.method for cell in cells if isinstance(cell, Interval)}):
            provenance += f"; intervals: 95 %, {' and '.join(methods)}"
        comments = "".join(f"% {line}\n" for line in [provenance, *self.note.splitlines()])
        contents = {
            "md": f"{self}\n\n{provenance}\n",
            "tex": f"{comments}{self.latex}\n",
            "csv": self.csv,
        }
        paths = []
        for kind, content in contents.items():
            paths.append(folder / f"{name}.{kind}")
            atomic_write(paths[-1], content)
        return paths

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
    """The interval of errors over runs; the word "diverged" if all of them did."""
    if len(errors) and errors.isna().all():
        return "diverged"
    return interval(errors.dropna()) if len(errors) else None


def shown(cell: Cell, form: str) -> str:
    """A cell as text; a dash for None and NaN."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Interval):
        if np.isnan(cell.mean):
            return "-"
        return f"{cell.mean:{form}} ({shown(cell.low, form)} ... {shown(cell.high, form)})"
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return "-"
    return str(cell) if isinstance(cell, int | np.integer) else f"{cell:{form}}"


def _plain(cell: object) -> object:
    return "" if cell is None or (isinstance(cell, float) and np.isnan(cell)) else cell


def _escaped(text: str) -> str:
    for sign, written in LATEX.items():
        text = text.replace(sign, written)
    return text
