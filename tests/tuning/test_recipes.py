"""The cluster recipes, as far as one machine can tell."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.resources import CONF, ROOT
from tests.command import TINY, call

FOLDER = CONF / "cluster"
SLURM = FOLDER / "slurm.sh"
BIN = str(Path(sys.executable).parent)
NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
SCONTROL = "#!/bin/bash\necho 127.0.0.1\n"
SRUN = '#!/bin/bash\nwhile [[ "$1" == --* ]]; do shift; done\nexec "$@"\n'


def rayjob() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())
    return read


def test_the_rayjob_has_what_kuberay_requires() -> None:
    job = rayjob()
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob") and job["metadata"]["generateName"]
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    assert spec["shutdownAfterJobFinishes"] is True and spec["submissionMode"] in ("K8sJobMode", "HTTPMode")
    assert all(spec[key] > 0 for key in ("ttlSecondsAfterFinished", "activeDeadlineSeconds", "backoffLimit"))
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    groups = cluster["workerGroupSpecs"]
    assert all(group["minReplicas"] <= group["replicas"] <= group["maxReplicas"] for group in groups)
    pods = [one["template"]["spec"] for one in (cluster["headGroupSpec"], *groups)]
    assert len({pod["containers"][0]["image"] for pod in pods}) == 1, "Ray wants the same versions everywhere"
    for pod in pods:
        mounts = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod["volumes"]}


def test_the_rayjob_names_the_ray_that_is_pinned() -> None:
    pinned = re.search(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned and rayjob()["spec"]["rayClusterSpec"]["rayVersion"] == pinned[1]


def commands() -> list[list[str]]:
    """The entrypoint as a shell hands it on, and every `nas` command of the other recipes."""
    texts = [(FOLDER / "submit.md").read_text().replace("\\\n", " "), SLURM.read_text()]
    lines = [line for text in texts for line in text.splitlines() if re.search(r"(--|slurm\.sh) nas ", line)]
    found = [shlex.split(re.split(r"(?:--|slurm\.sh) ", line, maxsplit=1)[1]) for line in lines if "<" not in line]
    return [shlex.split(rayjob()["spec"]["entrypoint"]), *(words[words.index("nas") :] for words in found)]


def test_every_command_is_one_of_ours(tmp_path: Path) -> None:
    assert len(commands()) >= 5
    for words in commands():
        assert words[0] == "nas"
        result = call(*words[1:], "--cfg", "job", cwd=tmp_path)
        assert result.returncode == 0, (words, result.stderr)
        shown = yaml.safe_load(result.stdout)
        assert shown["run"]["dir"].startswith("/") and "auto" in (
            shown["search"]["ray"]["address"],
            shown["tune"]["ray"]["address"],
        )


def test_words_with_braces_survive_the_shell_that_ray_hands_them_to() -> None:
    for words in commands():
        line = subprocess.list2cmdline(words)  # what `ray job submit` makes of them
        said = subprocess.run(["bash", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True)
        if any("submit" in word or "tune.over" in word for word in words) and "0, 1" in line:
            assert said.stdout.splitlines() == words


def test_the_slurm_script_is_sound() -> None:
    subprocess.run(["bash", "-n", str(SLURM)], check=True)
    text = SLURM.read_text()
    assert os.access(SLURM, os.X_OK) and "set -euo pipefail" in text
    code = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert not [line for line in code if re.search(r"""(^|[^"{:/.(-])\$[A-Z{@]""", line)], "every variable in quotes"


def test_tokens_are_never_shown() -> None:
    for path in FOLDER.iterdir():
        for line in path.read_text().splitlines():
            if "get-auth-token" in line or "token_hex" in line:
                assert re.search(r"> ?(/dev/null|\"\$RAY_AUTH_TOKEN_PATH\")", line), (path, line)


def test_the_slurm_script_without_a_command_says_how() -> None:
    said = subprocess.run(["bash", str(SLURM)], capture_output=True, text=True)
    assert said.returncode == 2 and "usage" in said.stderr


def in_own_namespace(folder: Path, script: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Runs a script that ends with `ray stop`, which would else end every Ray of this machine."""
    env = {**os.environ, "PATH": f"{folder}:{BIN}:{os.environ['PATH']}", "HOME": str(folder), "CI": "true", **extra}
    return subprocess.run([*NAMESPACE, "bash", "-c", script], env=env, capture_output=True, text=True, timeout=500)


needs_namespace = pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode != 0,
    reason="`ray stop` ends every Ray of the machine unless processes have a namespace of their own, which needs root",
)


@pytest.mark.slow
@needs_namespace
def test_the_slurm_script_searches_on_one_node(tmp_path: Path) -> None:
    """With stand-ins for srun and scontrol; Ray, its token and our command are real."""
    run = tmp_path / "digits"
    for stage in ("train", "profile", "fit"):
        result = call(stage, *TINY, f"run.dir={run}")
        assert result.returncode == 0, result.stderr
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    node = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "n", "SLURM_JOB_NUM_NODES": "1", "SLURM_CPUS_PER_TASK": "2"}
    asked = f"nas search run.dir={run} search.ray.address=auto search.workers=2"
    with tempfile.TemporaryDirectory() as short:  # sockets have short names
        said = in_own_namespace(tmp_path, f"bash {SLURM} {asked}", RAY_TMPDIR=short, **node)
    assert said.returncode == 0 and (run / "search/main/front.json").exists(), said.stderr + said.stdout
    assert not list(tmp_path.glob(".ray/*.token")), "the token goes with the job"


@pytest.mark.slow
@needs_namespace
@pytest.mark.skipif(
    importlib.util.find_spec("aiohttp_cors") is None,
    reason="`ray job submit` needs Ray's dashboard: pip install 'attention-nas[cluster]'",
)
def test_a_submitted_job_reaches_our_command(tmp_path: Path) -> None:
    words = shlex.join([*commands()[0], "--cfg", "job"])
    script = f"""
        ray get-auth-token --generate >/dev/null
        ray start --head --num-cpus=1 --port=6399 --dashboard-port=8299 >/dev/null
        ray job submit -- {words}
        code=$?
        ray stop
        exit $code
    """
    asked = {"RAY_AUTH_MODE": "token", "RAY_API_SERVER_ADDRESS": "http://127.0.0.1:8299"}
    with tempfile.TemporaryDirectory() as short:
        said = in_own_namespace(tmp_path, script, RAY_TMPDIR=short, **asked)
    assert said.returncode == 0 and "search.strategy:" in said.stdout and "nsga2" in said.stdout, (
        said.stdout + said.stderr
    )
