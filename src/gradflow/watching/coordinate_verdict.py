"""The verdict of a coordinate check: exponents with intervals, held against the wanted one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gradflow.core.errors import GradflowError
from gradflow.statistics import interval_ends, log_slopes, range_test

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVEL = 0.05
TOLERANCE = 0.25
PASSES, FAILS, OPEN = "passes", "fails", "inconclusive"
INSIDE, OUTSIDE, UNDECIDED, ZERO = "inside", "outside", "undecided", "0"


@dataclass(frozen=True)
class CoordinateCheck:
    """What a coordinate check found; str() is a sentence or two.

    Attributes:
        outcome: "passes", "fails" or "inconclusive".
        axis: width or depth.
        sizes: a row per layer, quantity ("size" of the output, "change" of it since
            initialization), step, width and seed: rms.
        slopes: a row per layer, quantity and step: the exponent and its 95 % interval (one by
            one, for the eye), p values `outside` (Holm's, over all) and `inside`, and what they
            say: inside, outside, undecided, or 0 where every network's is.
        left_out: layers that some of the networks lack.
    """

    outcome: str
    axis: str
    sizes: pd.DataFrame
    slopes: pd.DataFrame
    wanted: float
    tolerance: float
    left_out: Sequence[str] = ()

    def __str__(self) -> str:
        judged = self.slopes[self.slopes.says != ZERO]
        of = f"{len(judged)} exponents of {judged.layer.nunique()} layers and blocks"
        near = f"within {self.tolerance:g} of {self.wanted:g}"
        if self.outcome == FAILS:
            wrong = judged[judged.says == OUTSIDE]
            first = wrong[wrong.step == wrong.step.min()]
            text = (
                f"{self._words(first, (first.slope - self.wanted).abs())}; wanted is "
                f"{self.wanted:g} within {self.tolerance:g}. {len(wrong)} of {of} are outside. "
                "If all were inside, it would fail with a chance of at most"
            )
        elif self.outcome == PASSES:
            text = (
                f"all {of} are {near}; the farthest: {self._words(judged)}. "
                "If one were outside, it would pass with a chance of at most"
            )
        else:
            unsure = judged[judged.says == UNDECIDED]
            text = (
                f"{len(unsure)} of {of} may be {near} or not; the farthest: "
                f"{self._words(unsure)}. More seeds or a wider range of {self.axis}s would tell. "
                "Either error has a chance of at most"
            )
        return f"{self.outcome.capitalize()}: {text} {100 * LEVEL:g} %{self._circumstances}"

    @property
    def _circumstances(self) -> str:
        seeds, at = self.sizes.seed.nunique(), self.sizes[self.axis]
        text = f" (Student's t over {seeds} seeds; {self.axis}s {at.min()} to {at.max()})."
        if self.left_out:
            more = ", ..." if len(self.left_out) > 3 else ""
            text += f" Some of the networks lack: {', '.join(self.left_out[:3])}{more}"
        return text

    def _words(self, rows: pd.DataFrame, distance: "pd.Series[float] | None" = None) -> str:
        """The farthest of some rows."""
        distance = self._distance(rows) if distance is None else distance
        row = rows.iloc[int(np.argmax(distance.fillna(np.inf).to_numpy()))]
        what = f"the {'change of the ' if row.quantity == 'change' else ''}output of {row.layer}"
        if np.isnan(row.slope):
            return f"{what} is 0 at step {row.step} in some networks alone"
        ends = f"95 % interval {row.low:.2f} ... {row.high:.2f}"
        return f"{what} scales as {self.axis}^{row.slope:.2f} ({ends}) at step {row.step}"

    def _distance(self, rows: pd.DataFrame) -> "pd.Series[float]":
        """How far an interval reaches from what is wanted, where that counts."""
        up, down = rows.high - self.wanted, self.wanted - rows.low
        return up.where(rows.may_shrink, np.maximum(up, down))

    def plot(self, path: str | Path | None = None) -> "Figure":
        """The check in one figure: sizes by width at the last step, exponents by step.

        Args:
            path: where to save it too; .png, .pdf or .svg.

        Raises:
            GradflowError: the path cannot be written to.
        """
        from gradflow.analysis.figures.coordinates import draw_coordinates
        from gradflow.analysis.figures.notebook import save, target_of

        target = target_of(path)
        headline = str(self)
        made = draw_coordinates(
            self.sizes, self.slopes, self.axis, self.wanted, self.tolerance, headline
        )
        save(made, target)
        return made


def judge(
    frame: pd.DataFrame,
    axis: str,
    wanted: float,
    tolerance: float,
    left_out: Sequence[str] = (),
) -> CoordinateCheck:
    """The verdict on sizes: rows of layer, quantity, step, `axis`, seed, rms, may_shrink.

    Raises:
        GradflowError: no output changes.
    """
    keys = ["layer", "quantity", "step"]
    places = frame.drop_duplicates(keys)[[*keys, "may_shrink"]].reset_index(drop=True)
    wide = frame.pivot(index=keys, columns=["seed", axis], values="rms").sort_index(axis=1)
    wide = wide.reindex(pd.MultiIndex.from_frame(places[keys]))
    at = np.sort(frame[axis].unique())
    values = wide.to_numpy(float).reshape(len(places), -1, len(at))
    zero = (values == 0).all(axis=(1, 2))
    if zero[places.quantity == "change"].all():
        raise GradflowError(
            "optimizer: its steps change no output by more than rounding does: has it the "
            "model's parameters, and a learning rate that is large enough?"
        )
    samples = log_slopes(values, at)
    low = np.where(places.may_shrink, -np.inf, wanted - tolerance)
    tests = range_test(np.where(zero[:, None], np.nan, samples), low, wanted + tolerance)
    ends = interval_ends(samples)
    columns = {"slope": samples.mean(axis=1), "low": ends[0], "high": ends[1], **tests._asdict()}
    says = np.full(len(places), UNDECIDED, dtype=object)
    says[tests.inside <= LEVEL] = INSIDE
    says[tests.outside <= LEVEL] = OUTSIDE
    says[zero] = ZERO
    slopes = places.assign(**columns, says=says)
    outcome = FAILS if OUTSIDE in says else OPEN if UNDECIDED in says else PASSES
    sizes = frame.drop(columns="may_shrink").reset_index(drop=True)
    return CoordinateCheck(outcome, axis, sizes, slopes, wanted, tolerance, left_out)
