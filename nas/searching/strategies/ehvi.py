"""Bayesian optimisation by the expected hypervolume improvement of Gaussian processes, with BoTorch's models.

"Differentiable Expected Hypervolume Improvement for Parallel Multi-Objective Bayesian Optimization" (2020) brought the
library; the candidates here are a pool of points, for which the closed form needs neither gradients nor samples.
"""

import itertools
import random
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr

from nas.errors import ConfigError, MissingDependencyError
from nas.searching.features import Features
from nas.searching.problem import Problem
from nas.searching.strategies.contract import Seen, Strategy, Told

STARTUP = 10
CAP = 200
"""Points that the processes are fitted to: half of them the best ranks, half drawn from the rest."""
POOL, SHORT = 512, 128
"""Candidates, and how many of them are judged anew after each choice."""
STEPS = 40
"""Steps of a process' fit."""
MOST = 4
MARGIN = 0.1
Array = NDArray[np.float64]


class Proposer(Strategy):
    """A Gaussian process per objective and per constraint; the best of a pool by what it is expected to add.

    Objectives and limits that are known beforehand are not modelled but known, and columns of the processes' input.
    The first `batch` of a round are chosen one after the other, each as if those before had come out as expected
    ("Kriging Is Well-Suited to Parallelize Optimization", 2010); the rest follow by their own value. A round costs
    about the same however much is known, because no more than `CAP` points are fitted.
    """

    name: ClassVar[str] = "ehvi"
    growth: ClassVar[float] = 1 / 32

    def __init__(
        self, problem: Problem, *, seed: int = 0, first: int = 24, batch: int = 4, start: Sequence[Any] = ()
    ) -> None:
        _load()
        if len(problem.objectives) > MOST:
            raise ConfigError(
                f"strategy ehvi takes up to {MOST} objectives, because its cost grows steeply with them; got "
                f"{len(problem.objectives)}: take nsga3, or make constraints of some"
            )
        super().__init__(problem, seed=seed, first=first, batch=batch, start=start)

    def stream(self, told: Sequence[Told], rng: random.Random) -> Iterator[Any]:
        """The pool in the order of its expected improvement."""
        seen = self._modelled(told, rng)
        if len(seen.told) < STARTUP:
            return
        pool = self._pool(seen, {result.point for result in told}, rng)
        yield from (pool[i] for i in _Belief(seen, pool).order(self.batch))

    def _modelled(self, told: Sequence[Told], rng: random.Random) -> Seen:
        names = [constraint.name for constraint in self.problem.constraints]
        seen = self.seen([result for result in told if all(name in result.values for name in names)])
        order = np.argsort(seen.ranks, kind="stable").tolist()
        best, others = order[: CAP // 2], order[CAP // 2 :]
        chosen = [*best, *rng.sample(others, min(CAP - CAP // 2, len(others)))]
        return Seen(self.problem, [seen.told[i] for i in sorted(chosen)])

    def _pool(self, seen: Seen, known: set[Any], rng: random.Random) -> list[Any]:
        space, share = self.problem.space, max(8, len(seen.told) // 4)
        best = [seen.points[i] for i in np.argsort(seen.ranks, kind="stable")[:share]]
        near = itertools.chain.from_iterable(
            itertools.islice(space.neighbours(rng.choice(best), rng), 1) for _ in range(POOL // 2)
        )
        mixed = (space.mutate(space.crossover(rng.choice(best), rng.choice(best), rng), rng) for _ in range(POOL // 4))
        drawn = itertools.islice(self.problem.draws(rng), POOL // 4)
        made = [*self.problem.keep([*near, *mixed]), *drawn]
        return [point for point in dict.fromkeys(made) if point not in known]


class _Belief:
    """Mean `[P, K]` and covariance `[K, P, P]` of the pool's outcomes: objectives, then unknown constraints.

    Outcomes are better the more, with mean 0 and deviation 1 over what was told.
    """

    def __init__(self, seen: Seen, pool: Sequence[Any]) -> None:
        problem = seen.problem
        self._seen, self._many = seen, len(problem.objectives)
        self._weak = [c for c in problem.constraints if c not in problem.limits]
        values = [result.values for result in seen.told]
        raw = np.array(
            [[*(-cost), *(_slack(c, v) for c in self._weak)] for cost, v in zip(seen.costs, values, strict=True)]
        )
        self._shift, self._scale = raw.mean(axis=0), np.maximum(raw.std(axis=0), 1e-12)
        columns = _columns(problem, [*seen.points, *pool])
        told, asked = columns[: len(values)], columns[len(values) :]
        self.mean = np.zeros((len(pool), raw.shape[1]))
        self.covariance = np.zeros((raw.shape[1], len(pool), len(pool)))
        known = problem.cheap(pool)
        for k, outcome in enumerate(((raw - self._shift) / self._scale).T):
            if k < self._many and (name := problem.objectives[k].name) in problem.known:
                sign = 1.0 if problem.objectives[k].direction == "maximise" else -1.0
                exact = np.array([sign * row[name] for row in known])
                self.mean[:, k] = (exact - self._shift[k]) / self._scale[k]
            else:
                self.mean[:, k], self.covariance[k] = _process(told, outcome, asked)

    def order(self, batch: int) -> Iterator[int]:
        """Indices of the pool, best first; chosen in view of each other up to `batch`."""
        front, corner = self._front()
        value = self._gain(np.arange(len(self.mean)), front, corner)
        order = [int(i) for i in np.argsort(-value, kind="stable")]
        short = order[:SHORT]
        chosen: list[int] = []
        while short and len(chosen) < batch:
            gains = self._gain(np.array(short), front, corner)
            chosen.append(short.pop(int(gains.argmax())))
            front = np.vstack([front, self.mean[chosen[-1], : self._many]])
            self._believe(chosen[-1])
        yield from chosen
        taken = set(chosen)
        yield from (i for i in order if i not in taken)

    def _believe(self, one: int) -> None:
        for covariance in self.covariance:
            if covariance[one, one] > 1e-12:
                covariance -= np.outer(covariance[:, one], covariance[one]) / covariance[one, one]

    def _front(self) -> tuple[Array, Array]:
        """Outcomes of what is feasible, and the corner of the volume: behind the worst seen, within the wished.

        Not behind the front's worst: a front that does not reach far yet would never grow beyond that.
        """
        costs = self._seen.costs
        corner = np.minimum(costs.max(axis=0) + MARGIN * np.ptp(costs, axis=0), self._seen.region[1])
        return self._outcomes(costs[self._seen.violations == 0]), self._outcomes(corner)

    def _outcomes(self, costs: Array) -> Array:
        outcomes: Array = (-costs - self._shift[: self._many]) / self._scale[: self._many]
        return outcomes

    def _gain(self, rows: NDArray[np.intp], front: Array, corner: Array) -> Array:
        """Logarithm of expected improvement times probability of being feasible `[rows]`."""
        mean = self.mean[rows]
        spread = np.sqrt(np.maximum(np.array([c[rows, rows] for c in self.covariance]).T, 1e-18))
        low, high = _cells(front, corner)
        gain = np.ones((len(rows), len(low)))
        for k in range(self._many):
            gain *= _above(mean[:, k], spread[:, k], low[:, k]) - _above(mean[:, k], spread[:, k], high[:, k])
        total: Array = np.log(np.maximum(gain.sum(axis=1), 1e-300))
        for k in range(self._many, mean.shape[1]):
            chance = ndtr((mean[:, k] + self._shift[k] / self._scale[k]) / spread[:, k])
            total += np.log(np.maximum(chance, 1e-300))
        return total


def _slack(constraint: Any, values: Any) -> float:
    sign = 1.0 if constraint.direction == "minimise" else -1.0
    return float(sign * (constraint.bound - values[constraint.name]))


def _above(mean: Array, spread: Array, bound: Array) -> Array:
    """`[P, C]`: how far a normal value is expected to be above a bound, counting 0 below."""
    distance = mean[:, None] - np.minimum(bound, 1e6)
    z = distance / spread[:, None]
    density = np.exp(-0.5 * np.minimum(z * z, 1e3)) / np.sqrt(2 * np.pi)
    above: Array = spread[:, None] * density + distance * ndtr(z)
    return above


def _cells(front: Array, corner: Array) -> tuple[Array, Array]:
    """Boxes `[C, D]` that make up what the front does not dominate, from the corner upwards."""
    from botorch.utils.multi_objective.box_decompositions import FastNondominatedPartitioning

    if len(corner) == 1:
        best = max(front.max(initial=-np.inf), float(corner[0]))
        return np.array([[best]]), np.array([[np.inf]])
    rows = torch.tensor(front[(front > corner).all(axis=1)]).reshape(-1, len(corner))
    boxes = FastNondominatedPartitioning(torch.tensor(corner), rows)
    low, high = boxes.get_hypercell_bounds().numpy()
    return low, high


def _columns(problem: Problem, points: Sequence[Any]) -> Array:
    """`[N, F]`: the points as numbers in 0..1."""
    columns = Features(problem)(points).near.values
    low, extent = columns.min(axis=0), np.ptp(columns, axis=0)
    scaled: Array = (columns - low) / np.where(extent > 0, extent, 1.0)
    return scaled


def _process(told: Array, outcome: Array, asked: Array) -> tuple[Array, Array]:
    """Mean `[P]` and covariance `[P, P]` of an outcome that is known at `told`."""
    from botorch import settings
    from botorch.exceptions.errors import ModelFittingError
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from gpytorch.mlls import ExactMarginalLogLikelihood

    with warnings.catch_warnings(), settings.validate_input_scaling(False):
        # jitter on a nearly singular matrix is an answer, not a defect, and so is a fit that ends early
        warnings.filterwarnings("ignore", module=r"(botorch|gpytorch|linear_operator)\.")
        process = SingleTaskGP(torch.tensor(told), torch.tensor(outcome)[:, None], outcome_transform=None)
        try:
            options = {"options": {"maxiter": STEPS}}
            fit_gpytorch_mll(ExactMarginalLogLikelihood(process.likelihood, process), optimizer_kwargs=options)
        except ModelFittingError:
            process.eval()  # its priors' parameters: better than no proposal
        with torch.no_grad():
            posterior: Any = process.posterior(torch.tensor(asked))
            return posterior.mean[:, 0].numpy(), posterior.distribution.covariance_matrix.numpy()


def _load() -> None:
    try:
        with warnings.catch_warnings():
            # linear_operator compiles a function at import in a way that torch calls deprecated
            warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=DeprecationWarning)
            import botorch  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "strategy ehvi needs the package botorch: pip install 'attention-nas[bayes]'"
        ) from error
