"""Test what is published and derived by what this suite measures; a table of claims.

    gradflow acceptance
    gradflow acceptance data.folder=data/cifar10
    gradflow acceptance match=residual seed=1

The exit status is 1 if a claim fails.
"""

import hydra
from omegaconf import DictConfig

from gradflow.config.acceptance import AcceptanceConfig
from gradflow.config.conf_folder import CONF
from gradflow.config.hydra_bridge import call, end_in_one_line, register_schema


def table(config: AcceptanceConfig) -> None:
    """Test the claims and write their table; exit with status 1 if one fails."""
    from gradflow.acceptance.report import accept  # torch is imported where the work is done

    if not accept(config):
        raise SystemExit(1)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="acceptance")
def run(cfg: DictConfig) -> None:
    """Hydra's entry: compose the config and test the claims."""
    call(table, cfg, AcceptanceConfig)


def main() -> None:
    """The command line."""
    register_schema()
    end_in_one_line(run, sweeps=False)
