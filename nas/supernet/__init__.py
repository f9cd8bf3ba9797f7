"""The weight-sharing network: elastic blocks, the whole model, and extraction of its subnets."""

from nas.supernet.block import Share
from nas.supernet.cost import network_cost, network_profile
from nas.supernet.model import Subnet, Supernet, extract

__all__ = ["Share", "Subnet", "Supernet", "extract", "network_cost", "network_profile"]
