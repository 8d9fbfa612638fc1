"""The whole of it: claims tested, the table printed and written, the verdict."""

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from gradflow.acceptance.catalogue import claims_matching
from gradflow.acceptance.cifar import folder_of
from gradflow.acceptance.claim import Claim
from gradflow.acceptance.laws import draw_laws
from gradflow.acceptance.table import (
    SHORT,
    Outcome,
    Result,
    by_basis,
    check,
    summary,
    to_csv,
    to_json,
    to_markdown,
)
from gradflow.acceptance.training import STUDY
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.core import provenance
from gradflow.core.interrupts import end_with_parent
from gradflow.data.sets.cifar10 import Cifar10Config
from gradflow.records import ended_runs
from gradflow.training.torch_settings import keep_freed_memory

# The topics that take longest begin first, so that the workers finish together.
LONGEST_FIRST = ("cifar", "training", "plain", "normalized", "residual", "shattering")


def accept(config: AcceptanceConfig) -> bool:
    """Test the claims, print the table, write it to <output_root>/acceptance; whether none failed
    but those that are known to.

    Raises:
        GradflowError: a folder of images was named and is not there; no claim matches.
    """
    claims = claims_matching(config.match)
    assert isinstance(config.data, Cifar10Config)
    if config.data.folder != Cifar10Config().folder and not folder_of(config).is_dir():
        config.data.refuse("folder", "no such folder")
    start = time.perf_counter()
    results = check_all(claims, config)
    print(to_markdown(results, SHORT))
    for path in [*save(results, config), *(draw_laws(config) if config.laws else [])]:
        print(path)
    print(by_basis(results))
    print(f"{summary(results)} ({time.perf_counter() - start:.0f} s)")
    return not any(result.is_new_failure for result in results)


def check_all(claims: dict[str, list[Claim]], config: AcceptanceConfig) -> list[Result]:
    """The results in the order of the claims, tested topic by topic, each in one process."""
    workers = min(config.workers or os.cpu_count() or 1, len(claims))
    if workers == 1:
        return [result for topic in claims.values() for result in _check(topic, config)]
    order = sorted(claims, key=lambda topic: (LONGEST_FIRST + tuple(claims)).index(topic))
    with ProcessPoolExecutor(workers, get_context("spawn"), end_with_parent) as pool:
        futures = {topic: pool.submit(_check_topic, topic, config) for topic in order}
        found = {topic: future.result() for topic, future in futures.items()}
    return [
        Result(claim, *outcome)
        for topic in claims
        for claim, outcome in zip(claims[topic], found[topic], strict=True)
    ]


def _check_topic(topic: str, config: AcceptanceConfig) -> list[Outcome]:
    """In a worker: claims cannot be sent to it, nor sent back, so it looks them up."""
    results = _check(claims_matching(config.match)[topic], config)
    return [(result.status, result.measured, result.note) for result in results]


def _check(claims: list[Claim], config: AcceptanceConfig) -> list[Result]:
    torch.set_num_threads(1)
    keep_freed_memory()
    return check(claims, config, _tell)


def _tell(result: Result, seconds: float) -> None:
    """A line on stderr, while one waits."""
    print(f"{result.status:7} {seconds:5.1f} s  {result.claim.name}", file=sys.stderr, flush=True)


def save(results: list[Result], config: AcceptanceConfig) -> list[Path]:
    """Write acceptance.md, .csv and .json, and to a folder `tables` the short table that
    docs/claims/acceptance.md quotes: equal results give equal files."""
    folder = Path(config.output_root) / "acceptance"
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    origin = {
        "code_version": provenance.code_version("acceptance"),
        "torch_version": torch.__version__,
        "seed": config.seed,
        "times": config.times,
        "match": config.match,
        "runs_code_versions": _code_of_runs(Path(config.output_root) / STUDY),
    }
    code = f"code {origin['code_version']}, torch {origin['torch_version']}"
    line = f"{by_basis(results)}\n\n{summary(results)}; {code}\n"
    texts = {
        "acceptance.md": f"{to_markdown(results)}\n{line}",
        "acceptance.csv": to_csv(results),
        "acceptance.json": to_json(results, origin),
        "tables/acceptance.md": f"{to_markdown(results, SHORT)}\n{line}",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return [folder / name for name in texts]


def _code_of_runs(study: Path) -> list[str]:
    """What made the runs that training's claims are about; a study may hold older ones."""
    return sorted(ended_runs(study).code_version.unique()) if study.is_dir() else []
