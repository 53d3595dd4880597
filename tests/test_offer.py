import pytest

from stream.offer import (
    BadOffer,
    WrongDirection,
    parse_fragment,
    parse_offer,
    plan_answer,
    preferred_codecs,
    without_candidates,
)

HEAD = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n"
TRANSPORT = [
    "a=ice-ufrag:abcd",
    "a=ice-pwd:aaaaaaaaaaaaaaaaaaaaaaaa",
    "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
    "a=setup:actpass",
    "a=rtcp-mux",
]
OPUS = ["a=rtpmap:111 opus/48000/2", "a=fmtp:111 minptime=10;useinbandfec=1"]
H264 = [
    "a=rtpmap:102 H264/90000",
    "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
]
VP8 = ["a=rtpmap:96 VP8/90000"]
AV1 = ["a=rtpmap:45 AV1/90000"]


def section(kind: str, direction: str | None, mid: int, codecs: list[str] | None = None) -> str:
    codecs = codecs or (OPUS if kind == "audio" else H264 + VP8)
    numbers = " ".join(line.split(":")[1].split()[0] for line in codecs if line.startswith("a=rtpmap"))
    lines = [f"m={kind} 9 UDP/TLS/RTP/SAVPF {numbers}", "c=IN IP4 0.0.0.0", f"a=mid:{mid}", *TRANSPORT]
    return "\r\n".join(lines + ([f"a={direction}"] if direction else []) + codecs) + "\r\n"


def offer(*sections: tuple) -> str:
    return HEAD + "".join(section(s[0], s[1], mid, *s[2:]) for mid, s in enumerate(sections))


def planned(direction: str, *sections: tuple) -> list[str]:
    return [plan.direction for plan in plan_answer(parse_offer(offer(*sections)), direction)]


@pytest.mark.parametrize(
    ("direction", "sections", "answer"),
    [
        ("duplex", [("audio", "sendrecv"), ("video", "recvonly")], ["sendrecv", "sendonly"]),
        ("duplex", [("video", "sendrecv"), ("audio", "sendrecv")], ["sendonly", "sendrecv"]),
        (
            "duplex",
            [("audio", "sendonly"), ("audio", "recvonly"), ("video", "recvonly")],
            ["recvonly", "sendonly", "sendonly"],
        ),
        ("duplex", [("audio", "sendonly"), ("video", "recvonly")], ["recvonly", "sendonly"]),
        ("whip", [("audio", "sendonly")], ["recvonly"]),
        ("whip", [("audio", "sendrecv")], ["recvonly"]),
        ("whip", [("audio", "sendonly"), ("video", "sendonly")], ["recvonly", "inactive"]),
        ("whep", [("audio", "recvonly"), ("video", "recvonly")], ["sendonly", "sendonly"]),
        ("whep", [("video", "recvonly")], ["sendonly"]),
        ("whep", [("audio", "recvonly")], ["sendonly"]),
        (
            "whep",
            [("audio", "recvonly"), ("video", "recvonly"), ("video", "recvonly")],
            ["sendonly", "sendonly", "inactive"],
        ),
        ("whep", [("audio", "inactive"), ("video", "recvonly")], ["inactive", "sendonly"]),
    ],
)
def test_answer_takes_what_this_kind_of_connection_does(direction, sections, answer):
    assert planned(direction, *sections) == answer


@pytest.mark.parametrize(
    ("direction", "sections", "word"),
    [
        ("duplex", [("audio", "recvonly"), ("video", "recvonly")], "audio section is recvonly"),
        ("duplex", [("audio", "sendrecv"), ("video", "sendonly")], "video section is sendonly"),
        ("whip", [("audio", "recvonly")], "a=sendonly"),
        ("whip", [("audio", "sendonly"), ("video", "recvonly")], "video section is recvonly"),
        ("whip", [("audio", "inactive")], "audio section is inactive"),
        ("whep", [("audio", "sendonly"), ("video", "recvonly")], "a=recvonly"),
        ("whep", [("audio", "recvonly"), ("video", "sendrecv")], "video section is sendrecv"),
    ],
)
def test_wrong_direction_is_refused_with_the_right_one(direction, sections, word):
    with pytest.raises(WrongDirection, match=word):
        planned(direction, *sections)


@pytest.mark.parametrize(
    ("direction", "sections", "word"),
    [
        ("duplex", [("video", "recvonly")], "no audio section"),
        ("duplex", [("audio", "sendrecv")], "no video section"),
        ("whip", [("video", "sendonly")], "no audio section"),
        ("duplex", [("audio", "sendrecv", ["a=rtpmap:0 PCMU/8000"]), ("video", "recvonly")], "offer Opus"),
        ("whep", [("video", "recvonly", AV1)], "offer H.264"),
        ("whep", [("video", "recvonly", [H264[0], H264[1].replace("42e01f", "zz")])], "offer H.264"),
        ("whep", [("video", None)], "no direction"),
    ],
)
def test_missing_sections_and_codecs_are_named(direction, sections, word):
    with pytest.raises(BadOffer, match=word) as refused:
        planned(direction, *sections)
    assert not isinstance(refused.value, WrongDirection)


GOOD = offer(("audio", "sendrecv"), ("video", "recvonly"))


@pytest.mark.parametrize(
    ("sdp", "word"),
    [
        ("", "no audio"),
        ("v=0\r\n", "no audio"),
        ("v=x\r\n", "cannot|can be read"),
        ("\0\1\2", "no audio"),
        ("m=audio\r\n", "can be read"),
        (GOOD.replace("a=mid:1", "a=mid:0"), "a=mid"),
        (GOOD.replace("a=mid:1\r\n", ""), "a=mid"),
        (GOOD.replace("a=ice-pwd:", "a=x:"), "a=ice-pwd"),
        (GOOD.replace("a=fingerprint:", "a=x:"), "a=fingerprint"),
        (GOOD.replace("a=setup:actpass", "a=x:y"), "a=setup"),
        (GOOD.replace("a=setup:actpass", "a=setup:sideways"), "can be read"),
        (GOOD.replace("a=rtcp-mux\r\n", ""), "rtcp-mux"),
        (GOOD.replace("m=video", "m=text"), "unknown kind"),
        (offer(*[("audio", "sendrecv")] * 5), "5 media sections"),
        (GOOD + "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n" * 51, "more than 50"),
        (GOOD + "a=candidate:1 1\r\n", "can be read"),
        (GOOD + "a=rtpmap\r\n", "can be read"),
    ],
)
def test_malformed_offers_are_refused_with_what_is_wrong(sdp, word):
    with pytest.raises(BadOffer, match=word):
        parse_offer(sdp)


def test_any_offer_cut_short_is_accepted_or_refused_but_never_breaks():
    for length in range(0, len(GOOD), 7):
        try:
            plan_answer(parse_offer(GOOD[:length]), "duplex")
        except BadOffer as refusal:
            assert str(refusal)


def test_h264_is_preferred_then_vp8_and_sound_is_opus():
    video = [c.mimeType for c in preferred_codecs("video")]
    assert video == ["video/H264", "video/H264", "video/VP8", "video/rtx"]
    assert preferred_codecs("video")[0].parameters["profile-level-id"] == "42e01f"
    assert [c.mimeType for c in preferred_codecs("audio")] == ["audio/opus"]


def test_candidates_are_taken_out_and_all_else_stays():
    candidates = "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\na=end-of-candidates\r\n"
    assert without_candidates(GOOD + candidates) == GOOD


def test_fragment_gives_candidates_with_their_section():
    fragment = parse_fragment(
        "a=ice-ufrag:abcd\r\na=ice-pwd:x\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
        "a=candidate:1 1 udp 2130706431 192.0.2.7 5000 typ host\r\n"
        "a=candidate:2 1 udp 1694498815 198.51.100.1 5001 typ srflx raddr 192.0.2.7 rport 5000\r\n"
        "a=end-of-candidates\r\n"
    )
    assert fragment.ufrags == {"abcd"} and fragment.complete
    assert [(c.ip, c.port, c.type, c.sdpMid) for c in fragment.candidates] == [
        ("192.0.2.7", 5000, "host", "0"),
        ("198.51.100.1", 5001, "srflx", "0"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "a=ice-ufrag:abcd\r\n",
        "a=candidate:1 1 udp 1 192.0.2.7 5000 typ host\r\n",
        "m=audio 9 x 0\r\na=mid:0\r\na=candidate:1 1 udp\r\n",
        "m=audio 9 x 0\r\na=mid:0\r\na=candidate:1 one udp 1 192.0.2.7 5000 typ host\r\n",
        "m=audio 9 x 0\r\na=mid:0\r\nm=video 9 x 0\r\na=candidate:1 1 udp 1 192.0.2.7 5000 typ host\r\n",
    ],
)
def test_malformed_fragments_are_refused(text):
    with pytest.raises(BadOffer):
        parse_fragment(text)
