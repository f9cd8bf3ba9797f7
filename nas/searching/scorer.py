"""Scoring an arch with inherited weights on validation data, without computing again what earlier archs computed."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nas.arch import Arch
from nas.data import Dataset, Examples
from nas.searching.kept import Kept
from nas.searching.objectives import STANDALONE, Values
from nas.shapes import ImageShape, TaskShape
from nas.supernet import Supernet, evaluating
from nas.supernet.prefix import State, Step, Walk
from nas.tasks import LOSS, Task, summed_nats

CACHE_BYTES = 512 * 2**20
PREPARED_SHARE = 8
"""One part in so many of these bytes is for prepared examples."""
SHORT = 2
"""Steps of a prefix that is kept when it first comes."""
Expect = Callable[[Arch, Values], float]
"""An arch and its inherited scores -> the metric that it is expected to reach alone."""
Span = tuple[int, int]
"""First example of a batch, and the one after its last."""
Tally = tuple[float, int, float]
"""What the metric adds up, positions, and nats, which are 0 where nobody asks for the loss."""
IMAGES, SEQUENCES, TOKENS = 1_024, 48, 24_576


@dataclass(frozen=True)
class SupernetScorer:
    """The task's metric of a subnet on the first `limit` validation examples; all of them if `limit` is None.

    It equals that of `nas.train.evaluate` bit for bit: archs that begin with the same blocks differ in what they
    compute after them, so activations are kept, in `cache_bytes` of memory per process, prepared examples
    included. A scorer is pickled without them.
    """

    net: Supernet
    task: Task
    val: Examples
    batch_size: int = 128
    limit: int | None = None
    cache_bytes: int = CACHE_BYTES
    with_loss: bool = False
    expect: Expect | None = None

    @classmethod
    def of(
        cls,
        net: Supernet,
        task: Task,
        data: Dataset,
        *,
        batch_size: int = 128,
        limit: int | None = None,
        cache_bytes: int = CACHE_BYTES,
        with_loss: bool = False,
    ) -> "SupernetScorer":
        """A scorer that holds nothing of the data but its validation split."""
        return cls(net.eval().requires_grad_(False), task, data.val, batch_size, limit, cache_bytes, with_loss)

    def expecting(self, expect: Expect) -> "SupernetScorer":
        """This scorer, telling as well what an arch is expected to reach alone."""
        return replace(self, with_loss=True, expect=expect)

    def __call__(self, arch: Arch, fidelity: float = 1.0) -> Values:
        """The metric under its name, and the loss if asked for, of the first examples alone if their share `fidelity`
        is below 1."""
        torch.set_num_threads(1)
        value, loss = self.desk.score(arch, self._spans(fidelity), is_whole=fidelity == 1.0)
        values = {self.task.metric.name: value, **({LOSS: loss} if self.with_loss else {})}
        return values if self.expect is None else {**values, STANDALONE: self.expect(arch, values)}

    def order(self, archs: Sequence[Arch]) -> list[Arch]:
        """The archs with those next to each other that begin alike, whatever order they come in."""
        return sorted(archs, key=_parts)

    @cached_property
    def desk(self) -> "Desk":
        """What this process keeps between calls."""
        return Desk(self.net, self.task, self.val, self.cache_bytes, with_loss=self.with_loss)

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name != "desk"}
        return {**state, "val": self.val.take(torch.arange(self._count))}

    @property
    def _count(self) -> int:
        return min(self.limit or len(self.val), len(self.val))

    def _spans(self, fidelity: float) -> list[Span]:
        if not 0 < fidelity <= 1:
            raise ValueError(f"fidelity is a share of the examples above 0 and up to 1, got {fidelity}: change it")
        count = math.ceil(fidelity * self._count)
        return [(start, min(start + self.batch_size, count)) for start in range(0, count, self.batch_size)]


def enough(shape: TaskShape) -> int:
    """Validation examples on which subnets can be told apart: an image is one prediction, a sequence many."""
    return IMAGES if isinstance(shape, ImageShape) else max(SEQUENCES, TOKENS // shape.tokens)


class Batch(NamedTuple):
    """Network inputs and targets, ready."""

    inputs: Tensor
    targets: Tensor

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Both."""
        return tuple(self)


class Desk:
    """A network, examples, and what was computed from them; starts anew when the network's weights change in place.

    Kept are the states after prefixes that came more than once, and after short ones. More would not pay: a state that
    nobody asks for costs memory traffic, which is a good part of what computing it costs.
    """

    def __init__(
        self, net: Supernet, task: Task, examples: Examples, cache_bytes: int, *, with_loss: bool = False
    ) -> None:
        self._task, self._examples, self._walk, self._with_loss = task, examples, Walk(net), with_loss
        self.batches: Kept[Batch] = Kept(cache_bytes // PREPARED_SHARE)
        self.states: Kept[State] = Kept(cache_bytes - self.batches.budget)
        self.hits = self.steps = 0
        """Steps that need not be computed, of how many."""
        self._visits: Counter[int] = Counter()
        self._tallies: dict[str, dict[Span, Tally]] = {}
        self._weights = (*net.parameters(), *net.buffers())
        self._versions = self._seen()

    def score(self, arch: Arch, spans: Sequence[Span], *, is_whole: bool) -> tuple[float, float]:
        """The metric and the loss over the batches; tallies of a part are kept until the whole has been scored."""
        self._refresh()
        steps, known = self._walk.steps(arch), self._tallies.pop(arch.digest, {})
        worths = self._worths(steps)
        total, seen, nats = 0.0, 0, 0.0
        with evaluating(self._walk.net), torch.inference_mode():
            for span in spans:
                known[span] = amount, weight, own = known.get(span) or self._tally(steps, worths, span)
                total, seen, nats = total + amount, seen + weight, nats + own
        if not is_whole:
            self._tallies[arch.digest] = known
        return self._task.finish(total, seen), nats / seen if seen else math.nan

    def _worths(self, steps: Sequence[Step]) -> list[float]:
        """What the states after the steps are worth to keep: more if met often, and if short; 0 if not at all."""
        prefixes = [step.prefix for step in steps]
        self._visits.update(prefixes)
        counts = [self._visits[prefix] for prefix in prefixes]
        return [count / depth if count > 1 or depth <= SHORT else 0.0 for depth, count in enumerate(counts, 1)]

    def _tally(self, steps: Sequence[Step], worths: Sequence[float], span: Span) -> Tally:
        batch = self._batch(span)
        done, state = 0, State(batch.inputs)
        for depth, (step, worth) in enumerate(zip(steps, worths, strict=True), 1):
            if (kept := self.states.get((span, step.prefix), worth)) is not None:
                done, state = depth, kept
        self.hits, self.steps = self.hits + done, self.steps + len(steps)
        for step, worth in zip(steps[done:], worths[done:], strict=True):
            state = step.run(state)
            if worth:
                self.states.add((span, step.prefix), worth, state)
        logits = self._walk.net.head(state.x)
        nats = summed_nats(logits, batch.targets) if self._with_loss else 0.0
        return (*self._task.tally(logits, batch.targets), nats)

    def _batch(self, span: Span) -> Batch:
        batch = self.batches.get(span, 1.0)
        if batch is None:
            batch = Batch(*self._task.prepare(self._examples, torch.arange(*span), torch.device("cpu")))
            self.batches.add(span, 1.0, batch)
        return batch

    def _refresh(self) -> None:
        if (versions := self._seen()) != self._versions:
            self.states.clear()
            self._tallies.clear()
            self._versions = versions

    @property
    def used(self) -> int:
        """Bytes of all that is kept."""
        return self.batches.used + self.states.used

    def _seen(self) -> list[int]:
        return [weight._version for weight in self._weights]


def _parts(arch: Arch) -> list[tuple[int, list[tuple[str, str, str]]]]:
    return [(s.embed_dim, [(repr(b.operator), b.gate, repr(b.ffn)) for b in s.blocks]) for s in arch.stages]
