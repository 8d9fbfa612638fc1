"""The page of a watched run: alerts, its figure, the gradient by layer and block, settings."""

from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from gradflow.analysis.figures.run import draw_run
from gradflow.analysis.frames import dicts
from gradflow.analysis.output import Output
from gradflow.analysis.report.explorer import explorer
from gradflow.analysis.report.pages import (
    embedded_figures,
    embedded_tables,
    render,
)
from gradflow.analysis.settings import versions
from gradflow.analysis.study import Study
from gradflow.analysis.tables import Cell, Table
from gradflow.analysis.watched import WatchedRun, load_run
from gradflow.core.files import atomic_write

PAGE = "report.html"
CAPTION = (
    "One training. a: norm of the loss gradient at the input of each block, by step. b: of each "
    "layer's weight. c: norm of a step's change of a weight over the norm of the weight; white: "
    "0.001, a rule of thumb. d: the part of the gradient at a block's input that came over its "
    "shortcut; crosses: half of the block's ReLU channels or more are 0 for the whole batch. e: "
    "loss of each step, and the first alert of each kind; rings: where it is worst. Layers and "
    "blocks from the network's input (bottom) to its output."
)


def make_run_page(folder: Path) -> list[Path]:
    """Write a watched run's figure, tables and page; returns the paths.

    Raises:
        GradflowError: see `gradflow.analysis.watched.load_run`.
    """
    run = load_run(folder)
    study = as_study(run)
    output = Output(study, ("png", "svg"))
    made = draw_run(
        run.layers, run.blocks, run.block_details, run.steps, run.first_alerts, run.headline
    )
    output.add_figure(made, "run", CAPTION)
    table = layer_table(run)
    output.paths += table.save(folder / "tables", "layers", study.provenance)
    names = {"layers": _names(run.layers, "layer")}
    if len(run.blocks):
        names["blocks"] = _names(run.blocks, "block")
    data = explorer(study, names)
    page = render(
        "run.html",
        name=run.name,
        headline=run.headline,
        state=state_line(run),
        account=account_line(run),
        notes=list(study.notes),
        alerts=[_alert(row) for row in dicts(run.alerts)],
        measured=run.layers.step.nunique(),
        settings=[*run.settings.items(), *_last_scalars(run)],
        versions=_versions(run, study),
        explorer=data,
        twins=[str(study.runs.twin.iloc[0])],
        figures=embedded_figures(folder, [run.run_id], study.notes),
        tables=embedded_tables(folder),
    )
    atomic_write(folder / PAGE, page)
    return [*output.paths, folder / PAGE]


class OneRun(Study):
    """A study of one watched run, of which nothing is said about twins and seeds."""

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What the page lacks, and why."""
        return self.of_study

    @property
    def provenance(self) -> str:
        """One line: the run and its code."""
        return f"{self.folder.name}; code {self.runs.code_version.iloc[0]}"


def as_study(run: WatchedRun) -> Study:
    """A watched run as a study of one network, which figures and the explorer take."""
    row = dict(run.outcome or {"code_version": "of a run that has not ended"})
    twin = "residual" if len(run.blocks) else "plain"
    row |= {
        "run_id": run.run_id,
        "twin": twin,
        "seed": 0,
        "depth": run.layers.layer_index.nunique(),
    }
    row |= {"network_skip": bool(len(run.blocks)), "network_name": run.settings.get("model")}
    return OneRun(run.folder, pd.DataFrame([row]), tuple(notes_of(run)))


def notes_of(run: WatchedRun) -> list[str]:
    """What the page lacks, and why."""
    notes = []
    if run.outcome is None:
        notes.append("the run has not been closed: it is in progress, or its process died")
    if run.attempt is not None and isinstance(run.attempt["error"], str):
        notes.append(f"the training ended with {run.attempt['error']}")
    if run.blocks.empty:
        notes.append("no residual sum was found: there are no blocks and no shortcuts to show")
    else:
        reasons = run.blocks.dropna(subset="reason").drop_duplicates("reason")
        notes += [f"{row['block_name']}: {row['reason']}" for row in dicts(reasons.head(5))]
    if run.steps.empty:
        notes.append("no loss was passed to step()")
    return notes


def state_line(run: WatchedRun) -> str:
    """Whether the run has ended, and how."""
    if run.outcome is None:
        return "not closed yet"
    if run.outcome["status"] == "diverged":
        return f"diverged: the loss was not finite at step {run.outcome['diverged_at']:.0f}"
    if run.attempt is not None and isinstance(run.attempt["error"], str):
        return "cut off by an error"
    return "finished"


def account_line(run: WatchedRun) -> str:
    """What measuring has cost."""
    if run.attempt is None:
        return ""
    share = 100 * run.attempt["recording_share"]
    return f"measuring took {share:.1f} % of {run.attempt['wall_seconds']:.0f} s"


def layer_table(run: WatchedRun) -> Table:
    """A row per layer: gradient, weight and update ratio, first and last measured step."""
    first, last = (run.layers[run.layers.step == s] for s in _ends(run.layers.step))
    both = first.merge(last, on="layer_index", suffixes=("", "_last"))
    rows: list[dict[str, Cell]] = [
        {
            "layer": row["layer_name"],
            "kind": row["kind"],
            "gradient, first": row["grad_norm"],
            "gradient, last": row["grad_norm_last"],
            "weight, first": row["weight_norm"],
            "weight, last": row["weight_norm_last"],
            "update ratio, first": row["relative_update"],
            "update ratio, last": row["relative_update_last"],
        }
        for row in dicts(both)
    ]
    return Table(rows, {title: ".2e" for title in rows[0] if "," in title})


def _ends(steps: pd.Series) -> tuple[int, int]:
    return int(steps.min()), int(steps.max())


def _names(rows: pd.DataFrame, what: str) -> list[str]:
    named = rows.drop_duplicates(f"{what}_index").sort_values(f"{what}_index")
    return [str(name) for name in named[f"{what}_name"]]


def _alert(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: f"{row[name]:.3g}" for name in ("value", "threshold")}


def _last_scalars(run: WatchedRun) -> list[tuple[str, str]]:
    last = run.scalars.groupby("name").last()
    return [(f"{name}, last", f"{value:.6g}") for name, value in last["value"].items()]


def _versions(run: WatchedRun, study: Study) -> list[tuple[str, str]]:
    return [] if run.outcome is None else versions(run.folder, study.runs)
