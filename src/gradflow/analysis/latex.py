"""A table as LaTeX that fits the text width of a NeurIPS paper.

Widths are estimated from the metrics of Computer Modern. What is too wide is wrapped (titles and
words) or continues in a second block of columns below the first, which repeats the key columns.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gradflow.analysis.numbers import POWER, SUPERSCRIPTS, TIMES, Cell, number
from gradflow.statistics import Interval

PACKAGES = r"\usepackage{array,booktabs,siunitx}"
TEXT_WIDTH = 397.48  # points: NeurIPS, one column
SIZE = 8.5  # points: \footnotesize is cmr8, whose letters are 6 % wider than 0.8 of cmr10
GAP = 6.0  # between columns: twice \tabcolsep
BOLD = 1.16  # of the regular width: digits of cmbx10
WRAPPED = 90.0  # points; words may be wrapped down to it, and to their longest one

EM = {  # thousandths of an em, cmr10.afm; all others are as wide as M
    278: "!'.,:;[]il", 306: "fj", 333: "- ", 361: "I", 389: "()t", 392: "r", 394: "s", 444: "cez",
    500: "$*/0123456789ago", 514: "J", 528: "kqvxy", 556: "Sbdhnpu", 611: "Z", 625: "L", 653: "F",
    681: "EP", 708: "B", 722: "CTw", 736: "R", 750: "AHNUVXY", 764: "D", 778: f"&+=KOQ{TIMES}±<>",
    785: "G", 833: "%#m", 917: "M", 350: "⁻⁰¹²³⁴⁵⁶⁷⁸⁹",
}  # fmt: skip
WIDTHS = {sign: width for width, signs in EM.items() for sign in signs}

SIGNS = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "%": r"\%", "_": r"\_", "&": r"\&"}
SIGNS |= {"#": r"\#", "$": r"\$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SIGNS |= {"√": r"$\sqrt{}$", "±": r"$\pm$", TIMES: r"$\times$", "τ": r"$\tau$", "χ": r"$\chi$"}
SIGNS |= {"π": r"$\pi$", "é": r"\'e", "<": "$<$", ">": "$>$", "|": "$|$", "µ": r"\textmu{}"}
MINUS = re.compile(r"(?<![\w-])-(?=[\d.])|(?<= )-(?= )")


class Column(NamedTuple):
    """Title and cells as LaTeX, their widths in points, and whether it is of words."""

    title: str
    cells: list[str]
    width: float
    longest_word: float
    words: bool

    @property
    def least(self) -> float:
        """The width below which it cannot be wrapped."""
        title = max(map(width, self.title.split()), default=0.0)
        return max(title, max(self.longest_word, min(self.width, WRAPPED)))

    @property
    def most(self) -> float:
        """The width at which nothing is wrapped."""
        return max(width(self.title), self.width)


def column(title: str, cells: Sequence[tuple[Cell, str, bool, bool]], words: bool) -> Column:
    """A column from (cell, format, is best, is significant)."""
    texts, widths, longest = [], [0.0], [0.0]
    for cell, form, best, significant in cells:
        text = plain(cell, form)
        wide = BOLD if best else 1.0
        found = tex(text)
        found = rf"\textbf{{{found}}}" if best else found
        texts.append(found + "$^{*}$" if significant else found)
        widths.append(wide * width(text) + (SIZE / 2 if significant else 0))
        longest.append(max(map(width, text.split()), default=0.0) if words else widths[-1])
    return Column(title, texts, max(widths), max(longest), words)


def plain(cell: Cell, form: str) -> str:
    """A cell's text before it is written as LaTeX; an interval as mean [low, high]."""
    if isinstance(cell, Interval) and not np.isnan(cell.mean):
        mean, low, high = (number(value, form) for value in cell[:3])
        return f"{mean} [{low}, {high}]"
    if isinstance(cell, str):
        return cell
    if cell is None or isinstance(cell, Interval):
        return "-"
    return str(cell) if isinstance(cell, int | np.integer) else number(float(cell), form)


def width(text: str) -> float:
    """Points of a line of \\footnotesize."""
    text = MINUS.sub("=", text)  # as wide as a minus sign
    return sum(WIDTHS.get(sign, 917) for sign in text) / 1000 * SIZE


def tex(text: str) -> str:
    """Text as LaTeX: signs escaped, minus signs and en dashes, powers by siunitx."""
    if text == "-":
        return "--"
    powers: list[str] = []

    def keep(match: re.Match[str]) -> str:
        exponent = match[2].translate({v: chr(k) for k, v in SUPERSCRIPTS.items()})
        powers.append(rf"\num{{{match[1]}e{exponent}}}")
        return "\0"

    text = POWER.sub(keep, text)
    text = "".join(SIGNS.get(sign, sign) for sign in text)
    text = re.sub(r"(?<=\d) ?\.\.\. ?(?=\d)|(?<=\d)-(?=\d)", "--", text)  # ranges
    text = MINUS.sub("$-$", text).replace("...", r"\ldots{}")
    text = re.sub(r"\binf\b", r"$\\infty$", text)
    for power in powers:
        text = text.replace("\0", power, 1)
    return text


def table(
    columns: Sequence[Column], keys: int, caption: str, label: str, notes: Sequence[str]
) -> str:
    """A table environment: caption, label, blocks of columns, notes."""
    blocks = [tabular(block) for block in split(columns, keys)]
    lines = [r"\begin{table}[tb]", r"\centering", rf"\caption{{{tex(caption)}}}"]
    lines += [rf"\label{{tab:{label}}}", r"\footnotesize", r"\setlength{\tabcolsep}{3pt}"]
    lines.append("\n\n\\medskip\n".join(blocks))
    if notes:
        texts = r" \\".join(tex(note).strip() for note in notes)
        lines += [rf"\par\smallskip\parbox{{\linewidth}}{{\raggedright {texts}}}"]
    return "\n".join([*lines, r"\end{table}"])


def split(columns: Sequence[Column], keys: int) -> list[list[Column]]:
    """Blocks of columns that fit, each with the first `keys` columns."""
    front = list(columns[:keys])
    blocks = [list(front)]
    for each in columns[keys:]:
        if len(blocks[-1]) > keys and _least([*blocks[-1], each]) > TEXT_WIDTH:
            blocks.append(list(front))
        blocks[-1].append(each)
    return blocks


def _least(columns: Sequence[Column]) -> float:
    return sum(each.least + GAP for each in columns)


def tabular(columns: Sequence[Column]) -> str:
    """A tabular with booktabs rules, its titles and words wrapped to fit."""
    spare = max(TEXT_WIDTH - _least(columns), 0.0)
    asked = sum(each.most - each.least for each in columns)
    share = min(spare / asked, 1.0) if asked > 0 else 0.0
    widths = [each.least + share * (each.most - each.least) for each in columns]
    aligned = [
        ("l" if each.words else "r")
        if each.width <= room or not each.words
        else rf">{{\raggedright\arraybackslash}}p{{{room:.1f}pt}}"
        for each, room in zip(columns, widths, strict=True)
    ]
    titles = [
        wrapped(each.title, room, "l" if each.words else "r")
        for each, room in zip(columns, widths, strict=True)
    ]
    rows = [" & ".join(cells) + r" \\" for cells in zip(*(c.cells for c in columns), strict=True)]
    top = [rf"\begin{{tabular}}{{{''.join(aligned)}}}", r"\toprule"]
    top += [" & ".join(titles) + r" \\", r"\midrule"]
    return "\n".join([*top, *rows, r"\bottomrule", r"\end{tabular}"])


def wrapped(title: str, room: float, side: str) -> str:
    """A title in as many lines as it takes, the last at the table's line."""
    lines = [""]
    for word in title.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and width(longer) > room + 0.01:
            lines.append(word)
        else:
            lines[-1] = longer
    if len(lines) == 1:
        return tex(title)
    body = r" \\ ".join(map(tex, lines))
    return rf"\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}{body}\end{{tabular}}"
