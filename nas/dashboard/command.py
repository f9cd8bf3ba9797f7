"""`nas dashboard FOLDER… [--host --port --token]`: the runs below some folders, live in a browser."""

import argparse
import secrets
from collections.abc import Sequence
from pathlib import Path

from nas.dashboard.folders import Folders
from nas.dashboard.renderer import Renderer
from nas.dashboard.server import Access, Server, is_loopback
from nas.dashboard.site import Site
from nas.errors import ConfigError
from nas.progress import say

LOOPBACK = ("localhost", "127.0.0.1", "::1")
SHORTEST = 16
EVERYWHERE = ("0.0.0.0", "::", "")


def dashboard(words: Sequence[str]) -> None:
    """Serves until it is stopped; `ConfigError` says what cannot be served, or not safely."""
    asked = _parser().parse_args(words)
    token = secrets.token_urlsafe(24) if asked.token == "new" else asked.token
    server, renderer = started(asked.folders or ["runs"], asked.host, asked.port, token)
    shown = f"[{asked.host}]" if ":" in asked.host else asked.host
    say(f"dashboard http://{shown}:{server.port}/{f'?token={token}' if token else ''}  stop with Ctrl-C")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("\nstopped; no run was touched")
    finally:
        server.close()
        renderer.close()


def started(folders: Sequence[str], host: str, port: int, token: str) -> tuple[Server, Renderer]:
    """A server that listens, and what makes its pages."""
    roots = [Path(folder).expanduser() for folder in folders]
    if missing := [str(root) for root in roots if not root.is_dir()]:
        raise ConfigError(f"nas dashboard shows the runs below folders; there is no folder {', '.join(missing)}")
    _check(host, token)
    hosts = frozenset() if host in EVERYWHERE else frozenset({host.lower(), *(LOOPBACK if is_loopback(host) else ())})
    renderer = Renderer()
    try:
        return Server(Site(Folders(roots), renderer), Access(hosts, token), (host, port)), renderer
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen on {host} port {port} ({error}): choose another --port, or 0 for any"
        ) from error


def _check(host: str, token: str) -> None:
    if not is_loopback(host) and not token:
        raise ConfigError(
            f"--host {host or repr(host)} lets other machines see these runs, so it needs a --token: a secret of "
            f"{SHORTEST} characters or more, or the word new for a fresh one"
        )
    if token and (len(token) < SHORTEST or not set(token) <= _LETTERS):
        raise ConfigError(f"--token needs {SHORTEST} or more letters, digits, - or _; got {len(token)} characters")


_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nas dashboard", description="Shows all runs below some folders, live, and reads their files only."
    )
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="folders of runs; runs/ if none is given")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; this machine alone unless --token")
    parser.add_argument("--port", type=int, default=8123, help="0: any that is free")
    parser.add_argument("--token", default="", help="what others must know to look; the word new makes one")
    return parser
