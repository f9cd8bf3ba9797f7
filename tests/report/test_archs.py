import random
from pathlib import Path

import numpy as np
import pytest

from nas.report.archs import _shift, archs_of, decoded
from nas.report.explorer import explorer
from nas.report.packed import pack, pack_whole, unpack
from nas.report.read import read
from nas.run import Run
from tests.report import synthetic


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return synthetic.full_run(tmp_path_factory.mktemp("runs") / "first")


def test_every_arch_is_there_once_and_can_be_read_back(run: Run) -> None:
    record = read(run)
    found = archs_of(record)
    known = {point.arch.digest: point.arch for point in (*record.random, *record.evaluated, *record.front)}
    assert set(found.digests) == set(known) and len(found.digests) == len(known)
    for i, digest in enumerate(found.digests):
        assert decoded(found, i) == known[digest]


def test_measured_numbers_come_before_predicted_ones(run: Run) -> None:
    record = read(run)
    found, row = archs_of(record), {digest: i for i, digest in enumerate(archs_of(record).digests)}
    latency, predicted = found.quantity("latency_ms"), found.quantity("predicted_ms")
    assert latency is not None and predicted is not None
    for point in record.front:
        i, middle, spread = row[point.arch.digest], *(point.measured[k] for k in ("latency_ms", "latency_spread_ms"))
        assert latency.values[i] == np.float32(middle)
        assert latency.spread[i] == pytest.approx((middle - spread / 2, middle + spread / 2))
        assert predicted.values[i] == np.float32(point.values["latency_ms"])
    assert [found.digests[i] for i in found.measured] == [p.arch.digest for p in record.front]
    others = sorted(set(range(len(row))) - set(found.measured.tolist()))
    assert np.array_equal(latency.values[others], predicted.values[others])


def test_scores_on_part_of_val_are_brought_to_the_level_of_all_of_it(run: Run) -> None:
    """The part may be easier than the rest, which must not put measured archs behind the others."""
    record = read(run)
    found, row = archs_of(record), {digest: i for i, digest in enumerate(archs_of(record).digests)}
    quality, part = found.quantity("quality"), found.quantity("part")
    assert quality is not None and part is not None
    whole = {row[point.arch.digest]: point.measured["bits_per_byte"] for point in record.front}
    shift = np.mean([value - part.values[i] for i, value in whole.items()])
    assert shift != 0
    wanted = np.array([whole.get(i, part.values[i] + shift) for i in range(len(row))])
    np.testing.assert_allclose(quality.values, wanted, atol=1e-6)
    harder = _shift(part.values, {i: part.values[i] + 0.5 for i in (0, 3)})
    assert harder == pytest.approx(0.5) and _shift(part.values, {}) == 0


def test_what_training_is_expected_to_give_is_a_quantity_of_searches_that_went_by_it(run: Run) -> None:
    assert archs_of(read(run)).quantity("standalone") is None
    log = run.path / "search/main/archive.jsonl"
    rows = run.log("search/main/archive.jsonl").rows()
    log.unlink()
    for i, row in enumerate(rows):
        run.log("search/main/archive.jsonl").append({**row, "values": {**row["values"], "standalone": 1 + i / 100}})
    front = run.read_json("search/main/front.json")
    front[0]["measured"]["standalone"] = 0.5
    run.write_json("search/main/front.json", front)
    found = archs_of(read(run))
    expected = found.quantity("standalone")
    assert expected is not None and expected.better == "less" and "expected alone" in expected.title
    row = {digest: i for i, digest in enumerate(found.digests)}
    assert expected.values[row[front[0]["digest"]]] == 0.5, "on all of val"
    first = next(row for row in rows if row["digest"] != front[0]["digest"] and not row.get("error"))
    assert expected.values[row[first["digest"]]] == np.float32(1 + rows.index(first) / 100)


def test_an_empty_run_has_nothing_to_explore(tmp_path: Path) -> None:
    assert explorer(read(Run.at(tmp_path))) is None


@pytest.mark.parametrize("count", [0, 1, 255, 256, 70_000])
def test_columns_survive_the_page(count: int) -> None:
    rng = np.random.default_rng(count)
    floats = rng.standard_normal(count).astype(np.float32)
    floats[: count // 3] = np.nan
    assert np.array_equal(unpack(pack(floats, "f4")), floats, equal_nan=True)
    whole = np.arange(count, dtype=np.uint32)
    random.Random(0).shuffle(whole)
    assert np.array_equal(unpack(pack_whole(whole)), whole)


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="hold every value exactly, got up to 256"):
        pack(np.array([256]), "u1")
