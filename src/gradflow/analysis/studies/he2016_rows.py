"""The rows of tables 1 and 2 of He et al. 2016, and the runs that each is of."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

FAIL = np.inf  # the paper's word for a test error above 20 %


@dataclass(frozen=True)
class Row:
    """A row of a table: its name, the runs that it is of, and the paper's test error in %."""

    name: str
    paper: float
    where: dict[str, object] = field(default_factory=dict)  # of the columns network_*

    def holds(self, runs: pd.DataFrame) -> "pd.Series[bool]":
        """Which of the runs belong to this row."""
        rows = pd.Series(True, index=runs.index)
        for key, value in self.where.items():
            rows &= runs[f"network_{key}"] == value
        return rows


def _shortcut(name: str, paper: float, shortcut: str = "A", **where: object) -> Row:
    scales = {"skip": True, "shortcut_scale": 1.0, "branch_scale": 1.0}
    return Row(name, paper, {"shortcut": shortcut, **scales, **where})


# Table 1, ResNet-110, the median of five runs; of its gates with bias 0 to -7 the first and -6.
SHORTCUTS = (
    _shortcut("identity", 6.61),
    _shortcut("plain (0 and 1)", FAIL, skip=False),
    _shortcut("constant 0.5 and 1", FAIL, shortcut_scale=0.5),
    _shortcut("constant 0.5 and 0.5", 12.35, shortcut_scale=0.5, branch_scale=0.5),
    _shortcut("exclusive gate, bias 0", FAIL, "exclusive_gate", gate_bias=0.0),
    _shortcut("exclusive gate, bias -6", 8.70, "exclusive_gate", gate_bias=-6.0),
    _shortcut("shortcut-only gate, bias 0", 12.86, "shortcut_gate", gate_bias=0.0),
    _shortcut("shortcut-only gate, bias -6", 6.91, "shortcut_gate", gate_bias=-6.0),
    _shortcut("1x1 convolution", 12.22, "C"),
    _shortcut("dropout 0.5", FAIL, "dropout"),
)
# Table 2: placement -> (name, ResNet-110, ResNet-164).
PUBLISHED_PLACEMENTS = {
    "original": ("original", 6.61, 5.93),
    "norm_after_addition": ("BN after addition", 8.17, 6.50),
    "activation_before_addition": ("ReLU before addition", 7.84, 6.14),
    "activation_only_preactivation": ("ReLU-only pre-activation", 6.71, 5.91),
    "full_preactivation": ("full pre-activation", 6.37, 5.46),
}
