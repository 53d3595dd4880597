"""Reads requests: a body of the right type and size, the session that a path names. Raises Problem; answers nothing."""

from __future__ import annotations

import json
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from stream.manager import Sessions
from stream.problem import Problem
from stream.session import Session

Model = TypeVar("Model", bound=BaseModel)

MAX_JSON_BYTES = 64 * 1024


def session_of(sessions: Sessions, session_id: str) -> Session:
    """Raises Problem 404."""
    try:
        return sessions.get(session_id)
    except KeyError:
        raise Problem(404, "no such session; it may have ended, make a new one with POST /v1/sessions") from None


async def read_bytes(request: Request, media_types: tuple[str, ...], limit: int) -> bytes:
    """The body, if it is of one of these types and of this size; raises Problem 415 or 413."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in media_types:
        raise Problem(415, f"send Content-Type: {' or '.join(media_types)}", {"Accept-Post": ", ".join(media_types)})
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise Problem(413, f"the body is larger than {limit} bytes", {"Connection": "close"})
    return bytes(body)


async def read_text(request: Request, media_type: str, limit: int) -> str:
    """The body, if it is of this type and size; raises Problem 415, 413 or 400."""
    body = await read_bytes(request, (media_type,), limit)
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Problem(400, "the body is not UTF-8 text") from None


async def read_json(request: Request, model: type[Model]) -> Model:
    """The JSON body as a model; an empty body stands for all defaults. Raises Problem 415, 413, 400 or 422."""
    text = await read_text(request, "application/json", MAX_JSON_BYTES)
    try:
        fields = json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise Problem(400, "the body is not JSON") from None
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise Problem(422, f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}") from None
