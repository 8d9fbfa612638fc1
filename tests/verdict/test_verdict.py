"""The verdict as a classifier: studies whose truth is known, by hand and by the hundred."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.special
import scipy.stats

from benchmarks import verdict as simulation
from gradflow.analysis.output import Output
from gradflow.analysis.studies.verdict import (
    analyze,
    end_blocks,
    numbers_table,
    ranks_table,
    words_table,
)
from gradflow.analysis.studies.verdict_words import WIDTH, brief, sentence
from gradflow.analysis.study import load_study
from gradflow.config.probes import OffConfig
from gradflow.core.errors import GradflowError
from gradflow.runs.execute import execute
from gradflow.verdict import RATE, judge_study
from gradflow.verdict.gradient import end_to_end
from gradflow.verdict.ranking import rank_settings
from gradflow.verdict.tuning import judged_rate
from tests.support.configs import small_config

ROOT = Path(__file__).parents[2]


def make_runs(errors, rate=0.1, test=None):
    """Runs from {(depth, twin): training errors by seed}; NaN has diverged, None is missing."""
    rows = [
        {
            "run_id": f"{twin}-{depth}-{seed}-{rate}", "depth": depth, "twin": twin, "seed": seed,
            "final_train_error": error, RATE: rate,
            "final_test_error": (test or errors)[depth, twin][seed],
        }
        for (depth, twin), by_seed in errors.items()
        for seed, error in enumerate(by_seed)
        if error is not None
    ]  # fmt: skip
    return pd.DataFrame(rows)


LOW = [0.001, 0.000, 0.002]
HIGH = [0.30, 0.32, 0.31]
DEGRADED = {
    (8, "plain"): LOW, (8, "residual"): [0.000, 0.001, 0.001],
    (20, "plain"): HIGH, (20, "residual"): [0.002, 0.001, 0.000],
}  # fmt: skip


def outcomes(errors, **options):
    verdict = judge_study(make_runs(errors, **options))
    return verdict.set_index("depth")[["outcome", "reason"]].apply(tuple, axis=1).to_dict()


def test_degradation_and_its_numbers_by_scipy():
    row = judge_study(make_runs(DEGRADED)).set_index("depth").loc[20]
    assert row.outcome == "degradation"
    shallower, twin = (
        scipy.stats.ttest_rel(HIGH, DEGRADED[key], alternative="greater").pvalue
        for key in ((8, "plain"), (20, "residual"))
    )
    assert (row.from_shallower_p, row.from_twin_p) == pytest.approx((shallower, twin))
    assert row.p == pytest.approx(max(shallower, twin))  # of one depth: nothing to correct
    assert (row.plain_error, row.shallower_depth) == (pytest.approx(31), 8)
    # A difference lies between -100 and 100 points: as a share of that range, m = (d + 1) / 2.
    share = (np.subtract(HIGH, DEGRADED[20, "residual"]) + 1) / 2
    m, error = share.mean(), scipy.stats.sem(share)
    reach = scipy.stats.t.ppf(0.975, 2) * error / (m * (1 - m))
    low, high = (
        200 * scipy.special.expit(scipy.special.logit(m) + r) - 100 for r in (-reach, reach)
    )
    assert (row.from_twin_low, row.from_twin_high) == pytest.approx((low, high))


def test_both_comparisons_are_needed():
    healthy = {**DEGRADED, (20, "residual"): [0.29, 0.33, 0.30]}
    assert outcomes(healthy)[20] == (
        "inconclusive", "above a shallower plain network, not surely above its twin",
    )  # fmt: skip
    shallow_too = {**DEGRADED, (8, "plain"): [0.33, 0.30, 0.31]}
    assert outcomes(shallow_too) == {
        8: ("inconclusive", "above its twin, and nothing shallower to compare with"),
        20: ("inconclusive", "above its twin, not surely above a shallower plain network"),
    }


def test_holm_is_over_depths():
    """p of .03 to .05 at each of three depths: significant alone, not together."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=3)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    t = scipy.stats.t.isf(0.04, 2)
    shift = 0.1 + 0.1 * noise * np.sqrt(3) / t  # of mean .1 and a p value of .04 above 0
    errors = {(8, "plain"): [0.0] * 3, (8, "residual"): [0.0] * 3}
    for depth in (20, 32, 56):
        errors |= {(depth, "plain"): list(shift), (depth, "residual"): [0.0] * 3}
    verdict = judge_study(make_runs(errors)).set_index("depth")
    assert verdict.p[20] == pytest.approx(3 * 0.04)
    assert verdict.outcome[20] == "inconclusive"
    assert verdict.reason[20].startswith("above both, but not after correction")
    alone = {key: value for key, value in errors.items() if key[0] <= 20}
    assert outcomes(alone)[20] == ("degradation", "")


def test_overfitting_is_of_the_test_error_alone():
    fits = dict.fromkeys(DEGRADED, LOW)
    assert outcomes(fits, test=DEGRADED)[20] == ("overfitting", "")
    unsure = {**fits, (20, "plain"): [0.0, 0.05, 0.0]}
    assert outcomes(unsure, test=DEGRADED)[20][0] == "inconclusive"


def test_differences_of_exactly_zero_are_no_difference():
    zeros = {key: [0.0] * 3 for key in DEGRADED}
    assert outcomes(zeros) == dict.fromkeys((8, 20), ("no difference", ""))
    assert judge_study(make_runs(zeros)).from_twin_p.tolist() == [1, 1]


def test_one_image_more_in_every_seed_is_no_difference():
    flicker = {key: [0.0] * 3 for key in DEGRADED} | {(20, "plain"): [1 / 1437] * 3}
    assert outcomes(flicker)[20] == ("no difference", "")


def test_few_seeds_and_missing_runs():
    one = {key: values[:1] for key, values in DEGRADED.items()}
    assert outcomes(one)[20] == ("too few seeds", "1 seed in common; a claim takes 3")
    unequal = {**DEGRADED, (20, "residual"): [0.0, None, 0.0]}
    assert outcomes(unequal)[20] == ("too few seeds", "2 seeds in common; a claim takes 3")
    more = {**DEGRADED, (20, "residual"): [0.002, 0.001, 0.000, 0.001, 0.0]}
    assert outcomes(more)[20] == ("degradation", "")
    lonely = {key: values for key, values in DEGRADED.items() if key != (20, "residual")}
    assert outcomes(lonely)[20] == ("inconclusive", "no residual twin was run")
    lonely = {key: values for key, values in DEGRADED.items() if key != (20, "plain")}
    assert outcomes(lonely)[20] == ("inconclusive", "no plain network was run")
    only = {key: values for key, values in DEGRADED.items() if key[0] == 20}
    assert outcomes(only)[20][0] == "inconclusive"


def test_a_diverged_run_never_makes_a_claim():
    nan = np.nan
    plain = {**DEGRADED, (20, "plain"): [nan] * 3}
    assert outcomes(plain)[20] == ("inconclusive", "3 runs diverged")
    four = {key: [*values, 0.001] for key, values in DEGRADED.items()}
    assert outcomes(four | {(20, "plain"): [*HIGH, nan]})[20] == ("degradation", "")
    twin = four | {(20, "plain"): [*HIGH, 0.31], (20, "residual"): [*LOW, nan]}
    assert outcomes(twin)[20] == ("inconclusive", "1 run diverged")
    # Three of four that are left agree; of the fourth nothing is known.
    assert outcomes({key: [*LOW, nan] for key in four})[20] == ("inconclusive", "2 runs diverged")


def test_bad_frames_are_refused():
    runs = make_runs(DEGRADED)
    with pytest.raises(GradflowError, match="2 runs share depth, twin, seed and learning rate"):
        judge_study(pd.concat([runs, runs.iloc[:1]]))
    with pytest.raises(GradflowError, match="needs the columns final_test_error"):
        judge_study(runs.drop(columns="final_test_error"))
    with pytest.raises(GradflowError, match="needs runs"):
        judge_study(runs[:0])
    with pytest.raises(GradflowError, match="rate=0.3: no such run; there are 0.1"):
        judge_study(runs, rate=0.3)


def make_blocks(ratios, depth=20, twin="plain"):
    """Blocks records of two steps, 0 and 9, from (first, last) end-to-end ratios by seed."""
    rows = [
        {
            "run_id": f"{twin}-{depth}-{seed}-0.1", "depth": depth, "twin": twin, "seed": seed,
            "step": step, "block_index": block, "input_grad_norm": norm,
        }
        for seed, pair in enumerate(ratios)
        for step, ratio in zip((0, 9), pair, strict=True)
        for block, norm in enumerate((ratio * 0.5, 7.0, 0.5))
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ([(90, 1.0), (100, 0.9), (110, 1.2)], ("exploding", "level")),
        ([(2, 1e-9), (2, 1e-10), (3, 1e-9)], ("level", "vanishing")),
        ([(2, 0.0), (2, 0.0), (3, 0.0)], ("level", "vanishing")),
        ([(2, np.inf), (2, np.inf), (3, np.inf)], ("level", "exploding")),
        ([(2, 1e-9), (2, 1.0), (3, 1.0)], ("level", "unclear")),
        ([(2, np.nan), (2, np.nan), (3, np.nan)], ("level", "unknown")),
        ([(200, 200), (200, 200)], ("unknown", "unknown")),
    ],
)
def test_gradient_words(ratios, words):
    row = judge_study(make_runs(DEGRADED), make_blocks(ratios)).set_index("depth").loc[20]
    assert (row.plain_gradient_initial, row.plain_gradient_trained) == words
    assert row.residual_gradient_initial == "unknown"
    assert row.outcome == "degradation"  # whatever the gradient does


def test_the_ratio_is_from_the_first_input_to_the_last_output():
    blocks = make_blocks([(8.0, 4.0)])
    assert end_to_end(blocks).ratio.tolist() == [8, 4]
    verdict = judge_study(make_runs(DEGRADED), blocks[blocks.step == 0]).set_index("depth")
    assert verdict.plain_ratio_initial[20] == pytest.approx(8)
    assert np.isnan(verdict.plain_ratio_trained[20])


def test_a_ratio_that_float32_cannot_hold_is_a_bound():
    rows = [
        ("a", 0, 6.0), ("a", 1, 5.0), ("a", 2, 2.0),  # the last row is the last block's output
        ("b", 0, 0.0), ("b", 1, 1.0),
        ("c", 0, np.inf), ("c", 1, 1.0),
        ("d", 0, 1.0), ("d", 1, 0.0),
        ("e", 0, 1.0), ("e", 1, np.inf),
        ("f", 0, np.nan), ("f", 1, 1.0),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["run_id", "block_index", "input_grad_norm"])
    found = end_to_end(frame.assign(depth=8, twin="plain", seed=0, step=0)).set_index("run_id")
    float32 = np.finfo(np.float32)
    assert found.ratio[["a", "b", "c"]].tolist() == [3, float32.smallest_subnormal, float32.max]
    assert found.ratio[["d", "e", "f"]].isna().all()
    assert found.is_bound.tolist() == [False, True, True, False, False, False]


def sweep(at_high_rate):
    runs = [make_runs(DEGRADED, rate=rate) for rate in (0.01, 0.1)]
    return pd.concat([*runs, make_runs(DEGRADED | at_high_rate, rate=1.0)])


def test_tuning_words():
    def word(runs):
        return judge_study(runs).set_index("depth").tuning[20]

    assert word(make_runs(DEGRADED)) == "one rate tried"
    assert word(sweep({})) == "does not"
    assert word(sweep({(20, "plain"): LOW})) == "removes the gap"
    assert word(sweep({(20, "plain"): [0.0, 0.1, 0.2]})) == "unknown"
    assert word(sweep({(20, "plain"): [np.nan, 0.0, 0.0]})) == "does not"
    # The twin does better there, too: the gap stays.
    half = {(20, "plain"): [0.05, 0.05, 0.05], (20, "residual"): [0.05, 0.05, 0.05]}
    assert word(sweep(half)) == "does not"
    equal = [make_runs(dict.fromkeys(DEGRADED, LOW), rate=rate) for rate in (0.1, 1.0)]
    assert word(pd.concat(equal)) == "no gap"


def test_the_judged_rate_is_chosen_without_looking_at_errors():
    assert judged_rate(pd.Series([0.3, 0.1, 0.01])) == 0.1
    assert judged_rate(pd.Series([0.3, 0.1, 0.01, 1.0])) == 0.1
    assert judged_rate(pd.Series([0.3, 0.1, 0.01, 0.3])) == 0.3
    verdict = judge_study(sweep({(20, "plain"): LOW}), rate=1.0)
    assert verdict.outcome.tolist() == ["no difference"] * 2


@pytest.mark.numeric
@pytest.mark.parametrize("seeds", simulation.SEEDS)
def test_false_degradation_is_rare(seeds):
    """Of 300 studies of each kind at most 5 % and three standard errors; `slow` has 1,000."""
    studies = 300 if seeds < 8 else 100  # the bootstrap takes its time
    for noise in ("Gaussian", "heavy-tailed, t(2)", "at zero"):
        for null in simulation.NULLS:
            rate = simulation.false_rate(noise, null, seeds, studies)
            assert rate <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies), (noise, null, rate)


@pytest.mark.numeric
@pytest.mark.parametrize("index", range(3), ids=["3 seeds", "5 seeds", "10 seeds"])
def test_planted_effects_are_named(index):
    for truth, sizes in simulation.PLANTED.items():
        rate = simulation.right_rate(truth, sizes[index], simulation.SEEDS[index], studies=100)
        assert rate >= 0.95, (truth, rate)


@pytest.mark.numeric
@pytest.mark.parametrize("name", ["plain half, twins never", "both half, beyond depth 8"])
def test_networks_that_fail_by_chance_are_no_degradation(name):
    """300 studies of three seeds: a rule of 5 % fails one time in 600, exact binomial. Without
    the spread of the shallower networks 13 % of the first were called degraded."""
    rate = simulation.chance_rate(name, 3, studies=300)
    assert rate <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300), rate


@pytest.mark.slow
@pytest.mark.parametrize("index", range(3), ids=["3 seeds", "5 seeds", "10 seeds"])
def test_error_rates_of_a_thousand_studies(index):
    seeds = simulation.SEEDS[index]
    for noise in simulation.NOISE:
        for null in simulation.NULLS:
            rate = simulation.false_rate(noise, null, seeds, studies=1000)
            assert rate <= simulation.LIMIT, (noise, null, rate)
    for name in simulation.CHANCE:
        assert simulation.chance_rate(name, seeds, studies=1000) <= simulation.LIMIT, name
    for truth, word in simulation.TUNING_WRONG:
        assert simulation.tuning_rate(truth, word, seeds, 1000) <= simulation.LIMIT
    for truth, word in simulation.TUNING_RIGHT:
        assert simulation.tuning_rate(truth, word, seeds, 1000) >= 0.95
    for truth, sizes in simulation.PLANTED.items():
        assert simulation.right_rate(truth, sizes[index], seeds, studies=1000) >= 0.95


def test_many_studies_at_once_are_judged_as_one_by_one():
    """The arrays that are simulated and the frames that are read go through one classifier."""
    rng = np.random.default_rng(1)
    errors = simulation.null_studies(rng, simulation.gaussian, "only the twins differ", 5, 8)
    errors.plain[:, -1] += 0.2
    together = simulation.judge(errors, errors)
    for index in range(8):
        frame = {
            (depth, twin): list(array[index, depth])
            for depth in range(simulation.DEPTHS)
            for twin, array in zip(errors._fields, errors, strict=True)
        }
        verdict = judge_study(make_runs(frame))
        assert verdict.outcome.tolist() == together.word[index].tolist()
        np.testing.assert_allclose(verdict.p, together.p[index])
    assert (together.word[:, -1] == "degradation").any()


def test_sentences_say_what_the_row_says():
    verdict = judge_study(make_runs(DEGRADED), make_blocks([(90, 1.0), (100, 0.9), (110, 1.2)]))
    first, second = (sentence(row) for _, row in verdict.iterrows())
    assert first == (
        "Depth 8, no difference: the plain network's training error is within a point of its "
        "residual twin's. Of its gradient too little was recorded; one learning rate was tried."
    )
    assert second.startswith(
        "Depth 20, degradation: the plain network's training error is 30.9 points above that of "
        "depth 8 and 30.9 points above its residual twin's. The plain network's gradient "
        "explodes at the first step and is level at the last;"
    )


def test_a_sentence_of_two_seeds_says_what_they_show_and_claims_nothing():
    two = {key: values[:2] for key, values in DEGRADED.items()}
    two |= {(14, "plain"): [0.0, 0.0], (14, "residual"): [0.001, 0.002]}
    blocks = make_blocks([(90, 1.0), (100, 0.9)])
    verdict = judge_study(make_runs(two), blocks).set_index("depth", drop=False)
    assert sentence(verdict.loc[20]) == (
        "Depth 20, no claim: 2 seeds in common; a claim takes 3. Over 2 seeds the plain network's "
        "mean training error is 30.9 points above its residual twin's. Its gradient's end-to-end "
        "ratio is 95 at the first step and 0.95 at the last, of too few seeds to judge; one "
        "learning rate was tried."
    )
    assert "is 0.1 points below its residual twin's. Of its gradient" in sentence(verdict.loc[14])
    # Of the shallower plain networks the numbers are of the one that fits best, not of the first.
    assert verdict.shallower_depth[20] == 14
    assert verdict.from_shallower[20] == pytest.approx(31.0)
    one = judge_study(make_runs({key: values[:1] for key, values in two.items()}))
    assert "In one seed the plain network's training error is 29.8 points" in sentence(one.iloc[2])


def test_what_is_printed_has_few_columns_and_fits_a_terminal():
    runs = two_settings(worse=0.5)
    for settings, frame in ((["norm"], runs), ([], make_runs(DEGRADED))):
        text = brief(judge_study(frame, settings=settings), settings)
        assert max(map(len, text.split("\n"))) <= WIDTH
        assert text.startswith("depth  outcome        plain - residual")
        assert "   20  degradation    30.9 (" in text
        assert "tables/verdict_numbers.csv" in text
        assert ("\nnorm=dyt\n" in text) == bool(settings)


def test_depths_may_have_unequal_numbers_of_seeds():
    """Eight of depths 8 and 20, three of 32: each comparison is of the seeds in common."""
    plain8, residual8 = [0.002, 0.001, 0.003, 0.0, 0.001, 0.002, 0.0, 0.001], [0.001] * 8
    plain20 = [0.02, 0.03, 0.09, 0.02, 0.07, 0.04, 0.03, 0.02]
    plain32, residual32 = [0.3, 0.5, 0.4], [0.001, 0.0, 0.002]
    verdict = judge_study(
        make_runs(
            {
                (8, "plain"): plain8, (8, "residual"): residual8,
                (20, "plain"): plain20, (20, "residual"): [0.0] * 8,
                (32, "plain"): plain32, (32, "residual"): residual32,
            }
        )
    )  # fmt: skip
    by_depth = verdict.set_index("depth")
    assert by_depth.from_twin_n.tolist() == [8, 8, 3]
    assert by_depth.from_shallower_n.tolist() == [0, 8, 3]
    assert by_depth.from_twin_p[20] == 2.0**-8  # sign flips: every difference is above 0
    pairs = [(plain32, residual32), (plain32, plain8[:3]), (plain32, plain20[:3])]
    twin = scipy.stats.ttest_rel(*pairs[0], alternative="greater").pvalue
    assert by_depth.from_twin_p[32] == pytest.approx(twin)
    # Against the shallower ones with the larger of the pair's spread and that of both pairs.
    differences = [np.subtract(*pair) for pair in pairs[1:]]
    own = [d.std(ddof=1) for d in differences]
    both = np.sqrt(np.mean(np.square(own)))
    shallower = [
        scipy.stats.t.sf(d.mean() * np.sqrt(3) / max(s, both), 2)
        for d, s in zip(differences, own, strict=True)
    ]
    assert by_depth.from_shallower_p[32] == pytest.approx(min(2 * min(shallower), max(shallower)))
    assert by_depth.from_shallower[32] == pytest.approx(
        100 * (np.mean(plain32) - np.mean(plain8[:3]))
    )
    table = numbers_table(verdict)
    assert [row["pairs"] for row in table.rows] == [8, 8, 3]
    assert "95 % logit t intervals" in table.note


def two_settings(worse=0.0):
    """DEGRADED, of norm "batch" and, with more error at depth 20, of norm "dyt"; two rates."""
    parts = []
    for norm, more in (("batch", 0.0), ("dyt", worse)):
        errors = {
            key: [value + more * (key[0] == 20) for value in values]
            for key, values in DEGRADED.items()
        }
        for rate in (0.1, 1.0):
            part = make_runs(errors, rate=rate).assign(norm=norm)
            parts.append(part.assign(run_id=part.run_id + norm))
    return pd.concat(parts)


def test_each_setting_has_its_verdict_and_holm_is_over_all():
    runs = two_settings()
    verdict = judge_study(runs, settings=["norm"])
    assert verdict[["norm", "depth"]].apply(tuple, axis=1).tolist() == [
        ("batch", 8), ("batch", 20), ("dyt", 8), ("dyt", 20),
    ]  # fmt: skip
    alone = judge_study(runs[runs.norm == "dyt"])
    assert verdict.p[[1, 3]].tolist() == pytest.approx([2 * alone.p[1]] * 2)
    assert verdict.tuning_p[[1, 3]].tolist() == pytest.approx([2 * alone.tuning_p[1]] * 2)
    same = ["from_twin", "from_twin_low", "from_shallower_p", "plain_error", "rate"]
    pd.testing.assert_frame_equal(verdict[same].tail(2).reset_index(drop=True), alone[same])
    with pytest.raises(GradflowError, match="name the columns in which they differ"):
        judge_study(runs)


def test_settings_may_have_other_depths_and_rates():
    runs = two_settings()
    lacking = (runs.norm == "dyt") & ((runs.depth == 8) | (runs[RATE] == 1.0))
    verdict = judge_study(runs[~lacking], settings=["norm"])
    assert verdict.depth.tolist() == [8, 20, 20]
    assert verdict.reason[2] == "above its twin, and nothing shallower to compare with"
    assert verdict.tuning.tolist() == ["no gap", "does not", "one rate tried"]


def test_words_numbers_and_ranks_name_the_setting():
    runs = two_settings(worse=0.5)
    verdict = judge_study(runs, settings=["norm"])
    for table in (words_table(verdict, ["norm"]), numbers_table(verdict, ["norm"])):
        assert [row["setting"] for row in table.rows] == ["norm=batch"] * 2 + ["norm=dyt"] * 2
    assert "- norm=dyt: Depth 20, degradation" in words_table(verdict, ["norm"]).note
    table = ranks_table(rank_settings(runs, ["norm"]), ["norm"])
    cells = [[str(row[t]) for t in ("depth", "network", "rank", "setting")] for row in table.rows]
    assert cells[4:] == [
        ["20", "plain", "1", "norm=batch"], ["20", "plain", "2", "norm=dyt"],
        ["20", "residual", "1", "norm=batch"], ["20", "residual", "2", "norm=dyt"],
    ]  # fmt: skip


def test_the_script_judges_a_study(study_folder, tmp_path):
    copy = tmp_path / "small"
    shutil.copytree(study_folder, copy)
    script = str(ROOT / "analysis" / "verdict.py")
    done = subprocess.run([sys.executable, script, str(copy)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "\n    8  too few seeds  " in done.stdout
    words = (copy / "tables" / "verdict.md").read_text()
    assert words.startswith("| depth | outcome |")
    assert "| 8 | too few seeds (2 seeds in common; a claim takes 3) | unknown" in words


def test_the_blocks_of_the_ends_alone_are_read(study_folder):
    blocks = end_blocks(load_study(study_folder))
    assert sorted(blocks.step.unique()) == [0, 7]


def test_a_study_without_probes_has_its_outcome(tmp_path, capsys):
    execute(small_config(tmp_path, probe=OffConfig(), details=OffConfig(), study="bare"))
    analyze(Output(load_study(tmp_path / "bare")))
    assert "no plain network was run" in capsys.readouterr().out


def test_the_verdict_never_imports_torch():
    code = "import sys, gradflow.analysis.studies.verdict; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
