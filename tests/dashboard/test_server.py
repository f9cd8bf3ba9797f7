"""The dashboard over HTTP: addresses, who may ask, and streams; pages are named instead of made."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.dashboard import server as http
from nas.dashboard.making import Job
from nas.dashboard.renderer import RenderError
from nas.dashboard.server import Access, is_loopback
from nas.run import Run
from tests.dashboard.conftest import Served, address, named, serving

TOKEN = "a-secret-of-some-length"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        Run.at(tmp_path / "runs" / name).write_json("run.json", {"settings": {"data": {"name": "digits"}}})
    return tmp_path / "runs"


@pytest.fixture
def served(root: Path) -> Iterator[Served]:
    with serving(root, render=named) as started:
        yield started


def test_the_list_leads_to_each_run(served: Served, root: Path) -> None:
    page = served.get("/")
    assert "2 runs, 0 at work" in page and "digits" in page
    assert all(f'href="{address(root / name)}/"' in page for name in ("one", "two"))
    assert served.get(f"{address(root / 'one')}/") == "page of one"
    assert served.get(f"{address(root / 'one')}/payload") == "payload of one"


def test_several_runs_are_compared_in_the_order_that_was_asked_for(served: Served, root: Path) -> None:
    both = f"{address(root / 'two')}+{address(root / 'one').removeprefix('/run/')}"
    assert served.get(f"{both}/payload") == "payload of two, one"
    again = f"{address(root / 'two')}+{address(root / 'two').removeprefix('/run/')}"
    assert served.ask(f"{again}/payload")[0].status == 400


def test_a_run_without_a_slash_leads_to_the_one_with_it(served: Served, root: Path) -> None:
    answer, _ = served.ask(address(root / "one"))
    assert (answer.status, answer.headers["Location"]) == (308, f"{address(root / 'one')}/")


@pytest.mark.parametrize(
    "path",
    [
        "/run/000000000000/",
        "/run/../../../../etc/passwd",
        "/run/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "//etc/passwd",
        "/run/one/",
        "/run/",
        "/run/000000000000/payload",
        "/favicon.ico",
        "/%00",
        "/" + "a" * 5000,
        "/run/" + "+".join(["000000000000"] * 1000) + "/",
    ],
)
def test_no_other_address_leads_anywhere(served: Served, path: str) -> None:
    answer, body = served.ask(path)
    assert answer.status == 404 and b"root:" not in body


def test_unknown_pages_of_a_run_are_not_found(served: Served, root: Path) -> None:
    for rest in ("/run.json", "/activity/../payload", "/payload/", "/events/x"):
        assert served.ask(address(root / "one") + rest)[0].status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_only_reading_is_answered(served: Served, method: str) -> None:
    assert served.ask("/", method)[0].status == 501


def test_head_has_no_body(served: Served) -> None:
    answer, body = served.ask("/", "HEAD")
    assert (answer.status, body) == (200, b"") and int(answer.headers["Content-Length"]) > 1000


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8123", "127.0.0.1.evil.example", "", "localhost@evil.example", "[::2]", "["]
)
def test_a_request_under_another_name_is_refused(served: Served, host: str) -> None:
    assert served.ask("/", Host=host)[0].status == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1:8123", "[::1]:8123"])
def test_the_own_names_are_answered(served: Served, host: str) -> None:
    assert served.ask("/", Host=host)[0].status == 200


def test_answers_are_not_for_other_sites_nor_kept(served: Served) -> None:
    answer, _ = served.ask("/")
    assert answer.headers["X-Frame-Options"] == "DENY" and answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in answer.headers and "Python" not in answer.headers["Server"]


def test_bodies_are_compressed_for_those_who_take_it(served: Served, root: Path) -> None:
    answer, body = served.ask(f"{address(root / 'one')}/payload", Accept_Encoding="gzip")
    assert answer.headers["Content-Encoding"] == "gzip" and gzip.decompress(body) == b"payload of one"


def test_with_a_token_nothing_is_shown_without_it(root: Path) -> None:
    with serving(root, render=named, access=Access(frozenset(), TOKEN)) as served:
        for path in ("/", "/overview?part", "/overview/events", f"{address(root / 'one')}/payload", "/?token=wrong"):
            answer, body = served.ask(path)
            assert answer.status == 403 and b"digits" not in body
        assert served.ask("/", Authorization=f"Bearer {TOKEN}")[0].status == 200
        assert served.ask("/", Cookie=f"nas_dashboard_{served.server.port}={TOKEN}x")[0].status == 403
        assert served.ask("/", Cookie="nas_dashboard=\xff;;=")[0].status == 403


def test_the_token_moves_from_the_address_into_a_cookie(root: Path) -> None:
    with serving(root, render=named, access=Access(frozenset(), TOKEN)) as served:
        answer, _ = served.ask(f"/?token={TOKEN}")
        assert (answer.status, answer.headers["Location"]) == (303, "/")
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
        assert served.ask("/", Cookie=cookie.partition(";")[0])[0].status == 200
        assert served.ask(f"//evil.example/?token={TOKEN}")[0].headers["Location"] == "/evil.example/"


def test_a_run_that_cannot_be_shown_says_why(root: Path) -> None:
    def fail(job: Job) -> bytes:
        raise RenderError("<b>too much</b>")

    with serving(root, render=fail) as served:
        answer, body = served.ask(f"{address(root / 'one')}/")
        assert answer.status == 503 and b"&lt;b&gt;too much" in body and b"<b>" not in body
        assert served.ask(f"{address(root / 'one')}/payload")[0].status == 503
        assert served.ask("/")[0].status == 200


def test_a_payload_is_made_once_until_a_file_changes(root: Path) -> None:
    made: list[Job] = []

    def counted(job: Job) -> bytes:
        made.append(job)
        return named(job)

    with serving(root, render=counted) as served:
        for _ in range(20):
            served.get(f"{address(root / 'one')}/payload")
        assert len(made) == 1
        Run.at(root / "one").record({"figure": 1})
        time.sleep(1.1)
        for _ in range(20):
            served.get(f"{address(root / 'one')}/payload")
        assert len(made) == 2


class Listener:
    """Reads a stream of events in a thread."""

    def __init__(self, served: Served, path: str, last: str = "") -> None:
        self.socket = socket.create_connection(("127.0.0.1", served.server.port), timeout=20)
        seen = f"Last-Event-ID: {last}\r\n" if last else ""
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{seen}\r\n".encode())
        self.text = ""
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        try:
            while part := self.socket.recv(4096):
                self.text += part.decode()
        except OSError:
            pass

    def waits_for(self, text: str, count: int = 1, seconds: float = 10.0) -> bool:
        end = time.monotonic() + seconds
        while self.text.count(text) < count and time.monotonic() < end:
            time.sleep(0.01)
        return self.text.count(text) >= count

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(5)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "LOOK_S", 0.02)
    monkeypatch.setattr(http, "BEAT_S", 0.1)


@pytest.mark.usefixtures("quick")
def test_listeners_are_told_of_changes_and_of_nothing_else(served: Served, root: Path) -> None:
    listeners = [Listener(served, f"{address(root / name)}/events") for name in ("one", "one", "two")]
    assert all(one.waits_for("still here", 2) for one in listeners)
    assert "text/event-stream" in listeners[0].text and "data:" not in listeners[0].text
    Run.at(root / "one").record({"figure": 1})
    assert all(one.waits_for("data: changed") for one in listeners[:2])
    assert "data:" not in listeners[2].text and "event:" not in listeners[0].text
    for one in listeners:
        one.close()


@pytest.mark.usefixtures("quick")
def test_a_payload_that_is_fetched_is_news_once(served: Served, root: Path) -> None:
    path = address(root / "one")
    served.get(f"{path}/payload")
    listener = Listener(served, f"{path}/events")
    assert listener.waits_for("id: ")
    Run.at(root / "one").record({"figure": 1})
    assert listener.waits_for("data: changed")
    Run.at(root / "one").record({"figure": 2})  # between the event and the payload that it causes
    time.sleep(1.1)
    served.get(f"{path}/payload")
    beats = listener.text.count("still here")
    assert listener.waits_for("still here", beats + 3)
    assert listener.text.count("data: changed") == 1
    listener.close()


@pytest.mark.usefixtures("quick")
def test_who_comes_back_is_told_what_was_missed(served: Served, root: Path) -> None:
    first = Listener(served, f"{address(root / 'one')}/events")
    assert first.waits_for("id: ")
    last = first.text.split("id: ")[1].split()[0]
    first.close()
    again = Listener(served, f"{address(root / 'one')}/events", last)
    assert again.waits_for("still here") and "data:" not in again.text
    again.close()
    Run.at(root / "one").record({"figure": 1})
    late = Listener(served, f"{address(root / 'one')}/events", last)
    assert late.waits_for("data: changed")
    late.close()


@pytest.mark.usefixtures("quick")
def test_the_list_is_told_of_new_runs(served: Served, root: Path) -> None:
    listener = Listener(served, "/overview/events")
    assert listener.waits_for("id: ")
    Run.at(root / "three").write_json("run.json", {})
    assert listener.waits_for("data: changed")
    assert "3 runs" in served.get("/overview?part")
    listener.close()


@pytest.mark.usefixtures("quick")
def test_a_listener_that_leaves_gives_its_place_back(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MOST_STREAMS", 2)
    with serving(root, render=named) as served:
        listeners = [Listener(served, "/overview/events") for _ in range(2)]
        assert all(one.waits_for("id: ") for one in listeners)
        assert served.ask("/overview/events")[0].status == 503
        listeners.pop().close()
        time.sleep(0.5)  # longer than it takes to notice that a reader has gone
        listeners.append(Listener(served, "/overview/events"))
        assert listeners[-1].waits_for("id: ")
        for one in listeners:
            one.close()


@pytest.mark.usefixtures("quick")
def test_closing_ends_the_streams(root: Path) -> None:
    with serving(root, render=named) as served:
        listener = Listener(served, "/overview/events")
        assert listener.waits_for("id: ")
    listener.thread.join(5)
    assert not listener.thread.is_alive()
    listener.socket.close()


def test_rubbish_on_the_line_ends_nothing(served: Served) -> None:
    for rubbish in (
        b"\x00\xff\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", served.server.port), timeout=5) as line:
            line.sendall(rubbish)
            line.recv(100)
    assert served.ask("/")[0].status == 200


def test_loopback_is_what_only_this_machine_reaches() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.8.8", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "", "192.168.1.2", "example.org", "localhost.evil.example")))


def test_a_payload_is_json_that_the_page_can_take(full: Path, renderer: object) -> None:
    with serving(full, render=renderer) as served:  # type: ignore[arg-type]
        found = json.loads(served.get(f"{address(full / 'first')}/payload"))
        assert {"sections", "charts", "explorer"} <= set(found)
        page = served.get(f"{address(full / 'first')}/")
        assert f'"live":"{address(full / "first")}"' in page and "connect-src 'self'" in page
