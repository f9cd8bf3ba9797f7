"""A run folder as a whole run leaves it, with made-up numbers: quality and latency that depend on the operators."""

import random
from pathlib import Path
from typing import Any

from nas.arch import Arch, BlockArch, OperatorArch, StageArch
from nas.pareto import front
from nas.run import Run
from nas.space import sample
from nas.supernet import network_cost
from tests import spaces

SLOWNESS = {"softmax": 1.6, "window": 1.0, "linear": 0.8, "latent": 1.3, "decayed": 0.7, "depthwise": 0.3, "none": 0.05}
STRENGTH = {"softmax": 0.16, "window": 0.14, "linear": 0.10, "latent": 0.13, "decayed": 0.11, "depthwise": 0.06}
HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


def values(arch: Arch, rng: random.Random) -> dict[str, float]:
    names = [block.operator.name for block in arch.blocks]
    latency = 0.4 + sum(SLOWNESS.get(name, 1.1) for name in names) * arch.stages[0].embed_dim / 64
    quality = 3.2 - sum(STRENGTH.get(name, 0.12 if name != "none" else 0.02) for name in names)
    quality -= 0.05 * len(set(names)) + arch.stages[0].embed_dim / 400
    cost = network_cost(spaces.shipped("lm_tiny").frame, spaces.TEXT, arch)
    counted = {name: float(getattr(cost, name)) for name in ("params", "flops", "kv_cache_bytes")}
    return {"latency_ms": latency, "bits_per_byte": quality + rng.gauss(0, 0.01), **counted}


def evaluations(count: int, rng: random.Random, origin: str) -> list[dict[str, Any]]:
    space = spaces.shipped("lm_tiny")
    archs = {arch.digest: arch for arch in (sample(space, rng) for _ in range(count))}
    return [
        {"arch": a.to_dict(), "digest": a.digest, "values": values(a, rng), "origin": origin, "seconds": 0.4}
        for a in archs.values()
    ]


def measured(row: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    latency = row["values"]["latency_ms"] * rng.uniform(0.97, 1.03)
    quality = row["values"]["bits_per_byte"] + rng.gauss(0, 0.004)
    known = {"latency_ms": latency, "latency_spread_ms": 0.06 * latency}
    return {**row, "measured": {**known, "quality_val": quality, "bits_per_byte": quality}, "is_front": True}


def front_rows(rows: list[dict[str, Any]], rng: random.Random) -> list[dict[str, Any]]:
    names = ("latency_ms", "bits_per_byte", "params")
    kept = front([[row["values"][name] for name in names] for row in rows], ["minimise"] * 3)
    found = sorted((measured(rows[i], rng) for i in kept), key=lambda row: row["measured"]["latency_ms"])
    found = found[:: max(1, len(found) // 11)]
    found[len(found) // 2]["is_knee"] = True
    return found


def fill_search(run: Run, rng: random.Random, count: int) -> list[dict[str, Any]]:
    rows, baseline = evaluations(count, rng, "surrogate"), evaluations(count, rng, "random")
    for name, found in (("archive", rows), ("random", baseline)):
        for row in found:
            run.log(f"search/main/{name}.jsonl").append(row)
    curve = [1 - 0.5 / (1 + i / 12) for i in range(len(rows))]
    run.write_json("search/main/curve.json", {"search": curve, "random": [0.93 * value for value in curve]})
    kept = front_rows(rows, rng)
    run.write_json("search/main/front.json", kept)
    return kept


def fill_predictor(run: Run, rng: random.Random) -> None:
    cases = []
    for i in range(16):
        true = rng.uniform(1.0, 8.0)
        spread = {"low_ms": 0.97 * true, "high_ms": 1.03 * true}
        cases.append({"digest": f"{i:016x}", "measured": true, "predicted": true * rng.gauss(1, 0.04), **spread})
    score = {"name": "predictor", "mape": 0.031, "within_5": 0.8, "within_10": 0.97, "r2": 0.98, "tau": 0.93}
    baselines = [{**score, "name": n, "mape": e, "tau": t} for n, e, t in (("flops", 0.3, 0.6), ("depth", 0.4, 0.5))]
    card = {"score": score, "baselines": baselines, "cases": cases, "noise_floor": 0.012, "held_out": 16}
    card |= {"confidence": 0.9, "coverage": 0.875, "upper_coverage": 0.9, "width": 0.11}
    card |= {"families": {"softmax": [0.02, 9], "linear": [0.05, 7]}}
    run.write_json("profile/operators.json", {"linear": 1.2, "depthwise": 0.4})
    run.write_json("profile/card.json", card)
    run.write_json("profile/device.json", {"cpu": "Example CPU", "threads": 1, "gpu": ""})
    run.record({"predictor.mape": 0.031, "predictor.tau": 0.93, "predictor.baseline.flops.mape": 0.3})


def fill_training(run: Run) -> None:
    for step in range(0, 600, 20):
        losses = {"largest": 2.0, "smallest": 2.6, "softmax": 2.1, "linear": 2.3}
        decay = 3.0 / (1 + step / 60)
        run.log("supernet/log.jsonl").append(
            {"step": step, **{f"loss.{name}": value + decay for name, value in losses.items()}}
        )


def full_run(folder: Path, count: int = 40) -> Run:
    run, rng = Run.at(folder), random.Random(7)
    settings = {"data": {"name": "stdlib"}, "space": {"name": "lm_tiny"}, "search": {"strategy": "surrogate"}}
    asked = {"overrides": ["search.budget=150"], "started": "2026-01-02T03:04:05", "settings": settings}
    run.write_json("run.json", {"format": 1, **asked})
    fill_training(run)
    fill_predictor(run, rng)
    kept = fill_search(run, rng, count)
    for row in (kept[-1], kept[len(kept) // 2]):
        val = row["measured"]["quality_val"] - 0.08
        result = {"digest": row["digest"], "arch": row["arch"], "metric": "bits_per_byte", "val": val, "seeds": [0]}
        run.write_json(
            f"retrain/{row['digest']}/result.json", {**result, "inherited_val": val + 0.08, "test": val + 0.02}
        )
        run.write_json(f"export/{row['digest']}/card.json", {"digest": row["digest"], "parity": {"onnx": 1e-7}})
    seconds = {"train": 92.3, "profile": 41.0, "fit": 1.4, "search": 88.2, "retrain": 44.9, "export": 14.2}
    run.record({f"stage.{name}.seconds": value for name, value in seconds.items()})
    run.record({"space.size": 1.7e12, "search.evaluations": 150, "search.failed": 0, "search.front.size": len(kept)})
    return run


def hostile_run(folder: Path) -> Run:
    """Names, digests and settings that would run if they were not escaped, and rows that make no sense."""
    run = full_run(folder / "<b>run</b>", count=20)
    block = BlockArch(OperatorArch.of(HOSTILE, num_heads=2, **{HOSTILE: HOSTILE}), gate=HOSTILE)
    arch = Arch((StageArch(32, (block,)),))
    row = {"arch": arch.to_dict(), "digest": HOSTILE, "origin": HOSTILE, "seconds": 1.0}
    row["values"] = {"latency_ms": 1.0, "bits_per_byte": 1.5, HOSTILE: 1.0}
    good = run.read_json("search/main/front.json")
    run.write_json("search/main/front.json", [measured(row, random.Random(0)), {"arch": 3}, "text", None, *good])
    for odd in (row, {"arch": {"stages": [{"embed_dim": 8, "blocks": [{"operator": {"name": ["x"]}}]}]}}, {"x": 1}):
        run.log("search/main/archive.jsonl").append(odd)
    run.write_json("run.json", {"overrides": [HOSTILE], "started": HOSTILE, "machine": [1]})
    run.write_json("profile/card.json", {"cases": [{"digest": HOSTILE, "measured": 1, "predicted": 2}], "score": 3})
    run.file("search/main/curve.json").write_text("{torn")
    run.record({HOSTILE: HOSTILE, f"stage.{HOSTILE}.seconds": 1.0})
    return run
