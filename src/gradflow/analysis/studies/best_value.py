"""Which value of a numeric key is best? Error by value and depth, and at each network's best.

python analysis/best_value.py outputs/mine
"""

from dataclasses import replace

import pandas as pd

from gradflow.analysis.figures import style
from gradflow.analysis.inferred import FEW
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.settings import key_of, value_text
from gradflow.analysis.studies.degradation import error_against_depth
from gradflow.analysis.studies.learning_rate import at_own_best, best_table, error_heatmap
from gradflow.analysis.swept import EVERY_KEY, is_numeric, short_key, swept_keys
from gradflow.core.errors import GradflowError
from gradflow.verdict import RATE

SWEPT = EVERY_KEY


def analyze(output: Output) -> None:
    """A heatmap per twin, the curve at each network's best value, and its table, for each
    numeric key and each setting of the others.

    Raises:
        GradflowError: no numeric key was swept, or all have too many values for a heatmap.
    """
    study = output.study
    keys = [key for key in swept_keys(study.runs) if is_numeric(study.runs[key])]
    few = [key for key in keys if study.runs[key].nunique() <= FEW]
    drawn = False
    for key in few:
        parts = study.split((key,))
        for part in parts if len(parts) <= FEW else ():
            if part.runs[key].nunique() > 1 and part.runs.final_train_error.notna().any():
                draw(replace(output, study=part), key)
                drawn = True
    if not drawn:
        raise GradflowError(
            f"{study.folder}: no numeric key that was swept has two to {FEW} values within a "
            "setting of the others"
        )


def draw(output: Output, key: str) -> None:
    """The figures and the table of one key."""
    runs = output.study.runs
    runs = runs.assign(error=100 * runs.final_train_error.astype(float))
    # The learning rate's plots, of another key in its place.
    as_rate = runs.assign(**{RATE: runs[key].astype(float)})
    best = at_own_best(as_rate)
    name = short_key(key)
    table = best_table(as_rate, best)
    rows = [{_of(title, key): cell for title, cell in row.items()} for row in table.rows]
    formats = {_of(title, key): form for title, form in table.formats.items()}
    output.add_table(f"best_{name}", replace(table, rows=rows, formats=formats))
    draw_heatmaps(output, as_rate, key)
    draw_best(output, as_rate, best, key)


def _of(title: str, key: str) -> str:
    return title.replace("best rate", f"best {key_of(key)}")


def draw_heatmaps(output: Output, runs: pd.DataFrame, key: str) -> None:
    """Error by value and depth, a panel per twin that was run."""
    twins = [twin for twin in style.COLORS if (runs.twin == twin).any()]
    with output.figure(1, len(twins), height=2.5, sharey=True) as (made, axes):
        for ax, twin in zip(axes[0], twins, strict=True):
            mesh = error_heatmap(runs[runs.twin == twin], ax=ax)
            ax.set_title(f"{twin} networks")
            ax.set_ylabel(key_of(key) if ax is axes[0, 0] else "")
        made.colorbar(mesh, ax=list(axes[0]), label="training error (%)", pad=0.01)
        style.letter_panels(axes[0])
        caption = (
            f"Training error in evaluation mode after the last step, by {key_of(key)} and depth: "
            "mean over seeds in percent; framed: the lowest of each depth; div., gray: a "
            "run diverged."
        )
        output.add_figure(made, f"heatmap_{short_key(key)}", caption)


def draw_best(output: Output, runs: pd.DataFrame, best: pd.DataFrame, key: str) -> None:
    """Error at each network's own best value, and that value, against depth."""
    found = best.dropna(subset="error")
    if found.empty:
        return
    values = sorted(runs[RATE].unique())
    with output.figure(1, 2, height=2.5) as (made, axes):
        error_against_depth(found, ax=axes[0, 0])
        style.legend(made, axes[0])
        for twin, color in style.COLORS.items():
            here = best[(best.twin == twin) & best[RATE].notna()]
            places = [values.index(value) for value in here[RATE]]
            shift = 0.08 if twin == "residual" else -0.08
            axes[0, 1].plot(here.depth, [place + shift for place in places],
                            style.MARKERS[twin], color=color, mfc="none", label=twin)  # fmt: skip
        axes[0, 1].set_yticks(range(len(values)), [value_text(float(value)) for value in values])
        axes[0, 1].set_ylim(-0.5, len(values) - 0.5)
        axes[0, 1].set_ylabel(f"best {key_of(key)}")
        style.depth_axis(axes[0, 1], sorted(best.depth.unique()))
        style.letter_panels(axes[0])
        caption = (
            f"Each network at its own best {key_of(key)}: training error (a) and that value (b) "
            "against depth. The value of a seed is the one with the lowest mean error over the "
            "other seeds; of a single seed, its own. Marks: single seeds, in (b) those of a depth "
            "that chose the same value lie on each other."
        )
        output.add_figure(made, f"best_{short_key(key)}", caption)


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__, swept=SWEPT)
