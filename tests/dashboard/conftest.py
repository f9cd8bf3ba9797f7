"""A dashboard in this process on a free port, and the process that makes its pages."""

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from nas.dashboard.folders import Folders, key_of
from nas.dashboard.making import Job
from nas.dashboard.renderer import Renderer
from nas.dashboard.server import Access, Server
from nas.dashboard.site import Site
from tests.report.synthetic import full_run

LOOPBACK = Access(frozenset({"localhost", "127.0.0.1", "::1"}))


@dataclass(frozen=True)
class Served:
    """A server and how to ask it."""

    server: Server

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer, body

    def get(self, path: str) -> str:
        answer, body = self.ask(path)
        assert answer.status == 200, (answer.status, body)
        return body.decode()


Serve = Callable[..., AbstractContextManager[Served]]


@contextmanager
def serving(*folders: Path, render: Callable[[Job], bytes], access: Access = LOOPBACK) -> Iterator[Served]:
    server = Server(Site(Folders(folders, fresh_s=0.0), render), access, ("127.0.0.1", 0))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Served(server)
    finally:
        server.shutdown()
        server.close()
        thread.join()


def named(job: Job) -> bytes:
    """Says what would be made, in no time."""
    return gzip.compress(f"{job.want} of {', '.join(folder.name for folder in job.folders)}".encode())


@pytest.fixture(scope="session")
def renderer() -> Iterator[Renderer]:
    made = Renderer()
    yield made
    made.close()


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a whole run."""
    root = tmp_path_factory.mktemp("runs")
    full_run(root / "first", count=12)
    return root


def address(run: Path) -> str:
    return f"/run/{key_of(run.resolve())}"
