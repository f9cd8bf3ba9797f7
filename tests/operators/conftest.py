from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from nas import operators
from nas.arch import OperatorArch
from nas.elastic import Projections
from nas.operators.contract import Context, Operator, Site


@dataclass(frozen=True, slots=True)
class Layer:
    """One operator at one site with projections of its size, in float64."""

    mixer: Operator[Any]
    projections: Projections
    knobs: Any
    context: Context

    def __call__(self, x: Tensor) -> Tensor:
        return self.mixer(x, self.projections, self.knobs, self.context)

    def reference(self, x: Tensor) -> Tensor:
        return self.mixer.reference(x, self.projections, self.knobs, self.context)

    def decode(self, x: Tensor) -> tuple[Tensor, Any]:
        state, outputs = None, []
        for token in x.split(1, dim=1):
            y, state = self.mixer.step(token, self.projections, self.knobs, self.context, state)
            outputs.append(y)
        return torch.cat(outputs, dim=1), state

    def parameters(self) -> list[Tensor]:
        return [*self.mixer.parameters(), *self.projections.parameters()]

    def gradients(self, x: Tensor, by_reference: bool = False) -> list[Tensor]:
        torch.manual_seed(1)
        x = x.clone().requires_grad_()
        y = self.reference(x) if by_reference else self(x)
        return list(torch.autograd.grad((y * torch.randn_like(y)).sum(), [x, *self.parameters()]))


def build_layer(name: str, site: Site, **knobs: int | float | str) -> Layer:
    parsed = operators.parse(OperatorArch.of(name, **knobs))
    mixer = operators.get(name)
    heads = int(knobs.get("num_heads", 1))
    projections = Projections(
        mixer.projections,
        site.embed_dim,
        num_heads=heads,
        num_kv_heads=int(knobs.get("num_kv_heads", heads)),
        head_dim=int(knobs.get("head_dim", 1)),
    )
    return Layer(mixer([parsed], site).double(), projections.double(), parsed, Context(site))


@pytest.fixture
def build() -> Callable[..., Layer]:
    return build_layer
