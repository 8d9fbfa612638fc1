"""Figures and tables of the diagnostics: their theory and their numbers, by hand."""

import numpy as np
import pandas as pd
import pytest

from gradflow.analysis.output import Output
from gradflow.analysis.studies import (
    identity,
    isometry,
    landscape,
    lesion,
    paths,
    shattered_gradients,
)
from gradflow.analysis.study import load_study
from gradflow.core.errors import GradflowError
from gradflow.diagnostics.paths import PathsConfig
from gradflow.runs.execute import execute
from gradflow.theory import depth
from tests.support.configs import small_config

pytestmark = pytest.mark.numeric


def frame(columns, *rows):
    return pd.DataFrame(rows, columns=columns.split())


def test_pair_theory_is_that_of_the_theory_package():
    """Cho and Saul's kernels, from the input to the output, against the product from the top."""
    for network, scale in (("plain", None), ("residual", 1.0), ("residual, branches / √L", 0.5)):
        line = shattered_gradients.pair_theory(network, 0.3, 3)
        whole = depth.gradient_correlation(3, 0.3, scale)
        assert len(line) == 4
        assert line[3] / line[0] == pytest.approx(whole, rel=1e-12)


def test_the_cosine_of_one_input_with_itself_stays_one():
    # arccos at 1 magnifies the last digit of a cosine to its root.
    assert shattered_gradients.pair_theory("residual", 1.0, 5) == pytest.approx([1] * 6, abs=1e-6)


def lengths(blocks, factor):
    """What paths of an exact branch factor look like."""
    counts = [float(c) for c in (np.poly1d([1, 1]) ** blocks).coeffs]
    rows = [
        ("a", 8, 0, "initialization", k, n, 3 * factor ** (k / 2)) for k, n in enumerate(counts)
    ]
    found = frame("run_id depth seed at length n_paths path_grad_norm", *rows)
    weight = found.n_paths * found.path_grad_norm**2
    return found.assign(share=weight / weight.sum(), total_grad_norm=weight**0.5)


def test_the_branch_factor_of_paths_and_their_lengths():
    found = lengths(10, 0.25)
    assert paths.branch_factor(found) == pytest.approx(0.25, rel=1e-9)
    [row] = str(paths.length_table(found)).splitlines()[2:]
    assert "| 10 | initialization | 2.0 (" in row  # 10 * 0.25 / 1.25
    assert "| 0 ... 4 | 5.0 |" in row  # binomial(10, 0.2): below 0 lies 10.7 %, up to 4 96.7 %


def test_plain_networks_have_no_lengths(tmp_path):
    diagnostic = PathsConfig(samples=1, at="initialization")
    execute(small_config(tmp_path, skip=False, steps=1, diagnostic=diagnostic, study="plain"))
    with pytest.raises(GradflowError, match="no residual network"):
        paths.by_length(load_study(tmp_path / "plain"))


def test_a_missing_diagnosis_names_its_command(study_folder):
    with pytest.raises(GradflowError, match=r"no lesion was measured; .* diagnostic=lesion"):
        lesion.measured(load_study(study_folder))


def test_options_of_a_diagnosis_are_not_mixed(tmp_path):
    for seed, images in ((0, 4), (1, 4), (1, 6)):
        diagnostic = PathsConfig(images=images, samples=2, at="initialization")
        execute(small_config(tmp_path, seed=seed, steps=1, diagnostic=diagnostic, study="two"))
    rows = load_study(tmp_path / "two").diagnosis("paths", "paths", ["length"])
    assert rows.groupby("run_id").size().tolist() == [4, 4]  # three blocks: lengths 0 ... 3
    assert set(rows["at"]) == {"initialization"}


def test_names_of_networks():
    run = {
        "twin": "residual", "network_initialization": "he_fan_in", "network_norm": "none",
        "network_activation": "relu", "network_scaling": "inverse_sqrt",
    }  # fmt: skip
    assert isometry.name_of(run) == "residual, He, branches / √L"


def test_isometry_in_theory():
    assert isometry.theory("plain, He", 7) == pytest.approx(2**0.5)
    assert isometry.theory("plain, orthogonal", 3) == pytest.approx(0.5)
    assert isometry.theory("residual, He", 2) == pytest.approx(6**0.5)
    scaled = isometry.theory("residual, He, branches / √L", 4)
    assert scaled == pytest.approx((1.5 * 1.25**3) ** 0.5)
    assert isometry.theory("plain, xavier", 4) is None


def test_the_table_of_lesions_by_hand():
    rows = [("a", "plain 14", "none", 0, [], 10.0)]
    rows += [("a", "plain 14", "delete", 1, [i], 20.0 + i) for i in range(4)]
    rows += [("a", "plain 14", "delete", 2, [0, 1], 50.0)]
    table = lesion.deletion_table(frame("run_id network lesion count blocks error", *rows))
    assert str(table).splitlines()[2] == (
        "| plain 14 | 10.0 | 21.5 (- ... -) | 23.0 | 21.5 (- ... -) | 1 of 4 | 1 |"
    )


def test_the_table_of_the_landscape_by_hand():
    rows = [("a", "line", 8, "plain", x, 10.0 ** abs(4 * x), abs(x)) for x in (-0.25, 0, 0.25)]
    points = frame("run_id surface depth twin x loss error", *rows)
    assert str(landscape.table_of(points)).splitlines()[2] == (
        "| plain 8 | 1 | 0.0 | 10 (- ... -) | 25.0 | 1 |"
    )


def test_the_table_of_identities_by_hand():
    runs = frame("run_id depth twin final_train_error", ("a", 4, "plain", 0.5))
    blocks = frame(
        "run_id depth twin at block_index distance stack_distance",
        ("a", 4, "plain", "initialization", 0, 2.0, 2.0),
        ("a", 4, "plain", "initialization", 1, 4.0, 9.0),
        ("a", 4, "plain", "trained", 0, 0.25, 0.25),
        ("a", 4, "plain", "trained", 1, 0.25, 0.375),
    )
    assert str(identity.identity_table(runs, blocks)).splitlines()[2] == (
        "| 4 | plain | 0.500 (- ... -) | 3.000 | 9.000 | 0.250 | 0.375 | 1 |"
    )


def test_networks_that_were_to_classify_are_refused(study_folder):
    with pytest.raises(GradflowError, match="not trained to be the identity"):
        identity.analyze(Output(load_study(study_folder)))
