"""What the report says of the ranking: figures, tables, the page, and whether it is of the supernet that is there."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from nas import report
from nas.ranking.evidence import Net, evidence
from nas.report.ranking import agreement_cells, rival_cells, sentences, trust
from nas.report.read import read
from nas.report.sections import evidence as shown
from nas.run import Run
from nas.space import sample
from nas.train import weights_digest
from tests import spaces
from tests.report import synthetic
from tests.report.test_page import parsed

FAMILIES = ("softmax", "linear", "none")


def nets() -> list[tuple[Net, dict[str, Any]]]:
    import random

    rng, space, found = random.Random(3), spaces.shipped("lm_tiny"), []
    for i in range(12):
        arch, true = sample(space, rng), 3.2 - 0.02 * i
        net = Net(
            digest=arch.digest,
            family=FAMILIES[i % 3],
            size_bin=i // 6,
            inherited=1.1 * true + rng.gauss(0, 0.01),
            standalone=(true, true + 0.01),
            params=100_000.0 + 10_000 * i,
            flops=1e6,
            proxies={"synflow": float(i), "snip": 1.0},
        )
        found.append((net, arch.to_dict()))
    return found


def write(run: Run, **changed: Any) -> dict[str, Any]:
    run.file("supernet/weights.safetensors").write_text("weights")
    made = nets()
    largest = made[-1][0]
    plain = [{**asdict(net), "arch": arch, "is_ranked": net is not largest} for net, arch in made]
    found = evidence([net for net, _ in made[:-1]], largest, direction="minimise", resamples=200)
    asked = {"supernet": weights_digest(run), "recipe": "0" * 16, "seeds": [0, 1]}
    facts = {
        "metric": "bits_per_byte",
        "direction": "minimise",
        "steps": 400,
        "batch_size": 16,
        "nets": plain,
        "left_out": [{"digest": "x"}],
    }
    whole = {"format": 1, "asked": asked, **facts, **asdict(found), **changed}
    run.write_json("rank/evidence.json", whole)
    return whole


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = synthetic.full_run(tmp_path / "first")
    write(made)
    return made


def test_figures_are_those_of_the_evidence(run: Run) -> None:
    found, written = trust(read(run)), run.read_json("rank/evidence.json")
    assert found is not None and not found.is_stale and found.seeds == 2 and found.steps == 400
    first = found.nets[0]
    assert (first.inherited, first.low, first.high) == (written["nets"][0]["inherited"], 3.2, 3.21)
    assert first.alone == pytest.approx(3.205) and first.family == "softmax" and first.outline
    assert [net.is_ranked for net in found.nets] == [True] * 11 + [False]
    assert {net.size for net in found.nets} == {"100–150 k params", "160–200 k params"}
    assert found.nets[2].family == "no mixing"
    assert [row.name for row in found.agreements] == [
        "all",
        "100–150 k params",
        "160–200 k params",
        "linear",
        "no mixing",
        "softmax",
    ]
    assert [row.nets for row in found.agreements] == [11, 6, 5, 4, 3, 4]
    assert found.agreements[0].tau.value == written["overall"]["tau"]["value"]


def test_tables_and_words(run: Run) -> None:
    found = trust(read(run))
    assert found is not None
    cells = {row[0]: row[1:] for row in agreement_cells(found)}
    assert cells["no mixing"] == ["3", "–", "–"] and cells["all"][1].startswith("0.") and "[" in cells["all"][1]
    rivals = {row[0]: row[1:] for row in rival_cells(found)}
    assert list(rivals)[1:] == [
        "inherited scores",
        "training alone again",
        "parameters",
        "FLOPs",
        "synflow",
        "SNIP",
    ]
    assert rivals["training alone again"][0] == "1.00 [1.00, 1.00]" and rivals["FLOPs"] == ["–", "–", "–"]
    assert rivals["parameters"][2].startswith("-"), "parameters are ahead of these inherited scores"
    said = " ".join(sentences(found))
    gap = run.read_json("rank/evidence.json")["gap"]
    assert 9 < gap["median"] < 11 and f"are {gap['median'] / 100:.1%} worse than alone (median" in said
    assert gap["largest"] > 0 and f"; the largest's are {gap['largest'] / 100:.1%} worse." in said
    assert "Left out: 1 that" in said


def test_inherited_scores_that_are_better_are_said_to_be(run: Run) -> None:
    written = run.read_json("rank/evidence.json")
    run.write_json(
        "rank/evidence.json", {**written, "gap": {"median": -4.3, "low": -58.0, "high": 5.0, "largest": None}}
    )
    found = trust(read(run))
    assert found is not None
    said = " ".join(sentences(found))
    assert "are 4.3% better than alone (median; quartiles 58.0% better, 5.0% worse)." in said


def test_text_and_page_show_it(run: Run) -> None:
    text, html = report.text(run), report.write(run).read_text()
    assert report.ranking_text(run) in text and "training alone again" in text
    assert "Can the ranking be trusted?" in html and "for 400 steps in batches of 16;" in html
    assert "has changed since" not in html
    specs = json.loads(html.split('id="data">')[1].split("</script>")[0])["charts"]
    assert {f"chart-{name}" for name in specs} < set(parsed(html).ids)
    drawn = [row for rows in specs["ranking"]["datasets"].values() for row in rows if "digest" in row]
    assert {row["digest"] for row in drawn} == {net.digest for net, _ in nets()}
    assert specs["ranking"]["layer"][2]["encoding"]["shape"]["scale"]["domain"] == [
        "100–150 k params",
        "160–200 k params",
    ]


def test_evidence_of_another_supernet_is_not_shown_as_current(run: Run) -> None:
    run.file("supernet/weights.safetensors").write_text("others")
    html, text = shown.ranking(read(run)).html, report.ranking_text(run)
    for said in (html, text):
        assert said.count("The supernet has changed since") == 1 and "trains nothing twice" in said
    (run.path / "supernet/weights.safetensors").unlink()
    assert "has changed since" not in report.ranking_text(run), "without weights nobody knows"


def test_a_run_without_it_says_what_to_run(tmp_path: Path) -> None:
    run = Run.at(tmp_path)
    assert trust(read(run)) is None and report.ranking_text(run) == ""
    assert "Not tested yet: run <code>nas rank</code>" in shown.ranking(read(run)).html


@pytest.mark.parametrize(
    "changed",
    [
        {"nets": [{"digest": synthetic.HOSTILE, "family": synthetic.HOSTILE, "inherited": 1, "standalone": [1, "x"]}]},
        {"nets": [{"arch": 3, "inherited": True}, 7], "asked": {"seeds": 3}, "rivals": 3, "gap": [], "noise": None},
        {"nets": None, "overall": {"tau": "x"}, "families": [{"name": ["x"], "nets": "x"}, None], "left_out": 4},
        {"metric": synthetic.HOSTILE, "rivals": [{"name": synthetic.HOSTILE}], "bins": [{"name": synthetic.HOSTILE}]},
    ],
)
def test_what_comes_from_the_file_is_not_trusted(run: Run, changed: dict[str, Any]) -> None:
    write(run, **changed)
    found = parsed(shown.ranking(read(run)).html)
    assert not {"script", "img"} & set(found.tags) and not found.handlers
    assert report.ranking_text(run)
