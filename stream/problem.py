"""What goes wrong over HTTP, as `application/problem+json` (RFC 9457). Knows nothing of routes or sessions."""

from __future__ import annotations

import http

from starlette.responses import JSONResponse


class Problem(Exception):
    """A refusal with words for a person. Raised anywhere in a request, turned into a response in one place."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None, **extra: object) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail.encode("utf-8", "backslashreplace").decode()  # somebody's half of a surrogate pair is no text
        self.headers = headers or {}
        self.extra = extra

    def response(self) -> JSONResponse:
        body = {
            "type": "about:blank",
            "title": http.HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            **self.extra,
        }
        return JSONResponse(body, self.status, self.headers, media_type="application/problem+json")
