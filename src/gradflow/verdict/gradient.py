"""Does the gradient vanish or explode on its way back through the blocks? One word per depth."""

import numpy as np
import pandas as pd

from gradflow.config.run_id import TWINS
from gradflow.statistics import CLAIM_FROM, intervals_by

FACTOR = 10.0
"""Over the whole network, either way: what a change of the learning rate could not make good."""

VANISHING, EXPLODING, LEVEL = "vanishing", "exploding", "level"
UNCLEAR, UNKNOWN = "unclear", "unknown"
MOMENTS = ("initial", "trained")

KEYS = ["run_id", "depth", "twin", "seed", "step"]
# A gradient that float32 rounds to 0 has vanished, one that it makes Inf of has exploded.
SMALLEST, LARGEST = float(np.finfo(np.float32).smallest_subnormal), float(np.finfo(np.float32).max)


def end_to_end(blocks: pd.DataFrame) -> pd.DataFrame:
    """The end-to-end ratio of every run and measured step, as figures, tables and verdict use it.

    The gradient norm at the first block's input over that at the last block's output, which is
    the head's input: above 1 the gradient grows on its way back, below 1 it shrinks.

    Args:
        blocks: run_id, depth, twin, seed, step, block_index, input_grad_norm; the last row of a
            run and step is the last block's output.

    Returns:
        run_id, depth, twin, seed, step; `ratio`, NaN if no gradient reached the last block or it
        was not finite; `is_bound`: float32 holds the first block's gradient as 0 or Inf, and the
        ratio is that of its smallest or largest number.
    """
    last = blocks.groupby(["run_id", "step"])["block_index"].transform("max")
    norms = blocks.assign(input_grad_norm=blocks["input_grad_norm"].astype(float))
    first, final = (
        norms[norms["block_index"] == index].set_index(KEYS)["input_grad_norm"]
        for index in (0, last)
    )
    final = final.where((final > 0) & np.isfinite(final))
    held = first.clip(SMALLEST, LARGEST)
    ratios = pd.DataFrame({"ratio": held / final, "is_bound": held.ne(first) & first.notna()})
    return ratios.reset_index()


def with_gradients(table: pd.DataFrame, blocks: pd.DataFrame) -> pd.DataFrame:
    """A table with `setting` and `depth`, and for each twin and moment a word, a ratio and its
    interval over seeds.

    Moments: `initial` is step 0, `trained` the last measured step of each run after it.
    Columns such as plain_gradient_initial, plain_ratio_initial, plain_ratio_initial_low.
    The ratio is a geometric mean, the interval Student's of the logarithm; fewer than three runs,
    or none, is `unknown`.

    Args:
        blocks: run_id, setting, depth, twin, seed, step, block_index, input_grad_norm.
    """
    ratios = end_to_end(blocks).merge(blocks[["run_id", "setting"]].drop_duplicates(), on="run_id")
    end = ratios.groupby("run_id").step.transform("max")
    moments = {
        "initial": ratios[ratios.step == 0],
        "trained": ratios[(ratios.step == end) & (ratios.step > 0)],
    }
    keys = ["setting", "depth"]
    for twin in reversed(TWINS.values()):
        for moment in MOMENTS:
            at = moments[moment]
            name = f"{twin}_ratio_{moment}"
            found = intervals_by(
                at[at.twin == twin].dropna(subset="ratio"), keys, "ratio", log=True
            )
            found = found.rename(
                columns={"mean": name, "low": f"{name}_low", "high": f"{name}_high"}
            )
            table = table.merge(found.astype(dict.fromkeys(keys, int)), on=keys, how="left")
            ends = zip(table[f"{name}_low"], table[f"{name}_high"], table["n"], strict=True)
            place = list(table.columns).index(name)
            words = [word(low, high, n) for low, high, n in ends]
            table = table.drop(columns="n")
            table.insert(place, f"{twin}_gradient_{moment}", words)
    return table


def word(low: float, high: float, n: float) -> str:
    """What the interval of the ratio, over n runs, says: all of it beyond a factor of ten, all
    of it within, or neither of the two."""
    if not n >= CLAIM_FROM:
        return UNKNOWN
    if high < 1 / FACTOR:
        return VANISHING
    if low > FACTOR:
        return EXPLODING
    return LEVEL if low >= 1 / FACTOR and high <= FACTOR else UNCLEAR
