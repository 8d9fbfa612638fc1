"""Search for the best values of any config keys, such as each depth's own learning rate.

    python experiments/tune.py network.depth=8,56 network.skip=false,true \\
        'optimizer.learning_rate=tag(log,interval(0.001,1))' search.trials=20

A list (8,56) is a grid: each of its combinations has a search of its own. A key with an
interval(), a range() or a choice() is searched. The same command resumes where it stopped.
"""

if __name__ == "__main__":  # before the imports, which take a second
    from gradflow.core.interrupts import leave_at_once

    leave_at_once()

import sys

import hydra
from omegaconf import DictConfig

from experiments.train import train
from gradflow.config import RunConfig
from gradflow.config.hydra_bridge import call, main, register_schema

register_schema()


@hydra.main(version_base="1.3", config_path="../conf", config_name="run")
def run(cfg: DictConfig) -> object:
    """Hydra's entry: train one trial of the search."""
    return call(train, cfg, RunConfig)


if __name__ == "__main__":
    named = any(argument.startswith(("study=", "study.name=")) for argument in sys.argv)
    sys.argv[1:1] = ["-m", "hydra/sweeper=search", *([] if named else ["study.name=search"])]
    main(run)
