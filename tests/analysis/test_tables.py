"""Tables: the same rows as Markdown, LaTeX and CSV."""

import csv
import io

import numpy as np

from gradflow.analysis.tables import Table
from gradflow.statistics import Interval

TABLE = Table(
    rows=[
        {"network": "plain_20", "error %": Interval(3.14159, 2.0, 4.5, 3), "n": 3, "g": 0.5},
        {"network": "residual", "error %": Interval(np.nan, np.nan, np.nan, 0), "n": 0, "g": None},
        {"network": "x & y", "error %": "diverged", "n": 12, "g": float("nan")},
    ],
    formats={"g": ".2f"},
    best=frozenset({(0, "error %")}),
    significant=frozenset({(0, "g")}),
    note="Below.",
)


def test_markdown():
    assert str(TABLE).splitlines() == [
        "| network | error % | n | g |",
        "| --- | ---: | ---: | ---: |",
        "| plain_20 | **3.1 (2.0 ... 4.5)** | 3 | 0.50 * |",
        "| residual | - | 0 | - |",
        "| x & y | diverged | 12 | - |",
        "",
        "Below.",
    ]


def test_latex_escapes_what_it_must():
    assert TABLE.latex.splitlines() == [
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r"network & error \% & n & g \\",
        r"\midrule",
        r"plain\_20 & \textbf{3.1 (2.0 \ldots 4.5)} & 3 & 0.50$^{*}$ \\",
        r"residual & - & 0 & - \\",
        r"x \& y & diverged & 12 & - \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_csv_keeps_every_digit_and_takes_intervals_apart():
    rows = list(csv.DictReader(io.StringIO(TABLE.csv)))
    assert list(rows[0]) == [
        "network", "error %", "error % low", "error % high", "error % n", "n", "g",
    ]  # fmt: skip
    assert rows[0]["error %"] == "3.14159"
    assert rows[0]["error % high"] == "4.5"
    assert rows[1]["error %"] == rows[1]["error % low"] == rows[1]["g"] == ""
    assert rows[2]["error %"] == "diverged"


def test_the_three_files(tmp_path):
    paths = TABLE.save(tmp_path / "tables", "one", "made of three runs")
    assert [path.name for path in paths] == ["one.md", "one.tex", "one.csv"]
    assert paths[0].read_text() == f"{TABLE}\n\nmade of three runs; intervals: 95 %, t\n"
    assert (
        paths[1]
        .read_text()
        .startswith("% made of three runs; intervals: 95 %, t\n% Below.\n\\begin{tabular}")
    )


def test_a_bar_in_a_cell_stays_in_its_cell():
    assert str(Table([{"norm": "|W|"}])).splitlines()[2] == r"| \|W\| |"
