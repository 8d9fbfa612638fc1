"""Shared fixtures: small configs, and folders that the tests may fill."""

from pathlib import Path

import pytest
import threadpoolctl
import torch
from hydra.core.plugins import Plugins
from hypothesis import HealthCheck, settings

from tests.support.configs import THREADS, small_config

# Hydra loads its sweepers anew when it looks for plugins; ours are made of those that it has then.
Plugins.instance()

# How long an example takes says how busy the machine is.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.fixture(autouse=True, scope="session")
def _blas_threads() -> None:
    threadpoolctl.threadpool_limits(THREADS)


@pytest.fixture(autouse=True)
def _as_if_alone() -> None:
    """No test depends on those before it: a run sets the threads, and any draw moves the stream."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for decoded data sets, kept for the session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study: depths 8 and 14, plain and residual, two seeds, a few steps."""
    from gradflow.runs.execute import execute

    root = tmp_path_factory.mktemp("outputs")
    for depth in (8, 14):
        for skip in (False, True):
            for seed in (0, 1):
                execute(small_config(root, depth=depth, skip=skip, seed=seed, study="small"))
    return root / "small"
