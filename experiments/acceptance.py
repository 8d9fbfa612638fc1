"""Test what is published and derived by what this suite measures; a table of claims.

    python experiments/acceptance.py
    python experiments/acceptance.py data.folder=data/cifar10
    python experiments/acceptance.py match=residual seed=1

The exit status is 1 if a claim fails.
"""

if __name__ == "__main__":  # before the imports, which take a second
    from gradflow.core.interrupts import leave_at_once

    leave_at_once()

import hydra
from omegaconf import DictConfig

from gradflow.config.acceptance import AcceptanceConfig
from gradflow.config.hydra_bridge import call, main, register_schema

register_schema()


def table(config: AcceptanceConfig) -> None:
    """Test the claims and write their table; exit with status 1 if one fails."""
    from gradflow.acceptance.report import accept  # torch is imported where the work is done

    if not accept(config):
        raise SystemExit(1)


@hydra.main(version_base="1.3", config_path="../conf", config_name="acceptance")
def run(cfg: DictConfig) -> None:
    """Hydra's entry: compose the config and test the claims."""
    call(table, cfg, AcceptanceConfig)


if __name__ == "__main__":
    main(run, sweeps=False)
