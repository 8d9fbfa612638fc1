"""Train one network, or a study of many.

    gradflow train network.depth=56 network.skip=false
    gradflow train study=degradation
    gradflow train study=degradation scale=paper device=cuda dry_run=true
    gradflow train -m network.depth=20,56 optimizer.learning_rate=0.01,0.1

Every key is in conf/; `--cfg job` prints the config that a command would use.
"""

from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from gradflow.config import RunConfig
from gradflow.config.conf_folder import CONF
from gradflow.config.hydra_bridge import call, end_in_one_line, register_schema


def train(config: RunConfig) -> Any:
    """Train one run, or print its forecast with dry_run=true; None or its result."""
    from gradflow.runs.execute import execute  # torch is imported where the work is done

    alone = HydraConfig.get().mode == RunMode.RUN
    if alone and config.dry_run:
        from gradflow.runs.forecast import forecast
        from gradflow.runs.planning import plan
        from gradflow.runs.precision import resolved

        print(forecast([plan(resolved(config))], workers=1))
        return None
    result = execute(config)
    if alone:
        outcome, again = result.status, ""
        if result.skipped:
            from gradflow.runs.status import ENDED  # pandas is imported if there are records

            again = " (had ended before; not done again)"
            if outcome not in ENDED:
                again = f" (left so: only={config.only})"
        if outcome == "finished":
            outcome += f", training error {result.final_train_error:.4f}"
        print(f"{outcome}{again}\n{result.folder}")
    return result


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="run")
def run(cfg: DictConfig) -> Any:
    """Hydra's entry: compose the config and train its run."""
    return call(train, cfg, RunConfig)


def main() -> None:
    """The command line."""
    register_schema()
    end_in_one_line(run)
