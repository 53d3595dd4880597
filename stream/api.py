"""The HTTP face of the server: sessions, characters, health, metrics, the page. The one place errors become responses.

Knows nothing of flags, processes or media; it is given a config, the sessions and the pool.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from stream import designer, docs, uploads, whip, ws
from stream.config import ServerConfig
from stream.drawing import Drawing
from stream.manager import ServerFull, Sessions, UnknownCharacter
from stream.metrics import Metrics
from stream.origin import OriginGuard
from stream.problem import Problem
from stream.protocol import SUBPROTOCOL
from stream.request import read_json, session_of
from stream.session import Session, SessionOptions
from stream.uploads import Uploads

SCHEMAS = "#/components/schemas/"
PAGE_FILES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


class Options(BaseModel):
    """What may be asked of a new session besides its character."""

    model_config = ConfigDict(extra="forbid")

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    probe: bool = False  # a white square, top left, while the driving sound is loud: for measuring delay
    gate: bool = True  # only what the voice detector takes for speech moves the mouth


class NewSession(BaseModel):
    """Who to speak with. Without a character, the first one is taken."""

    model_config = ConfigDict(extra="forbid")

    character: str | None = None
    options: Options = Options()


class SessionChange(BaseModel):
    model_config = ConfigDict(extra="forbid")

    character: str


class SessionView(BaseModel):
    """A session and where to reach it. It ends by DELETE, or when nobody has been attached for a while."""

    id: str
    character: str
    state: str
    url: str
    rtc: str
    whip: str
    whep: str
    ws: str
    width: int
    height: int
    fps: int
    idle_timeout_s: float


class SessionStatus(SessionView):
    stats: dict


class CharacterView(BaseModel):
    """Who is in the picture, and how they can look."""

    name: str
    title: str
    picture: str
    faces: list[str]  # titles, one or more
    emotions: list[str]  # empty where the model shows none
    own: bool  # uploaded, designed or prepared by the user: it can be deleted
    designed: bool  # of those, drawn: it can be exported, and changed


class Readiness(BaseModel):
    ready: bool
    sessions: int
    capacity: int


def create_app(config: ServerConfig, sessions: Sessions, pool, metrics: Metrics) -> FastAPI:
    """The whole application. `pool` and `sessions` are running; the caller stops them, and `app.state.drawing`."""
    app = FastAPI(
        title="Visavis",
        version="0.1.0",
        description="A real-time streaming avatar: it takes speech and returns a talking face, in step.",
        openapi_url=None,  # served below, with the page that shows it
    )
    app.add_middleware(OriginGuard, allowed=config.allow_origins)
    if config.allow_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(config.allow_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["Location", "ETag", "Link", "Retry-After"],
        )
    _add_errors(app, metrics)
    _add_sessions(app, config, sessions)
    app.include_router(whip.router(sessions, config.ice_servers, metrics))
    _add_socket(app, sessions, metrics)
    app.state.drawing = Drawing()
    _add_characters(app, pool, Uploads(pool, Path(config.characters)), app.state.drawing)
    _add_operations(app, sessions, pool, metrics)
    _add_page(app)
    return app


def _add_errors(app: FastAPI, metrics: Metrics) -> None:
    @app.exception_handler(Problem)
    async def refused(request: Request, problem: Problem) -> Response:
        if problem.status != HTTPStatus.SERVICE_UNAVAILABLE:  # those are counted, by reason, where they are made
            metrics.refused(HTTPStatus(problem.status).phrase.lower().replace(" ", "_"))
        return problem.response()

    @app.exception_handler(HTTPException)
    async def not_routed(request: Request, error: HTTPException) -> Response:
        return Problem(error.status_code, str(error.detail), dict(error.headers or {})).response()

    @app.exception_handler(RequestValidationError)
    async def not_valid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return Problem(404 if first["loc"][0] == "path" else 422, f"{where}: {first['msg']}").response()

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return Problem(500, "the server failed on this request; its log says more").response()


def _add_sessions(app: FastAPI, config: ServerConfig, sessions: Sessions) -> None:
    links = whip.link_headers(config.ice_servers)

    def view(session: Session) -> dict:
        path = f"/v1/sessions/{session.id}"
        return {
            "id": session.id,
            "character": session.character,
            "state": session.state,
            "url": path,
            **{leg: f"{path}/{leg}" for leg in ("rtc", "whip", "whep", "ws")},
            "width": session.info.width,
            "height": session.info.height,
            "fps": session.info.fps,
            "idle_timeout_s": config.session_idle_s,
        }

    @app.post(
        "/v1/sessions",
        status_code=201,
        response_model=SessionView,
        tags=["Sessions"],
        openapi_extra=_json_body(NewSession),
    )
    async def create_session(request: Request) -> Response:
        """Make a session. 503 with Retry-After when the server is full."""
        wanted = await read_json(request, NewSession)
        try:
            session = sessions.create(wanted.character, SessionOptions(**wanted.options.model_dump()))
        except UnknownCharacter as error:
            raise Problem(422, str(error)) from None
        except ServerFull as error:
            retry_after = str(math.ceil(error.retry_after_s))
            raise Problem(503, str(error), {"Retry-After": retry_after}) from None
        response = JSONResponse(view(session), 201, {"Location": f"/v1/sessions/{session.id}"})
        response.raw_headers.extend(links)
        return response

    @app.get("/v1/sessions/{session_id}", tags=["Sessions"])
    async def get_session(session_id: str) -> SessionStatus:
        """State and measurements of a session."""
        session = session_of(sessions, session_id)
        return SessionStatus(**view(session), stats=session.stats())

    @app.patch("/v1/sessions/{session_id}", tags=["Sessions"], openapi_extra=_json_body(SessionChange))
    async def change_session(session_id: str, request: Request) -> SessionView:
        """Change the character of a running session."""
        session = session_of(sessions, session_id)
        wanted = await read_json(request, SessionChange)
        try:
            session.change_character(wanted.character)
        except UnknownCharacter as error:
            raise Problem(422, str(error)) from None
        return SessionView(**view(session))

    @app.delete("/v1/sessions/{session_id}", status_code=204, tags=["Sessions"])
    async def end_session(session_id: str) -> None:
        """End a session and every connection to it."""
        session_of(sessions, session_id)
        await sessions.close(session_id, "ended by request")


def _add_socket(app: FastAPI, sessions: Sessions, metrics: Metrics) -> None:
    seats = ws.Seats()

    @app.websocket("/v1/sessions/{session_id}/ws")
    async def bot(socket: WebSocket, session_id: str) -> None:
        offered = socket.scope["subprotocols"]
        try:
            session = session_of(sessions, session_id)
            if offered and SUBPROTOCOL not in offered:
                raise Problem(400, f"this server speaks {SUBPROTOCOL}; the client offers {', '.join(offered)}")
        except Problem as problem:
            await socket.send_denial_response(problem.response())
            return
        await socket.accept(subprotocol=SUBPROTOCOL if offered else None)
        with metrics.connection("ws"):
            await ws.Connection(socket, session, seats).run()


def _add_characters(app: FastAPI, pool, own: Uploads, drawing: Drawing) -> None:
    def view(name: str) -> dict:
        one = pool.characters[name]
        version = own.design_version(name)
        return {
            "name": name,
            "title": one.title,
            # A designed one may change under its name, and a browser shows again what it has of an address.
            "picture": f"/v1/characters/{name}/picture" + (f"?{version}" if version else ""),
            "faces": list(one.faces),
            "emotions": list(pool.info.emotions),
            "own": own.own(name),
            "designed": version is not None,
        }

    app.include_router(designer.router(drawing, own, pool, view, _json_body))
    app.include_router(uploads.router(own, view))

    @app.get("/v1/characters", tags=["Characters"])
    async def characters() -> list[CharacterView]:
        """Who can be spoken with."""
        return [CharacterView(**view(name)) for name in pool.characters]

    @app.get("/v1/characters/{name}/picture", response_class=FileResponse, tags=["Characters"])
    async def picture(name: str) -> FileResponse:
        if name not in pool.characters:
            raise Problem(404, f"no character {name!r}; there are {', '.join(pool.characters)}")
        if not Path(pool.characters[name].picture).is_file():
            raise Problem(404, f"character {name!r} has no picture")
        return FileResponse(pool.characters[name].picture, media_type="image/png")


def _add_operations(app: FastAPI, sessions: Sessions, pool, metrics: Metrics) -> None:
    @app.get("/healthz", tags=["Operations"])
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["Operations"], responses={503: {"model": Readiness}})
    async def readyz(response: Response) -> Readiness:
        """Models are warm and new sessions are taken. A full server is ready; POST tells when there is room."""
        ready = pool.ready and not sessions.draining
        response.status_code = 200 if ready else 503
        return Readiness(ready=ready, sessions=len(sessions), capacity=sessions.capacity())

    @app.get("/metrics", response_class=Response, tags=["Operations"])
    async def scrape() -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/docs", include_in_schema=False)
    async def describe() -> HTMLResponse:
        return HTMLResponse(docs.render(_describe_bodies(app.openapi())))

    @app.get("/openapi.json", include_in_schema=False)
    async def description() -> JSONResponse:
        return JSONResponse(_describe_bodies(app.openapi()))


def _add_page(app: FastAPI) -> None:
    folder = Path(__file__).parent.parent / "client"
    fresh = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(folder / "index.html", headers=fresh)

    @app.get("/client/{name}", include_in_schema=False)
    async def page_file(name: str) -> FileResponse:
        path = folder / name
        # One path segment, so it cannot leave the folder; Python beside the page is not part of it.
        if path.suffix not in PAGE_FILES or not path.is_file():
            raise Problem(404, f"the page has no file {name!r}")
        return FileResponse(path, media_type=PAGE_FILES[path.suffix], headers=fresh)


def _json_body(model: type[BaseModel]) -> dict:
    """The body read by `read_json`, for the description; its schema is put in by `_describe_bodies`."""
    return {"requestBody": {"content": {"application/json": {"schema": {"$ref": SCHEMAS + model.__name__}}}}}


def _describe_bodies(openapi: dict) -> dict:
    for model in (NewSession, SessionChange, *designer.BODIES):
        schema = model.model_json_schema(ref_template=SCHEMAS + "{model}")
        openapi["components"]["schemas"] |= schema.pop("$defs", {}) | {model.__name__: schema}
    return openapi
