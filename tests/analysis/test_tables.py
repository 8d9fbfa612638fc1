"""Tables: the same rows as Markdown, LaTeX and CSV."""

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from gradflow.analysis import latex
from gradflow.analysis.numbers import TIMES, number
from gradflow.analysis.tables import Table
from gradflow.statistics import Interval

ROOT = Path(__file__).parents[2]
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


def test_latex():
    assert TABLE.latex("one_table").splitlines() == [
        r"\begin{table}[tb]",
        r"\centering",
        r"\caption{one table.}",
        r"\label{tab:one_table}",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{3pt}",
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r"network & error \% & n & g \\",
        r"\midrule",
        r"plain\_20 & \textbf{3.1 [2.0, 4.5]} & 3 & 0.50$^{*}$ \\",
        r"residual & -- & 0 & -- \\",
        r"x \& y & diverged & 12 & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip\parbox{\linewidth}{\raggedright Below. \\Intervals: 95 \%, t.}",
        r"\end{table}",
    ]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("-0.1", "$-$0.1"),
        ("-", "--"),
        ("1.2 [-0.1, 2.5]", "1.2 [$-$0.1, 2.5]"),
        ("plain - residual", "plain $-$ residual"),
        ("3-8 seeds, batch-norm", "3--8 seeds, batch-norm"),
        ("2.3 (-1.2 ... 3.4)", "2.3 ($-$1.2--3.4)"),
        (f"-3.5 {TIMES} 10⁻¹⁰", r"\num{-3.5e-10}"),
        ("< .001", "$<$ .001"),
        ("a_b & 5 % of $x^2$ {y}", r"a\_b \& 5 \% of \$x\textasciicircum{}2\$ \{y\}"),
        ("inf", r"$\infty$"),
    ],
)
def test_text_as_latex(text, written):
    assert latex.tex(text) == written


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (0.0004, "p", "< .001"), (0.0116, "p", ".012"), (1.0, "p", "1.000"), (0.2, "p", ".200"),
        (102.0, ".2g", "100"), (4.0, ".2g", "4"), (2743.0, ".2g", "2700"), (0.66, ".2g", "0.66"),
        (5.6e6, ".2g", f"5.6 {TIMES} 10⁶"), (-3.5e-10, ".2g", f"-3.5 {TIMES} 10⁻¹⁰"),
        (9999.9, ".2g", f"1.0 {TIMES} 10⁴"), (0.0, ".2g", "0"), (np.inf, ".2g", "inf"),
        (0.05, "g", "0.05"), (np.nan, ".1f", "-"), (3.14, ".1f", "3.1"),
    ],
)  # fmt: skip
def test_numbers_as_text(value, form, text):
    assert number(value, form) == text


WIDE = Table(
    [
        {
            "setting": "network.norm=layer, optimizer.weight_decay=0.0001",
            "depth": depth,
            "outcome": "inconclusive (above its twin, not surely above a shallower plain network)",
            **{f"plain - residual, kind {i}": Interval(-1e6, -2e7, 3e-5, 3) for i in range(8)},
        }
        for depth in (8, 110)
    ],
    formats={f"plain - residual, kind {i}": ".3g" for i in range(8)},
    keys=2,
)


def test_a_wide_table_continues_below_with_its_keys():
    """Every block fits by the estimate, has the keys, and no column is lost."""
    text = WIDE.latex("wide")
    blocks = text.split(r"\toprule")[1:]
    assert len(blocks) > 1
    for block in blocks:
        assert block.count("network.norm=layer") == 2
        assert r"& 110 &" in block
    assert text.count(r"\num{-1.00e6}") == 16


def quoted_tables():
    """The tables of docs/tables, of which each cell is text, mean and interval together."""
    for path in sorted((ROOT / "docs" / "tables").glob("*/*.md")):
        lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
        titles, _, *rows = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines
        ]
        cells = [
            {
                t: cell.replace("**", "").replace("\\|", "|")
                for t, cell in zip(titles, row, strict=True)
            }
            for row in rows
        ]
        yield f"{path.parent.name}-{path.stem}", Table(cells, note="A note of a line: 5 % < 6 %.")


def test_no_table_is_wider_than_a_page(tmp_path):
    """Every quoted table and the wide one through pdflatex at the text width of NeurIPS."""
    if shutil.which("pdflatex") is None or shutil.which("kpsewhich") is None:
        pytest.skip("no pdflatex here: apt-get install texlive-latex-recommended texlive-science")
    if not subprocess.run(["kpsewhich", "siunitx.sty"], capture_output=True, check=False).stdout:
        pytest.skip("LaTeX has no siunitx here: apt-get install texlive-science")
    tables = [("wide", WIDE), ("one", TABLE), *quoted_tables()]
    body = "\n".join(
        f"\\typeout{{== {name}}}\n{table.latex(name)}\n\\clearpage" for name, table in tables
    )
    head = r"\documentclass{article}\usepackage[textwidth=397.48pt,textheight=9in]{geometry}"
    page = f"{head}\n{latex.PACKAGES}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"
    (tmp_path / "all.tex").write_text(page)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    log = (tmp_path / "all.log").read_text(errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert len(tables) > 10
    wide = re.findall(r"(?:== (\S+))|(Overfull \\hbox.*)", log)
    assert not [line for _, line in wide if line], wide


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
        .startswith(
            "% made of three runs; intervals: 95 %, t\n% \\usepackage{array,booktabs,siunitx}"
        )
    )


def test_a_bar_in_a_cell_stays_in_its_cell():
    assert str(Table([{"norm": "|W|"}])).splitlines()[2] == r"| \|W\| |"
