"""The rules of the tree: which way imports point, and where the big libraries may appear."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

NAS = Path(__file__).parent.parent / "nas"
ORDER = [
    {"errors", "config", "resources", "shapes"},
    {"arch", "pareto", "journal", "untrusted", "presence", "run", "progress", "following"},
    {"tracking", "tensorboard"},
    {"kernels", "elastic"},
    {"operators", "gates"},
    {"space"},
    {"supernet"},
    {"programs"},
    {"data", "tasks", "train", "profiling"},
    {"predict"},
    {"searching"},
    {"export", "report", "tuning", "teamwork", "ranking", "catalogue"},
    {"dashboard"},
    {"settings"},
    {"job"},
    {"trials", "winners", "onlookers"},
    {"stages"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
FILES = sorted(path for path in NAS.rglob("*.py") if "_data" not in path.parts)
ONLY_IN = {
    "hydra": {"cli.py"},
    "omegaconf": {"cli.py"},
    "ray": {"searching/cluster.py", "tuning", "teamwork"},
    "optuna": {"searching/optuna_rounds.py", "searching/optuna_mirror.py"},
    "tensorboardX": {"tensorboard.py"},
    "botorch": {"searching/strategies/ehvi.py"},
    "gpytorch": {"searching/strategies/ehvi.py"},
    "altair": {"report"},
    "vl_convert": {"report"},
    "openvino": {"profiling/runtimes/openvino.py"},
    "wandb": {"tracking.py"},
}
FORBIDDEN = {"utils", "util", "helpers", "helper", "common", "misc"}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == "nas":
                yield from (f"nas.{alias.name}" for alias in node.names)


def part(path: Path) -> str:
    relative = path.relative_to(NAS)
    return relative.parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(NAS)))
def test_imports_point_one_way(path: Path) -> None:
    own = part(path)
    if own == "__init__":
        return
    assert own in LEVEL, f"nas/{own} has no place in the order of imports"
    for module in imported(path):
        parts = module.split(".")
        if parts[0] == "nas" and len(parts) > 1 and parts[1] != own:
            assert LEVEL[parts[1]] <= LEVEL[own], f"nas/{own} imports nas/{parts[1]}"


@pytest.mark.parametrize("library", ONLY_IN)
def test_libraries_stay_where_they_belong(library: str) -> None:
    allowed = ONLY_IN[library]
    for path in FILES:
        relative = path.relative_to(NAS)
        if str(relative) not in allowed and relative.parts[0] not in allowed:
            assert library not in {module.split(".")[0] for module in imported(path)}, relative


def test_no_grab_bags() -> None:
    assert not [path for path in FILES if path.stem in FORBIDDEN]


def test_search_cannot_name_the_test_split() -> None:
    for path in [path for part in ("searching", "tuning", "trials", "ranking") for path in (NAS / part).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Attribute) and node.attr in ("test", "held_out")), path
            assert not (isinstance(node, ast.Constant) and node.value in ("test", "held_out")), path


def test_arch_and_import_of_the_package_need_no_torch() -> None:
    for name in ("arch.py", "shapes.py", "errors.py", "config.py", "journal.py", "run.py", "__init__.py"):
        assert not any(module.split(".")[0] == "torch" for module in imported(NAS / name)), name
