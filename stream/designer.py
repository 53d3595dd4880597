"""The character designer's routes: controls, people by lot, pictures of a look, and drawn characters that are kept.

What a look is, only the drawing process knows (stream/drawing.py); a character is made of one by a worker, as of an upload.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from stream import drawing
from stream.drawing import Drawing
from stream.messages import NotPrepared
from stream.problem import Problem
from stream.request import MAX_JSON_BYTES, read_json, read_text
from stream.uploads import RETRY_AFTER_S, Uploads, lines, next_answer, one_line

Look = dict[str, Any]  # judged where it is drawn
NO_STORE = {"Cache-Control": "no-store"}
PICTURE = {"response_class": Response, "responses": {200: {"content": {"image/png": {}}}}}
LEAST_SIDE, MOST_SIDE = 64, 1024
MOST_CHOICE_SIDE = 192  # of many in one picture


class PictureWish(BaseModel):
    """How somebody looks and feels, and the side of the picture in pixels."""

    model_config = ConfigDict(extra="forbid")

    look: Look
    size: Annotated[int, Field(ge=LEAST_SIDE, le=MOST_SIDE)] = 512
    emotion: str = "neutral"


class ChoicesWish(BaseModel):
    """How somebody looks, the field that is to be shown with all it may be, and the side of each picture in pixels."""

    model_config = ConfigDict(extra="forbid")

    look: Look
    field: str
    size: Annotated[int, Field(ge=LEAST_SIDE, le=MOST_CHOICE_SIDE)] = 128


class Lot(BaseModel):
    """The same seed gives the same person; without one, chance decides."""

    model_config = ConfigDict(extra="forbid")

    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    species: str | None = None


class Drawn(BaseModel):
    """How the new character looks."""

    model_config = ConfigDict(extra="forbid")

    look: Look


BODIES = (PictureWish, ChoicesWish, Lot, Drawn)


def router(draw: Drawing, uploads: Uploads, pool, view, json_body) -> APIRouter:
    """The routes; `view` makes what is told of a character from its name, `json_body` the description of a body."""
    routes = APIRouter(tags=["Designer"])

    @routes.get("/v1/designer")
    async def controls() -> dict[str, Any]:
        """The fields of a look in their groups, with what each may be; the shipped people; the file's format and version.
        501 with what to install where this machine cannot draw."""
        answer, _ = await _asked(draw, {"ask": "controls"})
        return answer

    @routes.post("/v1/designer/random", openapi_extra=json_body(Lot))
    async def by_lot(request: Request) -> dict[str, Any]:
        """A well-matched person, or an animal; of one species where that is named."""
        wish = await read_json(request, Lot)
        seed = secrets.randbelow(2**32) if wish.seed is None else wish.seed
        answer, _ = await _asked(draw, {"ask": "lot", "seed": seed, "species": wish.species})
        return answer

    @routes.post("/v1/designer/picture", openapi_extra=json_body(PictureWish), **PICTURE)
    async def picture(request: Request) -> Response:
        """A PNG of a look. What is not given has its default; 422 names the field, its value and what is allowed."""
        wish = await read_json(request, PictureWish)
        _, png = await _asked(draw, {"ask": "picture"} | wish.model_dump())
        return Response(png, media_type="image/png", headers=NO_STORE)

    @routes.post("/v1/designer/choices", openapi_extra=json_body(ChoicesWish), **PICTURE)
    async def choices(request: Request) -> Response:
        """A PNG with the same look for each value that one field may have, side by side in the order of the controls."""
        wish = await read_json(request, ChoicesWish)
        _, png = await _asked(draw, {"ask": "choices"} | wish.model_dump())
        return Response(png, media_type="image/png", headers=NO_STORE)

    @routes.post("/v1/designer/import", openapi_extra=_file_body())
    async def read_file(request: Request) -> dict[str, Any]:
        """What an exported file says: title, look, and a sentence for each number that had to be brought into its range.
        422 says what is wrong with the file."""
        text = await read_text(request, "application/json", MAX_JSON_BYTES)
        answer, _ = await _asked(draw, {"ask": "import", "text": text})
        return answer

    @routes.post("/v1/characters/designed", openapi_extra=json_body(Drawn), response_class=StreamingResponse)
    async def keep(
        request: Request, title: str, name: str | None = None, replace: str | None = None
    ) -> StreamingResponse:
        """Make a character of a look. `replace` names a designed one, which gets the new look and title.

        Answers with a line of JSON for each stage, as for an uploaded picture."""
        title = one_line(title)
        wish = await read_json(request, Drawn)
        _, composed = await _asked(draw, {"ask": "compose", "title": title, "look": wish.look})
        # From here to the beginning nothing waits: nobody else takes the name, or takes away who is to be replaced.
        if replace is not None:
            _design_of(uploads, pool, replace)
        name = replace or uploads.free_name(name, title)
        answers = uploads.begin(name, title, composed, drawn=True, replaces=replace is not None)
        first = await next_answer(answers)
        if isinstance(first, NotPrepared):
            raise Problem(422, first.message)
        return StreamingResponse(lines(first, answers, view), media_type="application/x-ndjson", headers=NO_STORE)

    @routes.get("/v1/characters/{name}/design")
    async def design(name: str) -> Response:
        """A designed character as a file that can be imported again, here or elsewhere."""
        return Response(
            _design_of(uploads, pool, name),
            media_type="application/json",
            headers={"Content-Disposition": f'attachment; filename="{name}.json"', "Cache-Control": "no-cache"},
        )

    return routes


def _design_of(uploads: Uploads, pool, name: str) -> str:
    """The file that a designed character keeps. Raises Problem 404 or 409."""
    if name not in pool.characters:
        raise Problem(404, f"no character {name!r}; there are {', '.join(pool.characters)}")
    if not uploads.designed(name):
        raise Problem(409, f"character {name!r} was not made in the designer")
    try:
        return uploads.design_file(name).read_text()
    except FileNotFoundError:
        busy = f"character {name!r} is being changed: try again in a moment"
        raise Problem(503, busy, {"Retry-After": str(RETRY_AFTER_S)}) from None


async def _asked(draw: Drawing, question: dict) -> tuple[dict, bytes]:
    """Raises Problem for what the drawing process refuses, and where there is none."""
    try:
        return await draw.ask(question)
    except drawing.Refused as problem:
        raise Problem(422, str(problem)) from None
    except drawing.Unavailable as problem:
        raise Problem(501, str(problem)) from None
    except drawing.Busy as problem:
        raise Problem(503, str(problem), {"Retry-After": str(RETRY_AFTER_S)}) from None
    except drawing.Failed as problem:
        raise Problem(500, str(problem)) from None


def _file_body() -> dict:
    schema = {"schema": {"type": "object"}}
    return {"requestBody": {"required": True, "content": {"application/json": schema}}}
