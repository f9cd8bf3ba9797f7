"""The dashboard over HTTP: the standard library's threads, since a page in a browser is one stream and few requests.

Nothing but GET is answered. A page of another site cannot read an answer (no CORS), cannot frame one, and cannot reach
the server under a name of its own, because the Host of a request must be one that the server was started for.
"""

import gzip
import hmac
import ipaddress
import re
import socket
import sys
import time
from dataclasses import dataclass
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Event
from typing import Any
from urllib.parse import parse_qs

from nas.dashboard.overview import refused
from nas.dashboard.site import HTML, TEXT, Response, Site, Stream

LOOK_S = 1.0
BEAT_S = 15.0
"""A stream says this often that it is still there, and so learns whether its reader is."""
MOST_STREAMS = 200
HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:\d+)?")
COOKIE = "nas_dashboard"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask: requests for one of these hosts (any if empty) that know the token (none needed if empty)."""

    hosts: frozenset[str]
    token: str = ""


class Server(ThreadingHTTPServer):
    """Serves a site; `close` ends the streams, too."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, site: Site, access: Access, address: tuple[str, int]) -> None:
        self.site, self.access = site, access
        self.streams, self.over = BoundedSemaphore(MOST_STREAMS), Event()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, Handler)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def close(self) -> None:
        """Ends all streams and gives the port back."""
        self.over.set()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: D102
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):  # readers come and go
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "attention-nas", ""
    timeout = 30

    def do_GET(self) -> None:  # noqa: N802
        """Answers, or says why not."""
        path, _, query = self.path.partition("?")
        if not self._is_known_host():
            return self._refuse(421, "Wrong host", "This server answers under the address it was started with only.")
        if not self._is_allowed():
            if self._offers(query):
                return self._welcome(path)
            return self._refuse(403, "A token is needed", "Open the address that nas dashboard printed at its start.")
        answer = self.server.site.answer(path, query)
        return self._follow(answer) if isinstance(answer, Stream) else self._send(answer)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: a log line for each look would bury what matters."""

    def _is_known_host(self) -> bool:
        hosts = self.headers.get_all("Host") or [""]
        found = HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        allowed = self.server.access.hosts
        return found is not None and (not allowed or found["name"].strip("[]").lower() in allowed)

    def _is_allowed(self) -> bool:
        token = self.server.access.token
        if not token:
            return True
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            cookie = SimpleCookie(self.headers.get("Cookie", "")).get(self._cookie)
        except CookieError:
            cookie = None
        return any(_same(token, given) for given in (bearer, cookie.value if cookie else ""))

    @property
    def _cookie(self) -> str:
        return f"{COOKIE}_{self.server.port}"  # browsers share cookies among the ports of a host

    def _offers(self, query: str) -> bool:
        return any(_same(self.server.access.token, given) for given in parse_qs(query).get("token", []))

    def _welcome(self, path: str) -> None:
        """Keeps the token in a cookie, and the address bar free of it."""
        cookie = f"{self._cookie}={self.server.access.token}; Path=/; HttpOnly; SameSite=Strict"
        to = path if path.startswith("/") and not path.startswith("//") else "/"
        self._send(Response(303, TEXT, b"", headers=(("Location", to), ("Set-Cookie", cookie))))

    def _refuse(self, status: int, title: str, text: str) -> None:
        self._send(Response(status, HTML, refused(title, text).encode()))

    def _send(self, answer: Response) -> None:
        body, takes_gzip = answer.body, "gzip" in self.headers.get("Accept-Encoding", "")
        if answer.is_gzip and not takes_gzip:
            body = gzip.decompress(body)
        self._begin(answer.status, answer.kind)
        for name, text in answer.headers:
            self.send_header(name, text)
        if answer.is_gzip and takes_gzip:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _begin(self, status: int, kind: str) -> None:
        self.send_response(status, HTTPStatus(status).phrase)
        self.send_header("Content-Type", kind)
        for name, text in HEADERS.items():
            self.send_header(name, text)

    def _follow(self, stream: Stream) -> None:
        """Server-sent events: one for each new version, from the one that the reader has seen last."""
        self.close_connection = True
        if not self.server.streams.acquire(blocking=False):
            return self._send(Response(503, TEXT, f"more than {MOST_STREAMS} pages are open".encode()))
        try:
            self._begin(200, "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self._tell(stream, self.headers.get("Last-Event-ID"))
        except (ConnectionError, TimeoutError):
            pass  # the reader has gone
        finally:
            self.server.streams.release()
        return None

    def _tell(self, stream: Stream, seen: str | None) -> None:
        seen = stream.version() if seen is None else seen
        self.wfile.write(f"retry: 2000\nid: {_line(seen)}\n\n".encode())
        beat = time.monotonic()
        while not self.server.over.wait(LOOK_S):
            version, now = stream.version(), time.monotonic()
            if version != seen:
                self.wfile.write(f"id: {version}\ndata: changed\n\n".encode())
                seen, beat = version, now
            elif now - beat > BEAT_S:
                self.wfile.write(b": still here\n\n")
                beat = now


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _same(token: str, given: str) -> bool:
    return hmac.compare_digest(token.encode(), given.encode(errors="replace"))


def _line(text: str) -> str:
    return "".join(c for c in text if c.isalnum())[:256]
