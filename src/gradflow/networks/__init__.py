"""Networks as twins: plain and residual differ in one expression."""

from gradflow.networks.describe import count_macs, count_parameters, describe
from gradflow.networks.families import build_network, make_network
from gradflow.networks.network import Network

__all__ = [
    "Network",
    "build_network",
    "count_macs",
    "count_parameters",
    "describe",
    "make_network",
]
