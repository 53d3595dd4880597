"""The page's expression buttons and the choice of a face, in a real browser, with a light model that shows both."""

import asyncio
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
import pytest_asyncio

from client.client import RemoteSession, Visavis
from stream.protocol import Output
from tests.browser import Page, open_browser
from tests.fakes import LOOKS, WALL
from tests.live_server import live_server
from tests.test_browser import PICTURES, speech, start, visiting  # noqa: F401 - a fixture
from tests.voices import spoken

pytestmark = pytest.mark.asyncio(loop_scope="module")

WALL_COLOUR = """(() => {
    const paint = new OffscreenCanvas(1, 1).getContext("2d");
    const video = document.querySelector("video.shown");
    paint.drawImage(video, 2, 2, 4, 4, 0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data.slice(0, 3)];
})()"""
# The most rows that each mouth of two covers within some seconds: dark ones in the middle of each half.
MOUTHS = """(async (seconds) => {
    const video = document.querySelector("video.shown");
    const paint = new OffscreenCanvas(256, 256).getContext("2d", { willReadFrequently: true });
    const most = [0, 0];
    const end = performance.now() + seconds * 1000;
    await new Promise((resolve) => {
        const look = () => {
            paint.drawImage(video, 0, 0, 256, 256);
            for (const face of [0, 1]) {
                const { data } = paint.getImageData(64 + 128 * face, 145, 1, 60);
                const dark = data.filter((value, n) => n % 4 === 1 && value < 62).length;
                most[face] = Math.max(most[face], dark);
            }
            if (performance.now() < end) video.requestVideoFrameCallback(look);
            else resolve();
        };
        video.requestVideoFrameCallback(look);
    });
    return most;
})"""


@pytest.fixture(scope="module")
def server():
    with live_server() as running:
        yield running.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(server, speech: Path):  # noqa: F811
    async with open_browser(speech) as browser:
        yield browser


async def press(page: Page, key: str) -> None:
    for kind in ("keyDown", "keyUp"):
        await page.call("Input.dispatchKeyEvent", type=kind, key=key, text=key if kind == "keyDown" else "")


async def wall_turns(page: Page, colour: tuple[float, ...]) -> None:
    for _ in range(60):
        shown = np.array(await page.evaluate(WALL_COLOUR), float)
        if np.abs(shown - colour).max() < 16:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"the wall is {shown}, not {colour}")


async def pressed(page: Page) -> list[str]:
    return await page.evaluate("[...document.querySelectorAll('.emotion[aria-pressed=true]')].map((one) => one.value)")


async def test_keys_and_buttons_change_how_the_face_looks(browser, server):
    async with visiting(browser, server) as page:
        names = await page.evaluate("[...document.querySelectorAll('.emotion')].map((one) => one.value)")
        assert names == list(LOOKS)
        assert await page.evaluate("document.querySelector('#voice').hidden")
        assert await pressed(page) == ["neutral"]
        await press(page, "3")  # chosen before the start, shown from the start
        await start(page)
        await wall_turns(page, LOOKS["sad"][2])
        await press(page, "2")
        assert await pressed(page) == ["happy"]
        await wall_turns(page, LOOKS["happy"][2])
        await page.screenshot(PICTURES / "expression.png")
        await page.evaluate(
            "Object.assign(document.querySelector('#intensity'), { value: 0.5 }).dispatchEvent(new Event('input'))"
        )
        await wall_turns(page, tuple(np.add(WALL, LOOKS["happy"][2]) / 2))
        await page.click(".emotion[value='angry']")
        await page.click("#start")
        await page.wait_for("document.querySelector('#state-text').innerText === 'Ready'")


async def test_an_emotion_stays_when_the_character_changes(browser, server):
    async with visiting(browser, server) as page:
        await start(page)
        await press(page, "5")
        await page.click(".character input[value='bo']")
        assert await pressed(page) == ["surprised"]
        await wall_turns(page, LOOKS["surprised"][2])


async def test_each_face_moves_its_mouth_to_its_own_sound(browser, server):
    async with visiting(browser, f"{server}/?character=duo") as page:
        assert await page.text("#voices") == "Uma\nVito"
        session = await start(page)
        await page.wait_for("document.querySelector('#stage').dataset.state === 'speaking'", 20)
        uma, vito = await page.evaluate(f"{MOUTHS}(3)", 30)
        assert uma > 8 and vito <= 4, "the microphone speaks for the first face"
        await page.click("#voices input[value='1']")
        await asyncio.sleep(1.5)
        uma, vito = await page.evaluate(f"{MOUTHS}(3)", 30)
        assert vito > 8 and uma <= 4, "the microphone speaks for the chosen face"
        await page.screenshot(PICTURES / "two-faces.png")
        await page.click("#mute")
        await asyncio.sleep(1.0)
        async with Visavis(server) as visavis, httpx.AsyncClient(base_url=server) as client:
            remote = RemoteSession(visavis, (await client.get(f"/v1/sessions/{session}")).json())
            async with remote.connect(input_rate=48_000, face="Uma", output=Output(video="none", audio=False)) as bot:
                said = bot.speak(spoken("good morning everybody").astype("<i2").tobytes(), 1)
                (uma, vito), _ = await asyncio.gather(page.evaluate(f"{MOUTHS}(4)", 30), said)
                assert uma > 8 and vito <= 4, "a bot speaks for the other one"


async def test_a_narrow_page_has_room_for_all_buttons(browser, server):
    async with visiting(browser, f"{server}/?character=duo") as page:
        await page.resize(360, 800)
        wide = json.loads(await page.evaluate("JSON.stringify([document.documentElement.scrollWidth, innerWidth])"))
        await page.screenshot(PICTURES / "expression-narrow.png", whole=True)
        assert wide[0] <= wide[1]
