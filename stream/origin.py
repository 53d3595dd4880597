"""Keeps other web sites from using the visitor's own server. Knows HTTP headers only, no routes and no sessions.

A browser names the site a request comes from in `Origin`; programs send none. Requests that change something, and
every WebSocket, must come from this server's own pages, from an allowed site, or from a program.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from stream.problem import Problem

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}  # what these answer, a foreign page cannot read without CORS
DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


def origin_allowed(origin: str | None, host: str | None, allowed: tuple[str, ...]) -> bool:
    """Whether a request with these headers may act. `host` is the Host header."""
    if origin is None or "*" in allowed or origin in allowed:
        return True
    try:
        site = urlsplit(origin)
        # TLS may end at a proxy in front of us, so the scheme says nothing and the default port follows the origin.
        here = urlsplit(f"//{host}")
        default = DEFAULT_PORTS.get(site.scheme)
        return site.hostname is not None and (site.hostname, site.port or default) == (
            here.hostname,
            here.port or default,
        )
    except ValueError:
        return False


class OriginGuard:
    """ASGI middleware that answers 403 to other sites."""

    def __init__(self, app: ASGIApp, allowed: tuple[str, ...]) -> None:
        self.app = app
        self.allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        acts = scope["type"] == "websocket" or (scope["type"] == "http" and scope["method"] not in SAFE_METHODS)
        headers = Headers(scope=scope) if acts else {}
        if acts and not origin_allowed(headers.get("origin"), headers.get("host"), self.allowed):
            detail = f"pages of {headers['origin']} may not use this server; start it with --allow-origin to let them"
            await Problem(403, detail).response()(scope, receive, send)
        else:
            await self.app(scope, receive, send)
