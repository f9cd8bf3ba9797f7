import http.client
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nas.dashboard.command import started
from nas.errors import ConfigError


@pytest.mark.parametrize(
    ("host", "token", "message"),
    [
        ("0.0.0.0", "", "lets other machines see these runs, so it needs a --token"),
        ("", "", "lets other machines"),
        ("example.org", "", "lets other machines"),
        ("127.0.0.1", "short", "16 or more letters, digits, - or _; got 5 characters"),
        ("127.0.0.1", "a token; Path=/; Domain=x", "letters, digits"),
    ],
)
def test_what_would_not_be_safe_is_refused(tmp_path: Path, host: str, token: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        started([str(tmp_path)], host, 0, token)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no folder .*nowhere"):
        started([str(tmp_path), str(tmp_path / "nowhere")], "127.0.0.1", 0, "")


@pytest.mark.parametrize("port", [-1, 70_000])
def test_a_port_that_cannot_be_had_is_named(tmp_path: Path, port: int) -> None:
    with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1 port {port}"):
        started([str(tmp_path)], "127.0.0.1", port, "")


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    first, _ = started([str(tmp_path)], "127.0.0.1", 0, "")
    with pytest.raises(ConfigError, match="choose another --port"):
        started([str(tmp_path)], "127.0.0.1", first.port, "")
    first.close()


def test_the_command_serves_until_it_is_stopped(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "nas.cli", "dashboard", str(tmp_path), "--port", "0", "--token", "new"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert process.stderr is not None
    said = re.search(r"http://127.0.0.1:(\d+)/\?token=([\w-]{32})", process.stderr.readline())
    assert said is not None
    connection = http.client.HTTPConnection("127.0.0.1", int(said[1]), timeout=20)
    connection.request("GET", "/", headers={"Authorization": f"Bearer {said[2]}"})
    assert b"No runs yet" in connection.getresponse().read()
    connection.close()
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=20)
    assert "no run was touched" in rest and process.returncode == 0


def test_wrong_words_are_refused_with_the_usage(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "nas.cli", "dashboard", str(tmp_path), "--host", "0.0.0.0"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "nas dashboard: --host 0.0.0.0" in done.stderr
