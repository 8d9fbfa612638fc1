"""Print a network's layers, shapes, parameters and multiply-accumulates.

gradflow describe network=cifar_resnet network.depth=56
gradflow describe network=imagenet_resnet network.depth=50 'image_shape=[3,224,224]'
"""

import hydra
from omegaconf import DictConfig

from gradflow.config.conf_folder import CONF
from gradflow.config.data import TOKENS
from gradflow.config.hydra_bridge import call, end_in_one_line, register_schema
from gradflow.config.run import DescribeConfig
from gradflow.data.sets.text import TextConfig


def show(config: DescribeConfig) -> None:
    """Print one row per layer, then the network's parameters and multiply-accumulates."""
    from gradflow.networks import count_macs, count_parameters, make_network
    from gradflow.networks.describe import describe

    shape = config.image_shape or _usual_shape(config)
    network = make_network(config.network, shape, config.outputs, seed=0)
    print(describe(network, shape).to_string(index=False))
    print(f"{count_parameters(network):,} parameters, {count_macs(network, shape):,} MACs")


def _usual_shape(config: DescribeConfig) -> tuple[int, int, int]:
    return (1, 1, TextConfig().context) if config.network.TAKES == (TOKENS,) else (3, 32, 32)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="describe")
def run(cfg: DictConfig) -> None:
    """Hydra's entry: compose the config and describe its network."""
    call(show, cfg, DescribeConfig)


def main() -> None:
    """The command line."""
    register_schema()
    end_in_one_line(run, sweeps=False)
