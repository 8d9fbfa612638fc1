"""The figure of laws: its rows, and that every panel has a course, a look and a theory."""

import numpy as np
import pandas as pd
import pytest

from gradflow.acceptance import laws
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.data.sets.cifar10 import Cifar10Config
from tests.support.figures import checked

pytestmark = pytest.mark.numeric


def fake(config):
    x = np.array([1.0, 2.0, 4.0])
    for law in laws.PANELS:
        yield laws.Course(law, "one", x, np.array([x, 1.1 * x]), x)
        yield laws.Course(law, "other", x, np.array([x**2]), None)


def test_the_figure_and_its_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(laws, "courses", fake)
    with checked(refuse=True):
        paths = laws.draw_laws(AcceptanceConfig(data=Cifar10Config(), output_root=str(tmp_path)))
    rows = pd.read_csv(paths[0])
    assert list(rows.columns) == ["law", "series", "x", "network", "measured", "theory"]
    assert len(rows) == len(laws.PANELS) * 9
    second = rows[(rows.law == "change") & (rows.series == "one") & (rows.network == 1)]
    assert second.measured.tolist() == pytest.approx([1.1, 2.2, 4.4])
    assert second.theory.tolist() == [1, 2, 4]
    assert rows[rows.series == "other"].theory.isna().all()
    assert paths[1].stat().st_size > 20_000
