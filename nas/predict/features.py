"""Closed-form numbers of a part: what its time may depend on when it was not measured itself."""

from dataclasses import dataclass

import numpy as np

from nas import gates, operators
from nas.operators.contract import Cost, Site
from nas.predict.contract import Array
from nas.profiling.parts import Part
from nas.shapes import TaskShape
from nas.space import SearchSpace
from nas.supernet.ffn import ffn_cost
from nas.supernet.layout import block_site, sites
from nas.supernet.stem import transition_cost


@dataclass(frozen=True, slots=True)
class PartFeatures:
    """Features of the parts of one space on one task."""

    stages: tuple[Site, ...]
    batch: float = 1.0
    """Batch size over that of the table that laws were fitted to."""

    @classmethod
    def of(cls, space: SearchSpace, shape: TaskShape, batch: float = 1.0) -> "PartFeatures":
        """Features at the sites of this space."""
        return cls(sites(space.frame, shape), batch)

    def common(self, part: Part) -> Array:
        """`[6]`: one, flops, parameters, visited pairs, activations and heads; comparable across kinds of part."""
        site = self._site(part)
        cost = self._cost(part, site)
        heads = float(dict(part.operator.knobs).get("num_heads", 1))
        flops, pairs, width = self.batch * np.array([cost.flops, cost.pairs * heads, site.tokens * site.embed_dim])
        return np.array([1.0, flops / 1e6, cost.params / 1e3, pairs / 1e4, width / 1e4, heads])

    def growth(self, before: "PartFeatures", part: Part) -> float:
        """Mean ratio of the part's flops, pairs and activations here to those before; 1 for a part without any."""
        now, then = self.common(part)[[1, 3, 4]], before.common(part)[[1, 3, 4]]
        return float((now[then > 0] / then[then > 0]).mean()) if (then > 0).any() else 1.0

    def own(self, part: Part) -> dict[str, float]:
        """The part's own knobs, numbers as they are, words as a flag and a flag times its activations."""
        heads = float(dict(part.operator.knobs).get("num_heads", 1))
        width = self.batch * self._site(part).tokens * heads / 1e3
        found: dict[str, float] = {}
        for knob, value in (*part.operator.knobs, ("kind", part.ffn.kind), ("gate", part.gate)):
            if isinstance(value, str):
                found[f"{knob}={value}"], found[f"{knob}={value}*"] = 1.0, width
            else:
                found[knob] = float(value)
        return found

    def _site(self, part: Part) -> Site:
        return block_site(self.stages[part.stage], part.embed_dim, 0)

    def _cost(self, part: Part, site: Site) -> Cost:
        if part.kind == "mixer":
            return operators.get(part.operator.name).cost(operators.parse(part.operator), site)
        if part.kind == "gate":
            return gates.get(part.gate).cost(site)
        if part.kind == "ffn":
            return ffn_cost(part.ffn, site)
        if part.kind == "transition":
            before = block_site(self.stages[part.stage - 1], part.embed_dim, 0)
            return transition_cost(before, block_site(site, part.to_dim, 0))
        return Cost(params=site.embed_dim, flops=site.embed_dim * site.tokens)
