"""The HTTP routes: what they answer, and what bad requests are told."""

import httpx
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection

from stream.config import IceServer, ServerConfig
from tests.fakes_session import RunningApi

ICE = (IceServer("stun:stun.example:3478"), IceServer("turn:turn.example:3478", "user", 'pass"word'))
SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}


@pytest.fixture
async def api():
    async with RunningApi(ServerConfig(ice_servers=())) as running:
        yield running


@pytest.fixture
async def http(api):
    async with httpx.AsyncClient(base_url=api.url) as client:
        yield client


async def offer(*, audio: str | None = "sendrecv", video: str | None = "recvonly") -> str:
    peer = RTCPeerConnection(RTCConfiguration([]))
    for kind, direction in (("audio", audio), ("video", video)):
        if direction:
            peer.addTransceiver(kind, direction=direction)
    try:
        await peer.setLocalDescription(await peer.createOffer())
        return peer.localDescription.sdp
    finally:
        await peer.close()


def assert_problem(response: httpx.Response, status: int, *words: str) -> None:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    for word in words:
        assert word in problem["detail"]


# Sessions ------------------------------------------------------------------------------------------------------------


async def test_a_session_is_made_with_its_urls(api, http):
    response = await http.post("/v1/sessions", json={"character": "bo", "options": {"probe": True}})
    assert response.status_code == 201
    session = response.json()
    assert response.headers["location"] == session["url"] == f"/v1/sessions/{session['id']}"
    assert [session[leg] for leg in ("rtc", "whip", "whep", "ws")] == [
        f"/v1/sessions/{session['id']}/{leg}" for leg in ("rtc", "whip", "whep", "ws")
    ]
    assert session["character"] == "bo"
    assert api.sessions.made[session["id"]].options.probe


async def test_an_empty_body_asks_for_the_defaults(http):
    response = await http.post("/v1/sessions", headers={"Content-Type": "application/json"})
    assert response.json()["character"] == "ada"


async def test_a_session_tells_its_state_and_stats(http):
    url = (await http.post("/v1/sessions", json={})).json()["url"]
    status = (await http.get(url)).json()
    assert status["state"] == "idle"
    assert status["stats"] == {"fps": 25.0}


async def test_the_character_changes_in_a_running_session(http):
    url = (await http.post("/v1/sessions", json={})).json()["url"]
    assert (await http.patch(url, json={"character": "bo"})).json()["character"] == "bo"
    assert_problem(await http.patch(url, json={"character": "eve"}), 422, "character", "eve", "ada, bo")


async def test_half_a_surrogate_pair_is_refused_like_any_other_name(http):
    half = {"content": r'{"character": "\ud800"}', "headers": {"Content-Type": "application/json"}}
    assert_problem(await http.post("/v1/sessions", **half), 422, r"\ud800")


async def test_a_deleted_session_is_gone(http):
    url = (await http.post("/v1/sessions", json={})).json()["url"]
    assert (await http.delete(url)).status_code == 204
    assert_problem(await http.delete(url), 404, "no such session")
    assert_problem(await http.get(url), 404)


async def test_a_full_server_says_when_to_try_again(http):
    for _ in range(2):
        await http.post("/v1/sessions", json={})
    response = await http.post("/v1/sessions", json={})
    assert_problem(response, 503, "taken")
    assert response.headers["retry-after"] == "3"


@pytest.mark.parametrize(
    ("content", "status", "word"),
    [
        ('{"character": "eve"}', 422, "ada, bo"),
        ('{"charakter": "ada"}', 422, "charakter"),
        ('{"character": 3}', 422, "character"),
        ('{"options": {"seed": -1}}', 422, "options.seed"),
        ("[]", 422, "body"),
        ("{", 400, "JSON"),
        ("[" * 30_000, 400, "JSON"),
        (b"\xff", 400, "UTF-8"),
        (" " * 70_000, 413, "65536"),
    ],
)
async def test_bad_session_requests_are_told_why(http, content, status, word):
    response = await http.post("/v1/sessions", content=content, headers={"Content-Type": "application/json"})
    assert_problem(response, status, word)


async def test_a_body_of_another_type_is_refused(http):
    assert_problem(await http.post("/v1/sessions", content="character=ada"), 415, "application/json")


async def test_pages_of_other_sites_cannot_make_sessions(api, http):
    response = await http.post("/v1/sessions", json={}, headers={"Origin": "https://evil.example"})
    assert_problem(response, 403, "--allow-origin")
    assert not api.sessions.made
    assert (await http.post("/v1/sessions", json={}, headers={"Origin": api.url})).status_code == 201


async def test_an_allowed_site_may_and_reads_the_headers():
    site = "https://shop.example"
    async with RunningApi(ServerConfig(allow_origins=(site,))) as api, httpx.AsyncClient(base_url=api.url) as http:
        response = await http.post("/v1/sessions", json={}, headers={"Origin": site})
        assert response.status_code == 201
        assert response.headers["access-control-allow-origin"] == site
        assert "Location" in response.headers["access-control-expose-headers"]
        preflight = await http.options(
            "/v1/sessions", headers={"Origin": site, "Access-Control-Request-Method": "POST"}
        )
        assert preflight.status_code == 200


# WebRTC signalling ---------------------------------------------------------------------------------------------------


async def new_session(http) -> str:
    return (await http.post("/v1/sessions", json={})).json()["url"]


async def connected(http, route: str = "rtc", **sections) -> httpx.Response:
    return await http.post(f"{await new_session(http)}/{route}", content=await offer(**sections), headers=SDP)


async def test_an_offer_is_answered_as_whip_has_it(http):
    response = await connected(http)
    assert response.status_code == 201
    assert response.headers["content-type"] == "application/sdp"
    assert response.text.startswith("v=0")
    assert response.headers["etag"].strip('"')
    assert (await http.delete(response.headers["location"])).status_code == 200
    assert_problem(await http.delete(response.headers["location"]), 404)


@pytest.mark.parametrize(
    ("route", "sections"),
    [("whip", {"audio": "sendonly", "video": None}), ("whep", {"audio": "recvonly", "video": "recvonly"})],
)
async def test_ingest_and_playback_have_their_own_routes(http, route, sections):
    assert (await connected(http, route, **sections)).status_code == 201


async def test_ice_servers_come_as_links():
    async with RunningApi(ServerConfig(ice_servers=ICE[:1])) as api, httpx.AsyncClient(base_url=api.url) as http:
        made = await http.post("/v1/sessions", json={})
        options = await http.options(f"{made.json()['url']}/whip")
        for response in (made, options):
            assert response.headers.get_list("link") == ['<stun:stun.example:3478>; rel="ice-server"']
        assert options.headers["accept-post"] == "application/sdp"


async def test_candidates_trickle_with_the_right_etag(http):
    response = await connected(http)
    url, etag = response.headers["location"], response.headers["etag"]
    fragment = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=end-of-candidates\r\n"

    async def patch(content=fragment, **headers):
        return await http.patch(url, content=content, headers=FRAGMENT | headers)

    assert (await patch(**{"If-Match": etag})).status_code == 204
    assert_problem(await patch(), 428, "If-Match")
    assert_problem(await patch(**{"If-Match": '"other"'}), 412)
    assert_problem(await patch(**{"If-Match": "*"}), 422, "restart")
    assert_problem(await patch("nonsense", **{"If-Match": etag}), 400)
    assert_problem(await patch(**{"If-Match": etag, "Content-Type": "text/plain"}), 415)


@pytest.mark.parametrize(
    ("route", "sections"),
    [
        ("rtc", {"audio": "recvonly", "video": "recvonly"}),
        ("whip", {"audio": "recvonly", "video": None}),
        ("whep", {"audio": "sendonly", "video": "sendonly"}),
    ],
)
async def test_wrong_directions_are_refused(http, route, sections):
    assert_problem(await connected(http, route, **sections), 422)


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        ("v=0\r\n", "application/json", 415),
        ("", "application/sdp", 400),
        ("hello", "application/sdp", 400),
        ("v=0\r\nm=audio banana\r\n", "application/sdp", 400),
        (b"v=0\xff", "application/sdp", 400),
        ("v=0\r\n" + "a=x\r\n" * 20_000, "application/sdp", 413),
    ],
)
async def test_bad_offers_are_told_why(api, http, content, content_type, status):
    url = f"{await new_session(http)}/rtc"
    assert_problem(await http.post(url, content=content, headers={"Content-Type": content_type}), status)
    [session] = api.sessions.made.values()
    assert session.attached == 0


async def test_other_verbs_and_routes_are_refused(http):
    session = await new_session(http)
    assert_problem(await http.get(f"{session}/rtc"), 405)
    assert_problem(await http.put(f"{session}/rtc/x"), 405)
    assert_problem(await http.post(f"{session}/rtp", content="v=0", headers=SDP), 404)
    assert_problem(await http.post("/v1/sessions/none/rtc", content="v=0", headers=SDP), 404)


async def test_a_connection_is_found_under_its_own_session_only(http):
    response = await connected(http)
    other = await new_session(http)
    leg = response.headers["location"].rpartition("/")[2]
    assert_problem(await http.delete(f"{other}/rtc/{leg}"), 404)


async def test_a_newer_speaker_replaces_the_older_and_viewers_stay(http):
    session = await new_session(http)
    viewer = await http.post(f"{session}/whep", content=await offer(audio="recvonly", video="recvonly"), headers=SDP)
    first = await http.post(f"{session}/rtc", content=await offer(), headers=SDP)
    second = await http.post(f"{session}/rtc", content=await offer(), headers=SDP)
    assert_problem(await http.delete(first.headers["location"]), 404)
    assert (await http.delete(second.headers["location"])).status_code == 200
    assert (await http.delete(viewer.headers["location"])).status_code == 200


# Everything else -----------------------------------------------------------------------------------------------------


async def test_characters_are_listed(http):
    listed = (await http.get("/v1/characters")).json()
    assert listed[0] == {
        "name": "ada", "title": "Ada", "picture": "/v1/characters/ada/picture", "faces": ["Ada"],
        "emotions": ["neutral", "happy", "sad"], "own": False, "designed": False,
    }  # fmt: skip
    assert listed[2]["faces"] == ["Uma", "Vito"]
    assert_problem(await http.get("/v1/characters/eve/picture"), 404, "ada, bo")


async def test_health_and_readiness(api, http):
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    assert (await http.get("/readyz")).json() == {"ready": True, "sessions": 0, "capacity": 2}
    api.sessions.draining = True
    assert (await http.get("/readyz")).status_code == 503


async def test_connections_and_refusals_are_counted(http):
    leg = (await connected(http)).headers["location"]
    await http.post("/v1/sessions", content="{", headers={"Content-Type": "application/json"})
    metrics = (await http.get("/metrics")).text
    assert 'visavis_connections{transport="rtc"} 1.0' in metrics
    assert 'visavis_refusals_total{reason="bad_request"} 1.0' in metrics
    await http.delete(leg)
    assert 'visavis_connections{transport="rtc"} 0.0' in (await http.get("/metrics")).text


async def test_metrics_are_for_prometheus(http):
    response = await http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    assert "visavis_stage_seconds" in response.text


async def test_the_description_covers_every_route_and_shows_without_other_servers(http):
    description = (await http.get("/openapi.json")).json()
    assert {"/v1/sessions", "/v1/sessions/{session_id}", "/v1/sessions/{session_id}/{route}", "/v1/characters"} <= set(
        description["paths"]
    )
    assert "probe" in description["components"]["schemas"]["Options"]["properties"]
    page = (await http.get("/docs")).text
    assert "POST" in page and "/v1/sessions/{session_id}" in page
    assert "//" not in page.replace("<!doctype", "")


async def test_the_page_is_served_and_python_beside_it_is_not(http):
    assert "<title>Visavis" in (await http.get("/")).text
    script = await http.get("/client/avatar.js")
    assert script.headers["content-type"].startswith("text/javascript")
    for hidden in ("client.py", "..%2Fserver.py", "none.js"):
        assert_problem(await http.get(f"/client/{hidden}"), 404)
