"""How large is the page, and how soon can it be used? Synthetic runs in headless Chromium, as mailed: no network.

    python -m analysis.studies.page_speed [--archs 1000 100000] [--repeats 5] [--keep FOLDER]

Per run: size of the HTML and seconds to make it; then, over fresh browser contexts, medians of the time from navigation
to the first paint and to everything being drawn, and medians of a budget slider's and a brush's longest frame of
twenty. `--keep` leaves the pages in FOLDER.
"""

import argparse
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from nas import report
from nas.arch import Arch
from nas.resources import ROOT
from nas.run import Run
from nas.shapes import TokenShape
from nas.space import SearchSpace, load_space, sample
from nas.supernet import network_cost

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FRAMES = 20
SHAPE = TokenShape(vocab=256, tokens=128, classes=256)
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
FRAME = "const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));"
SLIDE = f"""async () => {{
  {FRAME}
  const [slider, times] = [document.querySelector('#limit-params'), []];
  for (let i = 0; i < {FRAMES}; i++) {{
    const start = performance.now();
    slider.value = 1000 - 30 * i;
    slider.dispatchEvent(new Event('input'));
    await frame();
    times.push(performance.now() - start);
  }}
  return Math.max(...times);
}}"""
BRUSH = f"""async () => {{
  {FRAME}
  const [plot, times] = [document.querySelector('#plot'), []];
  const box = plot.querySelector('canvas').getBoundingClientRect();
  const send = (kind, share) => plot.dispatchEvent(new PointerEvent(kind, {{
    clientX: box.x + share * box.width, clientY: box.y + share * box.height, pointerType: 'pen', pointerId: 1,
  }}));
  plot.setPointerCapture = () => {{}};
  send('pointerdown', 0.2);
  for (let i = 0; i < {FRAMES}; i++) {{
    const start = performance.now();
    send('pointermove', 0.25 + 0.025 * i);
    await frame();
    times.push(performance.now() - start);
  }}
  send('pointerup', 0.75);
  return Math.max(...times);
}}"""


def archs_of(space: SearchSpace, count: int, rng: random.Random) -> Iterator[Arch]:
    """So many different archs."""
    seen: set[str] = set()
    while len(seen) < count:
        arch = sample(space, rng)
        if arch.digest not in seen:
            seen.add(arch.digest)
            yield arch


def made(folder: Path, count: int) -> Run:
    """A finished search with so many evaluations whose numbers follow from the archs."""
    run, rng = Run.at(folder), random.Random(0)
    space = load_space(yaml.safe_load((ROOT / "search_spaces/lm_tiny.yaml").read_text()))
    lines = []
    for arch in archs_of(space, count, rng):
        cost = network_cost(space.frame, SHAPE, arch)
        values = {name: float(getattr(cost, name)) for name in ("params", "flops", "kv_cache_bytes")}
        values["latency_ms"] = cost.flops / 1e6 * rng.uniform(0.7, 1.3)
        values["bits_per_byte"] = 4.0 - 0.1 * cost.flops**0.1 + rng.gauss(0, 0.05)
        lines.append({"arch": arch.to_dict(), "digest": arch.digest, "values": values, "origin": "x", "seconds": 0.1})
    with run.log("search/main/archive.jsonl").locked() as log:
        log.write(lines)
    front = sorted(lines, key=lambda row: row["values"]["latency_ms"])[:: max(1, count // 12)][:12]
    for row in front:
        measured = {"latency_ms": row["values"]["latency_ms"], "latency_spread_ms": 0.1, "bits_per_byte": 3.0}
        row |= {"measured": measured | {"quality_val": 3.0}, "is_front": True}
    run.write_json("search/main/front.json", front)
    return run


def timed(browser: Any, path: Path) -> tuple[float, float, float, float]:
    """First paint, everything drawn, longest frame of a slider and of a brush, in milliseconds."""
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready=yes]", timeout=120_000)
    drawn = page.evaluate("performance.getEntriesByName('ready')[0].startTime")
    found = (float(page.evaluate(PAINT)), float(drawn), float(page.evaluate(SLIDE)), float(page.evaluate(BRUSH)))
    context.close()
    return found


def measured(browser: Any, run: Run, repeats: int) -> str:
    """A row of the table."""
    start = time.perf_counter()
    path = report.write(run)
    seconds = time.perf_counter() - start
    rows = [timed(browser, path) for _ in range(repeats)]
    cells = [f"{statistics.median(column):,.0f}" for column in zip(*rows, strict=True)]
    return f"| {run.path.name} | {path.stat().st_size / 1e6:.1f} | {seconds:.1f} | " + " | ".join(cells) + " |"


def with_browser(work: Callable[[Any], None]) -> None:
    """Debian's Chromium under Playwright, both of the extra `dev` and the system's packages."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        work(browser)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", nargs="+", type=int, default=[1000, 100_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--keep", type=Path, default=None)
    asked = parser.parse_args()
    folder = asked.keep or Path(tempfile.mkdtemp())

    def study(browser: Any) -> None:
        print(f"medians of {asked.repeats} loads, milliseconds but for the first columns")
        print("| archs | MB | s to make | first paint | all drawn | slider, worst frame | brush, worst frame |")
        print("|---" * 7 + "|")
        for count in asked.archs:
            print(measured(browser, made(folder / str(count), count), asked.repeats), flush=True)

    try:
        with_browser(study)
    finally:
        if asked.keep is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
