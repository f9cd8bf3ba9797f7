"""A running average of the weights, which scores better than the last ones where the learning rate is still high."""

import torch
from torch import Tensor, nn


class Average:
    """Exponential moving average of a network's parameters; early updates count more, so that the start is forgotten.

    "Mean teachers are better role models" (2017) for the ramp min(decay, (1 + t) / (10 + t)).
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self._decay = decay
        self.updates = 0
        self.values = {name: value.detach().clone() for name, value in net.named_parameters()}

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Moves towards the present weights."""
        self.updates += 1
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        for name, value in net.named_parameters():
            self.values[name].lerp_(value, 1 - decay)

    @torch.no_grad()
    def into(self, net: nn.Module) -> None:
        """Gives the network the averaged weights."""
        for name, value in net.named_parameters():
            value.copy_(self.values[name])

    def state(self) -> dict[str, int | dict[str, Tensor]]:
        """What `load` restores it from."""
        return {"updates": self.updates, "values": self.values}

    def load(self, state: dict[str, int | dict[str, Tensor]]) -> None:
        """Goes on from a kept state."""
        assert isinstance(state["updates"], int) and isinstance(state["values"], dict)
        self.updates = state["updates"]
        for name, value in state["values"].items():
            self.values[name].copy_(value)
