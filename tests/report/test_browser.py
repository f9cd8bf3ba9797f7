"""What a reader does with the page, in a browser, and what it answers, against the same figures in numpy."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas import report
from nas.arch import Arch
from nas.report.explorer import explorer
from nas.report.packed import unpack
from nas.report.read import Record, read
from nas.run import Run
from tests.report import synthetic
from tests.report.conftest import Open

FILLED = 2  # charts on canvas: the scatter and the parallel coordinates


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write(synthetic.full_run(tmp_path_factory.mktemp("runs") / "first"))


@pytest.fixture(scope="module")
def record(path: Path) -> Record:
    return read(Run.at(path.parent))


@pytest.fixture(scope="module")
def columns(record: Record) -> dict[str, Any]:
    data = explorer(record)
    assert data is not None
    found = {one["key"]: one for one in data["quantities"] if "at" not in one}
    values = {key: unpack(one["values"]) for key, one in found.items()}
    return {**data, "values": values, "family": unpack(data["family"])}


def counts(page: Any) -> dict[str, int]:
    page.wait_for_timeout(60)
    found = page.locator("#counts").evaluate("(place) => ({ ...place.dataset })")
    return {name: int(value) for name, value in found.items()}


def slide(page: Any, key: str, position: int) -> float:
    """Moves a budget slider, and gives the limit that it stands for."""
    move = "(slider, at) => { slider.value = at; slider.dispatchEvent(new Event('input')); }"
    page.locator(f"#limit-{key}").evaluate(move, position)
    page.wait_for_timeout(60)
    return float(page.locator(f"#limit-{key}").get_attribute("data-value"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["full", "hostile", "empty"])
def test_a_page_is_drawn_without_a_complaint(kind: str, scheme: str, opened: Open, tmp_path: Path) -> None:
    makers = {"full": synthetic.full_run, "hostile": synthetic.hostile_run, "empty": Run.at}
    path = report.write(makers[kind](tmp_path / "one"))
    page = opened(path, color_scheme=scheme)
    assert page.get_attribute("body", "data-ready") == "yes"
    assert "taken" not in page.title()
    assert page.locator("img").count() == 0
    names = page.locator(".chart").evaluate_all("(places) => places.map((p) => p.childElementCount > 0)")
    assert all(names) and (len(names) > FILLED) == (kind != "empty")


def test_what_has_nothing_to_show_yet_comes_last(opened: Open, tmp_path: Path) -> None:
    run = Run.at(tmp_path / "one")
    synthetic.fill_training(run)
    look = "(all) => all.map((one) => [one.getBoundingClientRect().top, one.querySelector('.chart') === null, one.id])"
    places = sorted(opened(report.write(run)).locator("main > section").evaluate_all(look))
    are_empty = [empty for _, empty, _ in places]
    assert places[0][2] == "training" and are_empty == sorted(are_empty) and are_empty[-1]


def test_budgets_families_and_words_leave_what_numpy_leaves(path: Path, columns: dict[str, Any], opened: Open) -> None:
    page, values = opened(path), columns["values"]
    assert counts(page)["all"] == counts(page)["within"] == columns["count"]
    limit = slide(page, "params", 500)
    kept = values["params"] <= np.float32(limit)
    assert counts(page)["within"] == kept.sum() and 0 < kept.sum() < len(kept)
    kept &= values["latency_ms"] <= np.float32(slide(page, "latency_ms", 700))
    assert counts(page)["within"] == kept.sum()
    page.locator('.family[data-family="0"]').click()
    kept &= columns["family"] != 0
    assert counts(page)["within"] == kept.sum()
    page.locator("#do-reset").click()
    assert counts(page)["within"] == columns["count"]
    page.locator("#find").fill("decayed")
    page.wait_for_timeout(250)
    having = [i for i, block in enumerate(columns["blocks"]) if "decayed" in block["text"]]
    tokens, offsets = unpack(columns["tokens"]), unpack(columns["offsets"])
    wanted = sum(bool(np.isin(tokens[a:b], having).any()) for a, b in zip(offsets[:-1], offsets[1:], strict=True))
    assert counts(page)["within"] == wanted > 0


def test_a_brush_keeps_what_lies_inside(path: Path, columns: dict[str, Any], opened: Open) -> None:
    page = opened(path)
    box = page.locator("#chart-explorer canvas").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.15 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"], steps=4)
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.8 * box["height"], steps=4)
    page.mouse.up()
    page.wait_for_timeout(300)
    x0, x1, y0, y1 = map(float, page.evaluate("new URLSearchParams(location.hash.slice(1)).get('brush')").split(","))
    xs, ys = columns["values"]["latency_ms"], columns["values"]["quality"]
    inside = (xs >= x0) & (xs <= x1) & (ys >= y0) & (ys <= y1)
    assert counts(page)["brushed"] == inside.sum() > 0
    page.keyboard.press("Escape")
    assert counts(page)["brushed"] == columns["count"]


def test_keys_choose_compare_and_let_go(path: Path, record: Record, opened: Open) -> None:
    page = opened(path)
    page.locator("#plot").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    digest = page.locator("#panel h3 code").inner_text()
    known = {point.arch.digest for point in (*record.evaluated, *record.random)}
    assert digest in known and page.locator("#panel .cell").count() > 0
    page.keyboard.press("End")
    page.keyboard.press("c")
    first, second = (name[2:] for name in page.locator("#panel h3 code").all_inner_texts())
    assert first == digest != second and second in known
    assert page.locator("#changes li").count() > 0
    page.keyboard.press("Escape")
    assert page.locator("#panel h3 code").all_inner_texts() == [digest]
    page.keyboard.press("Escape")
    assert page.locator("#panel").is_hidden()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "find"


def test_a_link_shows_another_reader_the_same(path: Path, record: Record, opened: Open) -> None:
    one, other = (point.arch.digest for point in record.front[:2])
    page = opened(path, f"#x=params&max.latency_ms=3&off=linear&find=ffn&arch={one}&with={other}")
    assert page.locator("#pick-x").input_value() == "params"
    assert page.locator("#limit-latency_ms").get_attribute("data-value") == "3"
    assert page.locator(".family", has_text="linear").get_attribute("aria-pressed") == "false"
    assert page.locator("#panel h3 code").all_inner_texts() == [f"A {one}", f"B {other}"]
    assert page.locator("#find").input_value() == "ffn"
    odd = opened(path, "#x=nothing&max.params=x&arch=zz&brush=1,2&off=%3Cscript%3E")
    assert odd.locator("#pick-x").input_value() == "latency_ms" and odd.locator("#panel").is_hidden()


def test_files_hold_what_is_seen(path: Path, record: Record, opened: Open) -> None:
    point = record.front[0]
    page = opened(path, f"#arch={point.arch.digest}&max.params=9000")
    within = counts(page)["within"]
    with page.expect_download() as saved:
        page.locator("#save-json").click()
    found = json.loads(Path(saved.value.path()).read_text())
    assert Arch.from_dict(found["arch"]) == point.arch
    assert found["values"]["params"] == point.values["params"]
    with page.expect_download() as saved:
        page.locator("#do-csv").click()
    lines = Path(saved.value.path()).read_text().splitlines()
    assert len(lines) == 1 + within and lines[0].startswith("arch,source,measured,family,latency_ms")
    for kind, start in (("SVG", b"<svg"), ("PNG", b"\x89PNG")):
        for name in ("explorer", "costs"):
            with page.expect_download() as saved:
                page.locator(f"button[aria-label='save chart {name} as {kind}']").click()
            assert Path(saved.value.path()).read_bytes().startswith(start)


def test_commands_name_the_run_and_the_arch(path: Path, record: Record, opened: Open) -> None:
    digest = record.front[0].arch.digest
    page = opened(path, f"#arch={digest}")
    said = page.locator("[data-command]").all_inner_texts()
    assert said == [f"nas {stage} run.dir=runs/first 'retrain.archs=[\"{digest}\"]'" for stage in ("retrain", "export")]


def test_other_objectives_have_their_own_front(path: Path, columns: dict[str, Any], opened: Open) -> None:
    page = opened(path)
    page.locator("#pick-x").select_option("params")
    page.wait_for_timeout(300)
    xs, ys = columns["values"]["params"], columns["values"]["quality"]
    order = np.lexsort((ys, xs))
    best, size = np.inf, 0
    for i in order:
        if ys[i] < best:
            best, size = ys[i], size + 1
    assert counts(page)["front"] == size


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_can_be_read_by_everybody(path: Path, record: Record, scheme: str, width: int, opened: Open) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    size = {"width": width, "height": 900}
    page = opened(path, f"#arch={record.front[0].arch.digest}", viewport=size, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.context.set_offline(False)
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
