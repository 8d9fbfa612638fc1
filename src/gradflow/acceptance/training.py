"""Trained networks: the degradation problem on the digits."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradflow.acceptance.claim import Basis, Claim, NotRun, Sample, at_least, at_most, linear
from gradflow.config import RunConfig
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.config.probes import (
    EveryConfig,
    InitializationConfig,
    LogSpacedConfig,
    OffConfig,
)
from gradflow.config.run import StudyConfig
from gradflow.core.progress import RunResult
from gradflow.data.sets.digits import DigitsConfig
from gradflow.networks.families.cifar_resnet import CifarResNetConfig
from gradflow.records import read_records
from gradflow.runs.execute import execute
from gradflow.runs.status import ENDED
from gradflow.training.optimizers.sgd import SGDConfig
from gradflow.training.schedules.warmup_cosine import WarmupCosineConfig

SHALLOW, DEEP, SEEDS = 8, 56, (0, 1, 2)
STUDY = "degradation"
DESIGNS: dict[str, tuple[dict[str, Any], float]] = {
    "tailored rectifiers, no norm": (
        {
            "norm": "none",
            "activation": "tailored_relu",
            "initialization": "delta_orthogonal",
        },
        0.005,
    ),
    "tanh with critical weights, no norm": (
        {"norm": "none", "activation": "tanh", "initialization": "critical"},
        0.02,
    ),
    "DiracNet": ({"block": "dirac"}, 0.08),
    "RepVGG": ({"block": "repvgg"}, 0.08),
}
"""Plain designs that are said to train, and the rate of each: the best of 0.005, 0.02 and 0.08 at
depth 20, for networks without norm times (20/56)^1.5 and rounded to one of these."""


def run_config(depth: int, skip: bool, seed: int, output_root: str) -> RunConfig:
    """A run of `study=degradation`."""
    return RunConfig(
        network=CifarResNetConfig(depth=depth, width=8, skip=skip),
        data=DigitsConfig(),
        optimizer=SGDConfig(),
        schedule=WarmupCosineConfig(),
        probe=EveryConfig(),
        details=InitializationConfig(),
        seed=seed,
        study=StudyConfig(name=STUDY),
        output_root=output_root,
    )


def design_config(design: str, seed: int, output_root: str) -> RunConfig:
    """A run of `study=plain_that_train` at depth 56."""
    options, rate = DESIGNS[design]
    return RunConfig(
        network=CifarResNetConfig(depth=DEEP, width=8, skip=False, **options),
        data=DigitsConfig(),
        optimizer=SGDConfig(learning_rate=rate),
        schedule=WarmupCosineConfig(),
        probe=LogSpacedConfig(),
        details=OffConfig(),
        seed=seed,
        study=StudyConfig(name="plain_that_train"),
        output_root=output_root,
    )


def gain(config: AcceptanceConfig, design: str) -> Sample:
    """Training error of ordinary plain networks of depth 56 minus a design's, seed by seed."""
    ordinary = runs(config).set_index(["depth", "skip", "seed"]).error.loc[(DEEP, False)]
    errors = []
    for seed in SEEDS:
        run = _run(design_config(design, seed + 3 * config.seed, config.output_root))
        error = 1.0 if run.final_train_error is None else run.final_train_error
        errors.append(100 * error)  # a run that diverged has learned nothing that is left
    return linear(ordinary.loc[list(SEEDS)].to_numpy() - np.array(errors))


def _run(config: RunConfig) -> RunResult:
    """The run as its study left it, or one of acceptance's own."""
    if execute(replace(config, dry_run=True)).status in ENDED:
        return execute(config)
    return execute(replace(config, output_root=str(Path(config.output_root, "acceptance", "runs"))))


@cache
def runs(config: AcceptanceConfig) -> pd.DataFrame:
    """depth, skip, seed, error (training, percent), response (mean branch_rms after training).

    Runs that `make reproduce` left are taken as they are; what is missing is trained, and does not
    become a part of that study.
    """
    rows = []
    for depth in (SHALLOW, DEEP):
        for skip in (False, True):
            for seed in SEEDS:
                run = _run(run_config(depth, skip, seed + 3 * config.seed, config.output_root))
                if run.final_train_error is None:
                    raise NotRun(f"{run.folder}: {run.status}, without a training error")
                blocks = read_records(run.folder, "blocks", columns=["step", "branch_rms"])
                response = blocks[blocks.step == blocks.step.max()].branch_rms.mean()
                error = 100 * run.final_train_error
                rows.append((depth, skip, seed, error, float(response)))
    return pd.DataFrame(rows, columns=["depth", "skip", "seed", "error", "response"])


def difference(
    config: AcceptanceConfig, column: str, one: tuple[int, bool], other: tuple[int, bool]
) -> Sample:
    """`column` of one (depth, skip) minus that of another, seed by seed."""
    values = runs(config).set_index(["depth", "skip", "seed"])[column]
    return linear((values.loc[one] - values.loc[other]).to_numpy())


SAID = {
    "tailored rectifiers, no norm": "Zhang et al. 2022",
    "tanh with critical weights, no norm": "Xiao et al. 2018",
    "DiracNet": "Zagoruyko and Komodakis 2017",
    "RepVGG": "Ding et al. 2021",
}


def _trains(design: str) -> Claim:
    return Claim(
        f"plain {DEEP} that trains, {design}: training error of ordinary plain {DEEP} minus its "
        "own, points",
        SAID[design],
        f"study=plain_that_train at depth {DEEP}, rate {DESIGNS[design][1]:g}: digits, 120 steps, "
        "3 seeds, paired with the runs of study=degradation",
        at_least(10.0),
        "as for residual networks",
        lambda config: gain(config, design),
        Basis.PUBLISHED,
    )


HOW = (
    f"study=degradation at depths {SHALLOW} and {DEEP}: digits, 120 steps, 3 seeds (runs that are "
    "in outputs/degradation are taken, others trained)"
)
RESPONSE = f"{HOW}; branch_rms at the last step, mean over blocks"

CLAIMS = (
    Claim(
        f"degradation: training error of plain {DEEP} minus plain {SHALLOW}, points",
        "He et al. 2015, figure 1 and section 1",
        HOW + "; final_train_error, paired",
        at_least(10.0),
        "all of the interval far above what seeds of one depth differ by (1 point at depth 8)",
        lambda config: difference(config, "error", (DEEP, False), (SHALLOW, False)),
        Basis.FITTED,
    ),
    Claim(
        f"residual {DEEP} does not share it: training error of plain {DEEP} minus residual {DEEP}, "
        "points",
        "He et al. 2015, section 4.2",
        HOW + "; final_train_error, paired",
        at_least(10.0),
        "as above",
        lambda config: difference(config, "error", (DEEP, False), (DEEP, True)),
        Basis.FITTED,
    ),
    Claim(
        f"no harm from surplus depth: training error of residual {DEEP} minus residual {SHALLOW}, "
        "points",
        "He et al. 2015, section 4.2",
        HOW + "; final_train_error, paired",
        at_most(2.0),
        "29 of 1,437 images: training is 120 steps short, and three seeds make a wide interval",
        lambda config: difference(config, "error", (DEEP, True), (SHALLOW, True)),
        Basis.FITTED,
    ),
    Claim(
        f"responses of residual branches are smaller the deeper: residual {DEEP} minus {SHALLOW}",
        "He et al. 2015, figure 7",
        RESPONSE,
        at_most(0.0),
        "a direction is claimed, no size",
        lambda config: difference(config, "response", (DEEP, True), (SHALLOW, True)),
        Basis.FITTED,
    ),
    Claim(
        f"and smaller than plain ones: residual {DEEP} minus plain {DEEP}",
        "He et al. 2015, figure 7",
        RESPONSE,
        at_most(0.0),
        "a direction is claimed, no size",
        lambda config: difference(config, "response", (DEEP, True), (DEEP, False)),
        Basis.FITTED,
    ),
    *(_trains(design) for design in DESIGNS),
)
