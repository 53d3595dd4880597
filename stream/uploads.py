"""Characters of the user's own: an uploaded picture becomes one, with progress, and may be taken away again.

Judges what it can without decoding: kind, size, name. The picture itself is read by a worker (`Pool.prepare`), so nothing
here touches pixels.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import shutil
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from stream.messages import NotPrepared, Prepare, Prepared, Preparing
from stream.problem import Problem
from stream.request import read_bytes

PICTURE_TYPES = ("image/png", "image/jpeg", "image/webp")
MOST_BYTES = 16 * 1024 * 1024
MOST_CHARACTERS = 100  # of the user's own, so that a disk is not filled
PATIENCE_S = 120.0
RETRY_AFTER_S = 3
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
LONGEST_NAME = 32  # of those made from a title
LONGEST_TITLE = 80
UNTITLED = "Your picture"
DESIGN = "design.json"  # in the folder of a character that was drawn: what it was made of

Answer = Preparing | Prepared | NotPrepared


class Uploads:
    """The folder of the user's own characters, and the one picture that may be under work at a time."""

    def __init__(self, pool, folder: Path) -> None:
        self._pool, self.folder = pool, folder
        self._numbers = itertools.count(1)
        self._busy = False

    def own(self, name: str) -> bool:
        return Path(self._pool.characters[name].picture).resolve().parent.parent == self.folder.resolve()

    def design_file(self, name: str) -> Path:
        return self.folder / name / DESIGN

    def designed(self, name: str) -> bool:
        """Of the user's own, and drawn: it can be exported, and changed."""
        return self.design_version(name) is not None

    def design_version(self, name: str) -> int | None:
        """Another one for each design that a character had; None where it has none, or is being changed just now."""
        try:
            return self.design_file(name).stat().st_mtime_ns if self.own(name) else None
        except OSError:
            return None

    def free_name(self, wanted: str | None, title: str) -> str:
        """The name that was asked for, or one made from the title. Raises Problem 422 or 409."""
        if wanted is None:
            plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
            stem = re.sub(r"[^a-z0-9]+", "-", plain)[:LONGEST_NAME].strip("-") or "portrait"
            numbered = (f"{stem}-{number}" for number in itertools.count(2))
            return next(name for name in itertools.chain([stem], numbered) if not self._taken(name))
        if not NAME.fullmatch(wanted):
            raise Problem(422, "name: use a to z, digits, - and _, 40 at most, a letter or digit first")
        if self._taken(wanted):
            raise Problem(409, f"there is a character {wanted!r} already: choose another name, or delete that one")
        return wanted

    def begin(
        self, name: str, title: str, portrait: bytes, faces: str | None = None, anyway: bool = False, drawn: bool = False,
        replaces: bool = False,
    ) -> asyncio.Queue[Answer]:  # fmt: skip
        """`portrait` and what follows as in stream/messages.py's Prepare. What comes out of the queue ends with Prepared
        or NotPrepared. Raises Problem 409 or 503."""
        if name not in self._pool.characters and sum(map(self.own, self._pool.characters)) >= MOST_CHARACTERS:
            raise Problem(409, f"there are {MOST_CHARACTERS} characters of your own: delete one first")
        if self._busy:
            busy = "another picture is being prepared: try again in a moment"
            raise Problem(503, busy, {"Retry-After": str(RETRY_AFTER_S)})
        answers: asyncio.Queue[Answer] = asyncio.Queue()  # a handful of stages

        def tell(answer: Answer) -> None:
            self._busy = isinstance(answer, Preparing)
            answers.put_nowait(answer)

        self._busy = True
        wish = Prepare(next(self._numbers), name, title, portrait, faces, anyway, str(self.folder), drawn, replaces)
        self._pool.prepare(wish, tell)
        return answers

    async def delete(self, name: str) -> None:
        """Raises Problem 404, 403 or 409."""
        if name not in self._pool.characters:
            raise Problem(404, f"no character {name!r}; there are {', '.join(self._pool.characters)}")
        if not self.own(name):
            raise Problem(403, f"character {name!r} belongs to the model and stays")
        if self._pool.in_use(name):
            raise Problem(409, f"somebody is speaking with {name!r}: end that session first")
        gone = self.folder / f".{name}-deleted-{next(self._numbers)}"
        try:
            (self.folder / name).rename(gone)
        except OSError as problem:
            raise Problem(500, f"character {name!r} cannot be deleted: {problem.strerror}") from problem
        self._pool.forget(name)
        await asyncio.to_thread(shutil.rmtree, gone, ignore_errors=True)

    def _taken(self, name: str) -> bool:
        return name in self._pool.characters or (self.folder / name).exists()


def router(uploads: Uploads, view) -> APIRouter:
    """The routes; `view` makes what is told of a character from its name."""
    routes = APIRouter(tags=["Characters"])

    @routes.post("/v1/characters", openapi_extra=_picture_body(), response_class=StreamingResponse)
    async def upload(
        request: Request, title: str = UNTITLED, name: str | None = None, faces: str | None = None, anyway: bool = False
    ) -> StreamingResponse:
        """Make a character of a picture: the body is the file. `faces` says where they are, as x0,y0,x1,y1;… in its pixels,
        where they are not to be found; `anyway` makes it even where this model cannot hold such a picture.

        Answers with a line of JSON for each stage. The last one has stage `done`, with the character and how well the model
        holds it, or stage `refused`, with the reason."""
        title = one_line(title)
        portrait = await read_bytes(request, PICTURE_TYPES, MOST_BYTES)
        answers = uploads.begin(uploads.free_name(name, title), title, portrait, faces, anyway)
        first = await next_answer(answers)
        if isinstance(first, NotPrepared):
            raise Problem(422, first.message)
        return StreamingResponse(
            lines(first, answers, view), media_type="application/x-ndjson", headers={"Cache-Control": "no-store"}
        )

    @routes.delete("/v1/characters/{name}", status_code=204)
    async def delete(name: str) -> None:
        """Take an uploaded character away. 409 while a session has it."""
        await uploads.delete(name)

    return routes


def one_line(title: str) -> str:
    """Raises Problem 422."""
    title = title.strip()
    if not (title.isprintable() and 0 < len(title) <= LONGEST_TITLE):
        raise Problem(422, f"title: one line of 1 to {LONGEST_TITLE} characters")
    return title


async def lines(answer: Answer, answers: asyncio.Queue[Answer], view) -> AsyncIterator[str]:
    """A line of JSON for each stage, the last one included."""
    while isinstance(answer, Preparing):
        yield json.dumps({"stage": answer.stage}) + "\n"
        answer = await next_answer(answers)
    if isinstance(answer, Prepared):
        measured = {"fit": answer.fit} if answer.fit else {}  # a drawn one is the model's own world
        told = {"stage": "done", "character": view(answer.character.name)} | measured
    else:
        told = {"stage": "refused", "detail": answer.message, "fit": answer.fit}
    yield json.dumps(told) + "\n"


async def next_answer(answers: asyncio.Queue[Answer]) -> Answer:
    try:
        return await asyncio.wait_for(answers.get(), PATIENCE_S)
    except TimeoutError:
        return NotPrepared(0, f"the picture was not prepared within {PATIENCE_S:.0f} s")


def _picture_body() -> dict:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {"requestBody": {"required": True, "content": dict.fromkeys(PICTURE_TYPES, binary)}}
