"""Reads what a client offers (SDP, trickled candidates) and decides what the answer does with it.

Directions are the client's: "duplex" speaks and watches, "whip" (RFC 9725) only speaks, "whep" only watches. Pure:
knows nothing of connections, sockets or sessions.
"""

from dataclasses import dataclass
from typing import Literal

from aiortc import RTCIceCandidate, RTCRtpSender
from aiortc.codecs import CODECS
from aiortc.rtcpeerconnection import find_common_codecs
from aiortc.rtcrtpparameters import RTCRtpCodecCapability
from aiortc.sdp import MediaDescription, SessionDescription, candidate_from_sdp

Direction = Literal["duplex", "whip", "whep"]

PREFERRED = {"audio": ("audio/opus",), "video": ("video/h264", "video/vp8")}  # ours, best first
CODEC_NAMES = {"audio": "Opus", "video": "H.264 (constrained baseline, packetization-mode 1) or VP8"}
MAX_MEDIA_SECTIONS = 4
MAX_CANDIDATES = 50


class BadOffer(ValueError):
    """What the client sent cannot be used; the message tells it why."""


class WrongDirection(BadOffer):
    """The offer is sound, but asks for what this kind of connection does not do."""


@dataclass(frozen=True)
class Section:
    """One m-line of an accepted offer, and what the answer does with it."""

    kind: str
    sends: bool  # avatar to client
    receives: bool  # microphone from client

    @property
    def direction(self) -> str:
        return {(0, 0): "inactive", (1, 0): "sendonly", (0, 1): "recvonly", (1, 1): "sendrecv"}[
            (int(self.sends), int(self.receives))
        ]


def parse_offer(offer_sdp: str) -> SessionDescription:
    """Raises BadOffer unless a connection can be made from it."""
    try:
        offer = SessionDescription.parse(offer_sdp)
    except Exception as error:  # the parser asserts, indexes and unpacks its way through whatever it is given
        raise BadOffer(f"the body is not an SDP offer that can be read ({type(error).__name__}: {error})") from None
    media = [section for section in offer.media if section.kind in PREFERRED]
    if not media:
        raise BadOffer("the offer has no audio and no video section")
    if len(offer.media) > MAX_MEDIA_SECTIONS:
        raise BadOffer(f"the offer has {len(offer.media)} media sections, at most {MAX_MEDIA_SECTIONS} are taken")
    mids = [section.rtp.muxId for section in offer.media]
    if not all(mids) or len(set(mids)) < len(mids):
        raise BadOffer("every media section of the offer needs its own a=mid")
    if sum(len(section.ice_candidates) for section in offer.media) > MAX_CANDIDATES:
        raise BadOffer(f"the offer has more than {MAX_CANDIDATES} ICE candidates")
    for section in offer.media:
        where = f"media section {section.rtp.muxId!r} of the offer"
        if section.kind not in PREFERRED and section.kind != "application":
            raise BadOffer(f"{where} is of unknown kind {section.kind!r}")
        if not section.ice.usernameFragment or not section.ice.password:
            raise BadOffer(f"{where} has no a=ice-ufrag or a=ice-pwd")
        if section.dtls is None or not section.dtls.fingerprints:
            raise BadOffer(f"{where} has no a=fingerprint or no a=setup")
        if section.kind in PREFERRED and not section.rtcp_mux:
            raise BadOffer(f"{where} has no a=rtcp-mux")
        if section.kind in PREFERRED and section.direction is None:
            raise BadOffer(f"{where} has no direction: a=sendrecv, a=sendonly, a=recvonly or a=inactive")
    return offer


def plan_answer(offer: SessionDescription, direction: Direction) -> list[Section]:
    """What to do with each audio and video section, in order. Raises BadOffer or WrongDirection."""
    media = [section for section in offer.media if section.kind in PREFERRED]
    for section in media:
        _require_codec(section)
    if direction == "whip":
        _forbid(media, "recvonly", "a WHIP client sends: offer a=sendonly")
    if direction == "whep":
        for unwanted in ("sendonly", "sendrecv"):
            _forbid(media, unwanted, "a WHEP client only receives: offer a=recvonly")
    microphone = sound = video = None
    if direction != "whep":
        microphone = _first(media, "audio", "sendonly", "sendrecv")
        if microphone is None:
            _refuse_missing(media, "audio", "sends sound: add an audio section with a=sendonly or a=sendrecv")
    if direction != "whip":
        sound = _first(media, "audio", "recvonly", "sendrecv")
        video = _first(media, "video", "recvonly", "sendrecv")
        if video is None and (direction == "duplex" or sound is None):
            _refuse_missing(media, "video", "receives video: add a video section with a=recvonly")
    return [Section(s.kind, sends=s is sound or s is video, receives=s is microphone) for s in media]


def usable_codecs(section: MediaDescription) -> list[str]:
    common = find_common_codecs(CODECS[section.kind], section.rtp.codecs)
    return [codec.mimeType.lower() for codec in common if codec.mimeType.lower() in PREFERRED[section.kind]]


def _require_codec(section: MediaDescription) -> None:
    try:
        usable = usable_codecs(section)
    except (TypeError, ValueError):
        usable = []
    if not usable:
        raise BadOffer(f"no usable {section.kind} codec is offered: offer {CODEC_NAMES[section.kind]}")


def _forbid(media: list[MediaDescription], direction: str, why: str) -> None:
    for section in media:
        if section.direction == direction:
            raise WrongDirection(f"the {section.kind} section is {direction}; {why}")


def _first(media: list[MediaDescription], kind: str, *directions: str) -> MediaDescription | None:
    return next((s for s in media if s.kind == kind and s.direction in directions), None)


def _refuse_missing(media: list[MediaDescription], kind: str, need: str) -> None:
    present = [section.direction for section in media if section.kind == kind]
    if present:
        raise WrongDirection(f"the {kind} section is {present[0]}, but a client of this kind {need}")
    raise BadOffer(f"the offer has no {kind} section, but a client of this kind {need}")


@dataclass(frozen=True)
class Fragment:
    """An `application/trickle-ice-sdpfrag` body (RFC 8840)."""

    ufrags: frozenset[str]
    candidates: tuple[RTCIceCandidate, ...]
    complete: bool


def parse_fragment(sdpfrag: str) -> Fragment:
    """Raises BadOffer on what cannot be read."""
    ufrags, candidates, complete, mid = set(), [], False, None
    for line in sdpfrag.splitlines():
        name, _, value = line.strip().partition(":")
        if name.startswith("m="):
            mid = None
        elif name == "a=mid":
            mid = value
        elif name == "a=ice-ufrag":
            ufrags.add(value)
        elif name == "a=end-of-candidates":
            complete = True
        elif name == "a=candidate":
            if mid is None:
                raise BadOffer("a candidate of the fragment belongs to no a=mid")
            try:
                candidate = candidate_from_sdp(value)
            except (AssertionError, ValueError):
                raise BadOffer(f"the candidate {value[:100]!r} cannot be read") from None
            candidate.sdpMid = mid
            candidates.append(candidate)
    if not candidates and not complete:
        raise BadOffer("the fragment has neither a=candidate nor a=end-of-candidates")
    return Fragment(frozenset(ufrags), tuple(candidates), complete)


def without_candidates(offer_sdp: str) -> str:
    """They are added in the background: looking up an mDNS name would hold the answer up for a second."""
    kept = [line for line in offer_sdp.splitlines() if not line.startswith(("a=candidate:", "a=end-of-candidates"))]
    return "\r\n".join(kept) + "\r\n"


def preferred_codecs(kind: str) -> list[RTCRtpCodecCapability]:
    """Our codecs best first, with retransmission; what is not listed is not negotiated."""
    capabilities = RTCRtpSender.getCapabilities(kind).codecs
    ours = [codec for codec in capabilities if codec.mimeType.lower() in PREFERRED[kind]]

    def rank(codec: RTCRtpCodecCapability) -> tuple[int, bool]:
        # Of the H.264 profiles, first the constrained one: it is what we send, and all that some players take.
        constrained = codec.parameters.get("profile-level-id") == "42e01f"
        return PREFERRED[kind].index(codec.mimeType.lower()), not constrained

    return sorted(ours, key=rank) + [c for c in capabilities if c.mimeType.lower() == f"{kind}/rtx"]
