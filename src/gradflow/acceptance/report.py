"""The whole of it: claims tested, the table printed and written, the verdict."""

import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import torch

from gradflow import provenance
from gradflow.acceptance.catalogue import claims_matching
from gradflow.acceptance.cifar import folder_of
from gradflow.acceptance.table import (
    FAIL,
    SHORT,
    Result,
    check,
    summary,
    to_csv,
    to_json,
    to_markdown,
)
from gradflow.acceptance.training import STUDY
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.config.schema import Cifar10Config
from gradflow.records import ended_runs
from gradflow.runtime import keep_freed_memory


def accept(config: AcceptanceConfig) -> bool:
    """Test the claims, print the table, write it to <output_root>/acceptance; whether none failed.

    Raises:
        GradflowError: a folder of images was named and is not there; no claim matches.
    """
    claims = claims_matching(config.match)
    assert isinstance(config.data, Cifar10Config)
    if config.data.folder != Cifar10Config().folder and not folder_of(config).is_dir():
        config.data.refuse("folder", "no such folder")
    torch.set_num_threads(1)
    keep_freed_memory()
    start = time.perf_counter()
    results = check(claims, config, _progress(len(claims)))
    print(to_markdown(results, SHORT))
    for path in save(results, config):
        print(path)
    print(f"{summary(results)} ({time.perf_counter() - start:.0f} s)")
    return not any(result.status == FAIL for result in results)


def save(results: list[Result], config: AcceptanceConfig) -> list[Path]:
    """Write acceptance.md, .csv and .json: equal results give equal files."""
    folder = Path(config.output_root) / "acceptance"
    folder.mkdir(parents=True, exist_ok=True)
    origin = {
        "code_version": provenance.code_version(),
        "torch_version": torch.__version__,
        "seed": config.seed,
        "match": config.match,
        "runs_code_versions": _code_of_runs(Path(config.output_root) / STUDY),
    }
    told = f"{summary(results)}; code {origin['code_version']}, torch {origin['torch_version']}\n"
    texts = {
        "md": f"{to_markdown(results)}\n{told}",
        "csv": to_csv(results),
        "json": to_json(results, origin),
    }
    paths = []
    for kind, text in texts.items():
        path = folder / f"acceptance.{kind}"
        path.write_text(text)
        paths.append(path)
    return paths


def _code_of_runs(study: Path) -> list[str]:
    """What made the runs that training's claims are about; a study may hold older ones."""
    return sorted(ended_runs(study).code_version.unique()) if study.is_dir() else []


def _progress(total: int) -> Callable[[Result, float], None]:
    """A line a claim on stderr, while one waits."""
    numbers = count(1)

    def report(result: Result, seconds: float) -> None:
        told = f"{next(numbers)}/{total} {result.status:7} {seconds:5.1f} s  {result.claim.name}"
        print(told, file=sys.stderr, flush=True)

    return report
