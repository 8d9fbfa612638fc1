"""The study of random networks: theory beside what was measured, in small."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gradflow.analysis.output import Output
from gradflow.analysis.studies import signal_propagation
from gradflow.analysis.study import load_study
from gradflow.config.probes import InitializationConfig, OffConfig
from gradflow.core.errors import GradflowError
from gradflow.networks.families.mlp import MlpConfig
from gradflow.runs.execute import execute
from tests.support.configs import small_config

pytestmark = pytest.mark.numeric

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """ReLU and tanh, two weight variances, plain and residual, two seeds; ten blocks of 128."""
    root = tmp_path_factory.mktemp("outputs")
    for activation in ("relu", "tanh"):
        for variance in (1.0, 3.0):
            for skip in (False, True):
                for seed in (0, 1):
                    network = MlpConfig(
                        depth=12, width=128, layers=1, norm="none", activation=activation,
                        placement="full_preactivation", initialization="gaussian",
                        weight_variance=variance, skip=skip,
                    )  # fmt: skip
                    execute(
                        small_config(
                            root,
                            network=network,
                            steps=1,
                            seed=seed,
                            probe=InitializationConfig(),
                            details=OffConfig(),
                            study="signal",
                        )
                    )
    return root / "signal"


def test_measured_factors_agree_with_theory(folder):
    """At width 128 the log of ten blocks' factor fluctuates by sqrt(5 * 10 / 128) = 0.6."""
    study = load_study(folder)
    assert study.notes == ()
    blocks = signal_propagation.signals(study)
    predicted = signal_propagation.predicted(blocks)
    for key, group in predicted.groupby(signal_propagation.KEYS):
        found = blocks.groupby(signal_propagation.KEYS).get_group(key)
        for value in ("forward", "backward"):
            measured = np.log(found.dropna(subset=value).groupby("block_index")[value].mean())
            expected = np.log(group.set_index("block_index")[value]).loc[measured.index]
            assert (measured - expected).abs().max() < 1.2, (key, value)


def test_theory_of_relu_by_hand():
    plain = signal_propagation.theory("relu", 3.0, 1.0, skip=False, start=2.0, blocks=3)
    np.testing.assert_allclose(plain.forward, [2, 3, 4.5], rtol=1e-9)
    np.testing.assert_allclose(plain.backward, [2.25, 1.5, 1], rtol=1e-9)
    residual = signal_propagation.theory("relu", 2.0, 0.5, skip=True, start=1.0, blocks=2)
    np.testing.assert_allclose(residual.forward, [1, 1.25], rtol=1e-9)
    np.testing.assert_allclose(residual.backward, [1.25, 1], rtol=1e-9)


def test_the_script_makes_its_figure_and_table(folder):
    script = ROOT / "analysis" / "signal_propagation.py"
    done = subprocess.run(
        [sys.executable, str(script), str(folder), "--format", "png"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "figures" / "signal_propagation.png").stat().st_size > 20_000
    rows = (folder / "tables" / "signal_propagation.md").read_text().splitlines()[2:10]
    cells = [row.strip("| ").split(" | ") for row in rows]
    theory = {tuple(row[:3]): float(row[-1]) for row in cells}
    assert theory["relu", "3", "residual"] == pytest.approx(2.5)
    assert math.isclose(theory["relu", "1", "plain"], 0.5)


def test_networks_that_the_theory_is_not_of_are_refused(study_folder):
    study = load_study(study_folder)
    with pytest.raises(GradflowError, match="network_name=cifar_resnet; this theory is of mlp"):
        signal_propagation.analyze(Output(study))
