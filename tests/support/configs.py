"""Configs small enough to train in a second."""

import os
from pathlib import Path

from gradflow.config.networks import NetworkConfig
from gradflow.config.optimizers import OptimizerConfig
from gradflow.config.probes import EveryConfig, InitializationConfig, ProbeConfig
from gradflow.config.run import EvaluationConfig, RunConfig, StudyConfig
from gradflow.config.saved import read_config, write_config
from gradflow.data.sets.digits import DigitsConfig
from gradflow.networks.families.cifar_resnet import CifarResNetConfig
from gradflow.training.optimizers.sgd import SGDConfig
from gradflow.training.schedules.warmup_cosine import WarmupCosineConfig

THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))
"""Of a test and of its runs: one, for two test processes share two cores, or as asked."""

REAL_CIFAR10 = Path(__file__).parents[3] / "shared" / "data" / "cifar10"


def small_config(
    root: Path,
    *,
    depth: int = 8,
    skip: bool = True,
    seed: int = 0,
    steps: int = 8,
    probe: ProbeConfig | None = None,
    details: ProbeConfig | None = None,
    optimizer: OptimizerConfig | None = None,
    network: NetworkConfig | None = None,
    evaluation: EvaluationConfig | None = None,
    study: str = "scratch",
    threads: int = THREADS,
    **options: object,
) -> RunConfig:
    return RunConfig(
        network=network or CifarResNetConfig(depth=depth, width=4, skip=skip),
        data=DigitsConfig(batch_size=32, subset=128),
        optimizer=optimizer or SGDConfig(),
        schedule=WarmupCosineConfig(),
        probe=probe or EveryConfig(every=3),
        details=details or InitializationConfig(),
        evaluation=evaluation or EvaluationConfig(every=4),
        seed=seed,
        steps=steps,
        threads=threads,
        study=StudyConfig(name=study),
        output_root=str(root),
        **options,  # type: ignore[arg-type]  # of any field's type
    )


def name_analysis(study: Path, *names: str) -> None:
    """Rewrite the configs of a study's runs, as if it named these analysis scripts."""
    for path in study.glob("*/config.yaml"):
        config = read_config(path)
        config["study"]["analysis"] = list(names)
        write_config(config, path)
