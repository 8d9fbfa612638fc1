"""Search for the best values of any config keys, such as each depth's own learning rate.

    gradflow tune network.depth=8,56 network.skip=false,true \\
        'optimizer.learning_rate=tag(log,interval(0.001,1))' search.trials=20

A list (8,56) is a grid: each of its combinations has a search of its own. A key with an
interval(), a range() or a choice() is searched. The same command resumes where it stopped.
"""

import sys

import hydra
from omegaconf import DictConfig

from gradflow.cli.train import train
from gradflow.config import RunConfig
from gradflow.config.conf_folder import CONF
from gradflow.config.hydra_bridge import call, end_in_one_line, register_schema


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="run")
def run(cfg: DictConfig) -> object:
    """Hydra's entry: train one trial of the search."""
    return call(train, cfg, RunConfig)


def main() -> None:
    """The command line."""
    words = sys.argv[1:]
    named = any(word.startswith(("study=", "study.name=")) for word in words)
    ours = ["-m", "hydra/sweeper=search", *([] if named else ["study.name=search"])]
    sys.argv[1:1] = [word for word in ours if word not in words]  # it may be a command kept before
    register_schema()
    end_in_one_line(run)
