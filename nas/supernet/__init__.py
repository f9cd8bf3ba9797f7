"""The weight-sharing network: elastic blocks, the whole model, and extraction of its subnets."""

from nas.supernet.block import OWN, Scales, Share, Sharing
from nas.supernet.cost import network_cost, network_profile
from nas.supernet.model import Subnet, Supernet, evaluating, extract
from nas.supernet.stem import example_inputs

__all__ = [
    "OWN",
    "Scales",
    "Share",
    "Sharing",
    "Subnet",
    "Supernet",
    "evaluating",
    "example_inputs",
    "extract",
    "network_cost",
    "network_profile",
]
