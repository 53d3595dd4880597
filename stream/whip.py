"""WebRTC signalling over HTTP: `/rtc` (both ways), `/whip` (sound in) and `/whep` (picture and sound out) of a session.

All three speak the verbs and headers of WHIP (RFC 9725). Knows nothing of what is inside an offer or of media.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter, Request, Response

from stream.config import IceServer
from stream.manager import Sessions
from stream.metrics import Metrics
from stream.offer import BadOffer, WrongDirection
from stream.peer import Peer, PeerClosed
from stream.problem import Problem
from stream.request import read_text, session_of
from stream.session import Session

log = logging.getLogger(__name__)

MAX_SDP_BYTES = 64 * 1024
SDP, FRAGMENT = "application/sdp", "application/trickle-ice-sdpfrag"
Route = Literal["rtc", "whip", "whep"]
DIRECTIONS = {"rtc": "duplex", "whip": "whip", "whep": "whep"}


@dataclass(frozen=True)
class Leg:
    """One negotiated connection of a session, as HTTP knows it."""

    id: str
    session_id: str
    route: Route
    etag: str
    peer: Peer


class Legs:
    """The connections there are. A session has one that sends sound at most: a newer one replaces it."""

    def __init__(self, ice_servers: tuple[IceServer, ...], metrics: Metrics) -> None:
        self._ice_servers = ice_servers
        self._metrics = metrics
        self._legs: dict[str, Leg] = {}
        self._closing: set[asyncio.Task] = set()

    async def open(self, session: Session, route: Route, offer_sdp: str) -> tuple[Leg, str]:
        """The new connection and the SDP answer; raises what Peer.answer raises, which then has closed the peer."""
        peer = Peer(session, DIRECTIONS[route], self._ice_servers)
        leg = Leg(secrets.token_urlsafe(12), session.id, route, f'"{secrets.token_hex(8)}"', peer)
        counted = ExitStack()

        def ended() -> None:
            self._legs.pop(leg.id, None)
            counted.close()

        peer.on_closed = ended
        counted.enter_context(self._metrics.connection(route))
        answer = await peer.answer(offer_sdp)
        if route != "whep":
            self._replace_speaker(session)
        self._legs[leg.id] = leg
        return leg, answer

    def get(self, session_id: str, route: Route, leg_id: str) -> Leg:
        leg = self._legs.get(leg_id)
        if leg is None or (leg.session_id, leg.route) != (session_id, route):
            raise Problem(404, "no such connection; it may have been closed")
        return leg

    async def close(self, leg: Leg) -> None:
        self._legs.pop(leg.id, None)
        await leg.peer.close()

    def _replace_speaker(self, session: Session) -> None:
        for leg in list(self._legs.values()):
            if leg.session_id == session.id and leg.route != "whep":
                log.info("connection replaced by a newer one", extra={"session": session.id})
                task = asyncio.create_task(self.close(leg))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)


def router(sessions: Sessions, ice_servers: tuple[IceServer, ...], metrics: Metrics) -> APIRouter:
    routes = APIRouter(tags=["WebRTC"])
    legs = Legs(ice_servers, metrics)
    links = link_headers(ice_servers)

    @routes.post(
        "/v1/sessions/{session_id}/{route}",
        status_code=201,
        response_class=Response,
        responses={201: {"content": {SDP: {}}, "description": "The SDP answer; `Location` is the connection."}},
        openapi_extra={"requestBody": {"required": True, "content": {SDP: {"schema": {"type": "string"}}}}},
    )
    async def connect(session_id: str, route: Route, request: Request) -> Response:
        """Offer a WebRTC connection. `rtc`: sound in, sound and picture out; `whip`: sound in; `whep`: viewer."""
        session = session_of(sessions, session_id)
        offer = await read_text(request, SDP, MAX_SDP_BYTES)
        if not offer.startswith("v=0"):
            raise Problem(400, "the body is not an SDP offer: it does not begin with v=0")
        try:
            leg, answer = await legs.open(session, route, offer)
        except WrongDirection as error:
            raise Problem(422, str(error)) from None
        except BadOffer as error:
            raise Problem(400, str(error)) from None
        location = f"{request.scope.get('root_path', '')}/v1/sessions/{session_id}/{route}/{leg.id}"
        response = Response(answer, 201, {"Location": location, "ETag": leg.etag}, media_type=SDP)
        response.raw_headers.extend(links)
        return response

    @routes.options("/v1/sessions/{session_id}/{route}", status_code=204, response_class=Response)
    async def offer_accepted(session_id: str, route: Route) -> Response:
        """What may be posted here, and the ICE servers to use."""
        session_of(sessions, session_id)
        response = Response(status_code=204, headers={"Accept-Post": SDP, "Allow": "OPTIONS, POST"})
        response.raw_headers.extend(links)
        return response

    @routes.patch(
        "/v1/sessions/{session_id}/{route}/{leg_id}",
        status_code=204,
        response_class=Response,
        openapi_extra={"requestBody": {"required": True, "content": {FRAGMENT: {"schema": {"type": "string"}}}}},
    )
    async def trickle(session_id: str, route: Route, leg_id: str, request: Request) -> Response:
        """Add ICE candidates. `If-Match` must carry the ETag of the connection."""
        leg = legs.get(session_id, route, leg_id)
        fragment = await read_text(request, FRAGMENT, MAX_SDP_BYTES)
        match request.headers.get("if-match"):
            case None:
                raise Problem(428, "send If-Match with the ETag that the answer came with")
            case "*":
                raise Problem(422, "ICE restarts are not supported; make a new connection with POST")
            case etag if etag != leg.etag:
                raise Problem(412, "If-Match names an ICE session that is not the current one")
        try:
            await leg.peer.add_candidates(fragment)
        except PeerClosed as error:
            raise Problem(404, str(error)) from None
        except BadOffer as error:
            raise Problem(400, str(error)) from None
        return Response(status_code=204, headers={"ETag": leg.etag})

    @routes.delete("/v1/sessions/{session_id}/{route}/{leg_id}", response_class=Response)
    async def disconnect(session_id: str, route: Route, leg_id: str) -> Response:
        """End this connection; the session itself goes on as long as anybody else is attached."""
        await legs.close(legs.get(session_id, route, leg_id))
        return Response(status_code=200)

    return routes


def link_headers(ice_servers: tuple[IceServer, ...]) -> list[tuple[bytes, bytes]]:
    return [(b"link", server.link.encode("latin-1", "replace")) for server in ice_servers]
