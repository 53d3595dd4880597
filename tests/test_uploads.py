"""Uploaded pictures: they become characters that all workers know and a restart keeps, or are refused with a reason."""

import asyncio
import json

import httpx
import pytest
import uvicorn

from client.client import Visavis, VisavisError
from stream.api import create_app
from stream.config import ServerConfig
from stream.messages import NEUTRAL, CharacterInfo
from stream.metrics import Metrics
from stream.pool import Pool
from stream.problem import Problem
from stream.uploads import MOST_BYTES, MOST_CHARACTERS, Uploads
from tests.fakes_session import FakeSessions

PNG = {"Content-Type": "image/png"}
PATIENCE_S = 30
MADE = ["faces", "writing", "done"]


class Served:
    """The application before real workers that run the light model."""

    def __init__(self, folder, workers: int) -> None:
        config = ServerConfig(characters=str(folder))
        self.folder, self.metrics = folder, Metrics()
        self.pool = Pool("tests.fakes:load", "embedded", workers, 1, self.metrics, characters=config.characters)
        app = create_app(config, FakeSessions(), self.pool, self.metrics)
        self.server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None))

    async def __aenter__(self) -> "Served":
        await self.pool.start()
        self.server.config.load()
        self.server.lifespan = self.server.config.lifespan_class(self.server.config)
        await self.server.startup()
        host, port = self.server.servers[0].sockets[0].getsockname()
        self.http = httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=PATIENCE_S)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.http.aclose()
        await self.server.shutdown()
        await self.pool.stop()

    async def upload(self, content: bytes = b"drawing", headers=PNG, **about) -> httpx.Response:
        return await self.http.post("/v1/characters", params=about, content=content, headers=headers)

    async def names(self) -> list[str]:
        return [one["name"] for one in (await self.http.get("/v1/characters")).json()]


@pytest.fixture
async def served(tmp_path):
    async with Served(tmp_path / "characters", 1) as running:
        yield running


def lines(response: httpx.Response) -> list[dict]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


async def until(condition) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_picture_becomes_a_character_stage_by_stage(served):
    told = lines(await served.upload(title="Zoë, my drawing"))
    assert [line["stage"] for line in told] == MADE
    assert told[-1]["fit"]["holds"] and told[-1]["fit"]["picture"] == 51.0
    assert told[-1]["character"]["name"] == "zoe-my-drawing" and told[-1]["character"]["own"]
    listed = (await served.http.get("/v1/characters")).json()
    assert listed[-1] == told[-1]["character"]
    assert not listed[0]["own"]
    assert (await served.http.get(listed[-1]["picture"])).content == b"drawing"


async def test_names_are_made_of_titles_and_never_twice(served):
    names = [lines(await served.upload(title=title))[-1]["character"]["name"] for title in ("Ada", "Ada", "猫", "??")]
    assert names == ["ada-2", "ada-3", "portrait", "portrait-2"]


async def test_what_the_model_cannot_hold_is_refused_with_its_measure_and_made_when_insisted_on(served):
    told = lines(await served.upload(b"photograph"))
    assert [line["stage"] for line in told] == ["faces", "refused"]
    assert told[-1]["fit"]["holds"] is False and "cannot hold" in told[-1]["detail"]
    assert [line["stage"] for line in lines(await served.upload(b"photograph", anyway=True))] == MADE


@pytest.mark.parametrize(
    ("content", "headers", "about", "status", "word"),
    [
        (b"no picture", PNG, {}, 422, "no picture that can be read"),
        (b"drawing", {"Content-Type": "text/plain"}, {}, 415, "image/png or image/jpeg or image/webp"),
        (b"drawing", {}, {}, 415, "image/png"),
        (bytes(MOST_BYTES + 1), PNG, {}, 413, str(MOST_BYTES)),
        (b"drawing", PNG, {"name": "../up"}, 422, "a to z"),
        (b"drawing", PNG, {"name": "ada"}, 409, "'ada' already"),
        (b"drawing", PNG, {"title": ""}, 422, "title"),
        (b"drawing", PNG, {"title": "x" * 81}, 422, "title"),
        (b"drawing", PNG, {"anyway": "maybe"}, 422, "anyway"),
    ],
)
async def test_bad_uploads_are_told_why(served, content, headers, about, status, word):
    response = await served.upload(content, headers, **about)
    assert response.status_code == status
    assert word in response.json()["detail"]
    assert await served.names() == ["ada", "bo", "duo"]


async def test_other_sites_cannot_upload(served):
    response = await served.upload(headers=PNG | {"Origin": "https://evil.example"})
    assert response.status_code == 403


async def test_a_failure_of_our_own_is_told_without_its_insides(served):
    told = lines(await served.upload(b"bug"))[-1]
    assert told["stage"] == "refused" and "log" in told["detail"] and "a bug" not in told["detail"]
    assert lines(await served.upload())[-1]["stage"] == "done"  # and the next one is taken


async def test_one_picture_at_a_time(served):
    slow = asyncio.create_task(served.upload(b"slow", title="First"))
    await until(lambda: served.pool._jobs)
    second = await served.upload(title="Second")
    assert second.status_code == 503 and second.headers["retry-after"]
    assert lines(await slow)[-1]["stage"] == "done"
    assert lines(await served.upload(title="Second"))[-1]["stage"] == "done"


async def test_a_worker_that_dies_over_a_picture_is_told_and_replaced(served):
    told = lines(await served.upload(b"death"))[-1]
    assert told["stage"] == "refused" and "try again" in told["detail"]
    await until(lambda: served.pool.ready)
    assert lines(await served.upload())[-1]["stage"] == "done"


async def test_every_worker_knows_the_character_also_one_that_starts_anew(tmp_path):
    async with Served(tmp_path / "characters", 2) as served:
        await served.upload(name="me")
        seen, refused = set(), []
        served.pool.on_failed = lambda session, text: refused.append(text)
        served.pool.on_chunk = lambda session, *_: seen.add(session)
        victim = served.pool._workers[0]
        victim.kill()
        await until(lambda: served.pool._workers[0] is not victim and served.pool._workers[0].scheduler)
        due = asyncio.get_running_loop().time() + PATIENCE_S
        for session in (1, 2):  # one for each worker
            served.pool.open(session, "me", 1)
            served.pool.submit(session, silence(served.pool.info), (NEUTRAL,), due)
        await until(lambda: seen == {1, 2} or refused)
        assert not refused
        assert "me" in await served.names()


def silence(info):
    class Chunk:
        index, windows_s16 = 0, bytes(2 * info.window_samples)

    return Chunk


async def test_characters_outlive_the_server_and_damaged_ones_are_left_out(tmp_path):
    folder = tmp_path / "characters"
    async with Served(folder, 1) as served:
        await served.upload(name="me", title="Me")
    (folder / "damaged").mkdir()
    (folder / ".half-made").mkdir()
    async with Served(folder, 1) as served:
        assert await served.names() == ["ada", "bo", "duo", "me"]


async def test_only_an_uploaded_character_that_nobody_speaks_with_can_be_deleted(served):
    await served.upload(name="me")
    assert (await served.http.delete("/v1/characters/ada")).status_code == 403
    assert (await served.http.delete("/v1/characters/nobody")).status_code == 404
    served.pool.open(1, "me", 1)
    assert (await served.http.delete("/v1/characters/me")).status_code == 409
    served.pool.close(1)
    assert (await served.http.delete("/v1/characters/me")).status_code == 204
    assert await served.names() == ["ada", "bo", "duo"]
    assert list(served.folder.iterdir()) == []
    assert lines(await served.upload(name="me"))[-1]["stage"] == "done"


async def test_where_there_are_as_many_as_may_be_one_can_still_be_changed(tmp_path):
    class Full:
        characters = {
            f"one-{n}": CharacterInfo(f"one-{n}", "One", str(tmp_path / f"one-{n}" / "picture.png"), ("One",))
            for n in range(MOST_CHARACTERS)
        }
        asked = []

        def prepare(self, wish, tell):
            self.asked.append(wish.name)

    uploads = Uploads(Full(), tmp_path)
    with pytest.raises(Problem, match="100 characters of your own"):
        uploads.begin("another", "Another", b"drawing", None, True)
    uploads.begin("one-7", "Changed", b"drawing", None, True)
    assert Full.asked == ["one-7"]


async def test_the_python_client_adds_and_deletes(served):
    stages = []
    async with Visavis(str(served.http.base_url)) as visavis:
        made = await visavis.add_character(b"\x89PNG", "Me", faces=[(1, 2, 30, 40)], on_stage=stages.append)
        assert made["character"]["title"] == "Me" and made["fit"]["holds"] and stages == MADE
        await visavis.delete_character("me")
        assert "me" not in await served.names()
        with pytest.raises(VisavisError, match="image/png") as refusal:
            await visavis.add_character(b"%PDF", "Me")
        assert refusal.value.status == 415


async def test_the_description_names_the_kinds_of_pictures(served):
    description = (await served.http.get("/openapi.json")).json()["paths"]["/v1/characters"]["post"]
    assert set(description["requestBody"]["content"]) == {"image/png", "image/jpeg", "image/webp"}
