import random

import numpy as np
import pytest

from nas.predict import choose, fit_predictor
from nas.predict.gaussian import Gaussian, most_telling
from nas.profiling.parts import arch_parts, space_parts
from nas.space import sample
from tests.predict.tables import costed, row, table
from tests.spaces import DIGITS, TEXT, shipped

SPACE = shipped("digits_tiny")


def test_posterior_by_hand() -> None:
    # one weight around 1 with variance 4, seen as 3 with noise 1 x 3: the gain is 4 / (4 + 9)
    seen = Gaussian(np.ones(1), np.full((1, 1), 4.0)).observe(np.ones((1, 1)), np.array([3.0]), 1.0)
    assert seen.mean[0] == pytest.approx(1 + 2 * 4 / 13) and seen.cov[0, 0] == pytest.approx(4 - 16 / 13)


def test_left_out_errors_are_those_of_fits_without_the_row() -> None:
    draw = np.random.default_rng(0)
    table, times = draw.uniform(0, 2, (6, 3)), draw.uniform(1, 3, 6)
    start = Gaussian(np.ones(3), np.diag([1.0, 2.0, 3.0]))
    for i, error in enumerate(start.left_out(table, times, 0.1)):
        kept = np.arange(6) != i
        mean = start.observe(table[kept], times[kept], 0.1).mean
        assert error == pytest.approx(1 - table[i] @ mean / times[i])


def test_most_telling_rows_differ_and_speak_for_others() -> None:
    # three rows that move together, two that move together with less variance, one alone
    groups = np.array([0, 0, 0, 1, 1, 2])
    kernel = np.equal.outer(groups, groups) * np.array([1.0, 0.9, 0.5])[groups]
    first = [int(groups[i]) for i in most_telling(kernel, 0.01, 3)]
    assert first == [0, 1, 2] and sorted(most_telling(kernel, 0.01, 9)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", ["nothing", "parts", "nets", "both"])
def test_choice_needs_no_rows_and_repeats_itself(kind: str) -> None:
    rows = table(SPACE, costed(SPACE, DIGITS), nets=20, held_out=2, noise=0.02)
    kept = [r for r in rows if kind == "both" or r.kind == kind.rstrip("s")]
    rng = random.Random(3)
    candidates = [sample(SPACE, rng) for _ in range(50)]
    chosen = choose(kept, SPACE, DIGITS, candidates, 8)
    assert len(chosen) == len(set(chosen)) == 8 and set(chosen) <= set(candidates)
    assert chosen == choose(kept, SPACE, DIGITS, candidates, 8)
    assert choose(kept, SPACE, DIGITS, candidates, 0) == [] == choose(kept, SPACE, DIGITS, [], 8)


def test_chosen_nets_teach_more_than_random_ones() -> None:
    space, law = shipped("lm_tiny"), costed(shipped("lm_tiny"), TEXT)
    parts = [r for r in table(space, law, nets=0, held_out=0) if r.kind == "part"]
    gains = []
    for seed in range(6):
        rng = random.Random(seed)
        speed = {part.group: rng.uniform(1.0, 2.0) for part in space_parts(space)}
        pool = [sample(space, rng) for _ in range(120)]
        truth = {arch: sum(law(part) * speed[part.group] for part in arch_parts(arch)) for arch in pool}
        errors = []
        for nets in (choose(parts, space, TEXT, pool, 8), pool[:8]):
            rows = [row(arch.digest, truth[arch], split="fit", arch=arch) for arch in nets]
            predicted = fit_predictor([*parts, *rows], space, TEXT).predict(pool)
            errors.append(np.abs(predicted / [truth[arch] for arch in pool] - 1).mean())
        gains.append(errors[1] - errors[0])
    assert np.mean(gains) > 0
