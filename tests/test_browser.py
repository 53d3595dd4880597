"""The whole road in a real browser: a spoken WAV is its microphone, and what the page shows is looked at.

Everything here runs against LOADER's model; set VISAVIS_TEST_LOADER to try another one.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import wave
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import numpy as np
import pytest
import pytest_asyncio

from stream.config import ServerConfig
from tests.browser import Browser, Page, open_browser
from tests.live_server import LiveServer, live_server

LOADER = os.environ.get("VISAVIS_TEST_LOADER", ServerConfig().loader)
MOUTH = (0.32, 0.56, 0.36, 0.32)  # left, top, width, height of the part of the picture that holds every mouth
ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "build" / "browser"
SEATS = 1
WATCH_S = 12
SECOND = 25  # pictures
CHUNK_S = 0.08  # of film, which the model must make in less time to be live
SENTENCES = ("Good morning. My papa and my mama bake apple pie.", "Would you like some of it? Please do, it is warm.")

pytestmark = pytest.mark.asyncio(loop_scope="module")


def running_server(*flags: str) -> AbstractContextManager[LiveServer]:
    return live_server("--loader", LOADER, "--max-sessions", str(SEATS), *flags)


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> Path:
    """Two stretches of speech with a pause between and a longer one behind, as a 48 kHz WAV."""
    if shutil.which("flite") is None:
        pytest.fail("No flite was found on PATH; it speaks into the microphone. On Debian: apt-get install flite")
    folder = tmp_path_factory.mktemp("speech")
    parts = []
    for number, sentence in enumerate(SENTENCES):
        spoken = folder / f"{number}.wav"
        subprocess.run(["flite", "-voice", "slt", "-t", sentence, "-o", str(spoken)], check=True)
        with wave.open(str(spoken)) as file:
            pcm, rate_hz = np.frombuffer(file.readframes(file.getnframes()), np.int16), file.getframerate()
        parts += [np.repeat(pcm, 48_000 // rate_hz), np.zeros(48_000 * 3 // 2, np.int16)]
    path = folder / "speech.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", "not compressed"))
        file.writeframes(np.concatenate(parts).tobytes())
    return path


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_server() as server:
        yield server.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(server, speech) -> AsyncIterator[Browser]:
    async with open_browser(speech) as browser:
        yield browser


@contextlib.asynccontextmanager
async def visiting(browser: Browser, url: str, allowed: bool = True, before: str = "") -> AsyncIterator[Page]:
    """A page that knows its characters. It is closed in the end, and must not have thrown anything."""
    await browser.allow_microphone(allowed, "/".join(url.split("/")[:3]))
    page = await browser.open(url, before=before)
    try:
        await page.wait_for("document.querySelector('.character') && !document.querySelector('#start').disabled")
        yield page
        assert page.errors == []
    finally:
        await page.close()


async def start(page: Page) -> str:
    """Presses Start and waits for the live picture; the session's name."""
    await page.click("#start")
    await page.wait_for("document.querySelector('video.shown')", 20)
    return await page.evaluate("document.querySelector('#stage').dataset.session")


async def gone(server: str, session: str) -> bool:
    """Whether the session ends; it is asked for a while, since the page says goodbye without waiting."""
    async with httpx.AsyncClient() as client:
        for _ in range(50):
            if (await client.get(f"{server}/v1/sessions/{session}")).status_code == 404:
                return True
            await asyncio.sleep(0.1)
    return False


WATCH = """(async ([left, top, width, height], seconds) => {
    const video = document.querySelector("video.shown");
    const canvas = new OffscreenCanvas(24, 16);
    const paint = canvas.getContext("2d", { willReadFrequently: true });
    const pictures = [];
    const sound = [];
    const end = performance.now() + seconds * 1000;
    const track = video.srcObject.getAudioTracks()[0].clone();
    const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
    const listening = (async () => {
        const samples = new Float32Array(48000);
        while (performance.now() < end) {
            const { value: block, done } = await reader.read();
            if (done) break;
            block.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
            let energy = 0;
            for (let n = 0; n < block.numberOfFrames; n++) energy += samples[n] * samples[n];
            sound.push([block.timestamp / 1000, Math.sqrt(energy / block.numberOfFrames)]);
            block.close();
        }
    })();
    await new Promise((resolve) => {
        const look = (now, frame) => {
            const [w, h] = [video.videoWidth, video.videoHeight];
            paint.drawImage(video, left * w, top * h, width * w, height * h, 0, 0, 24, 16);
            const { data } = paint.getImageData(0, 0, 24, 16);
            const green = data.filter((_, n) => n % 4 === 1); // near enough to brightness
            pictures.push([frame.expectedDisplayTime, frame.rtpTimestamp, [...green]]);
            if (performance.now() < end) video.requestVideoFrameCallback(look);
            else resolve();
        };
        video.requestVideoFrameCallback(look);
    });
    await listening;
    return { pictures, sound };
})"""


class Watched:
    """What a stretch of conversation looked and sounded like, picture by picture."""

    def __init__(self, seen: dict, chunk_s: float):
        self.chunk_s = chunk_s  # what the model took for a chunk meanwhile
        self.shown_ms = np.array([picture[0] for picture in seen["pictures"]])
        self.media_s = np.unwrap(np.array([picture[1] for picture in seen["pictures"]]), period=2**32) / 90_000
        self.mouth = np.array([picture[2] for picture in seen["pictures"]], float)
        self._heard_ms, self._level = np.array(seen["sound"]).T

    def level(self, lag_ms: float = 0.0) -> np.ndarray:
        """How loud the sound is that is played while each picture is shown."""
        moments = self.shown_ms[:, None] + np.arange(0, 40, 10) + lag_ms
        return np.interp(moments, self._heard_ms, self._level).mean(axis=1)

    def quiet(self) -> np.ndarray:
        """Pictures in whose neighbourhood (400 ms before, 120 after) nothing is heard."""
        around = [self.level(lag_ms) for lag_ms in range(-400, 121, 40)]
        return np.max(around, axis=0) < 0.01

    def motion(self) -> np.ndarray:
        """How much each mouth differs from the one 80 ms before, over a quarter of a second: heads sway, but slowly."""
        steps = np.abs(self.mouth[2:] - self.mouth[:-2]).mean(axis=1)
        return smooth(np.concatenate([steps[:1], steps, steps[-1:]]))


def smooth(values: np.ndarray, frames: int = 7) -> np.ndarray:
    return np.convolve(np.pad(values, frames // 2, mode="edge"), np.full(frames, 1 / frames), "valid")


def best_correlation(motion: np.ndarray, levels: list[np.ndarray]) -> float:
    return max(np.corrcoef(motion, smooth(np.sqrt(level)))[0, 1] for level in levels)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(browser, server) -> Watched:
    """Some seconds of a conversation in which the browser's microphone hears speech and pauses."""
    async with visiting(browser, server) as page:
        await start(page)
        await page.wait_for("document.querySelector('#stage').dataset.state === 'speaking'", 20)
        before = chunks_made(server)
        seen = await page.evaluate(f"{WATCH}({json.dumps(MOUTH)}, {WATCH_S})", WATCH_S + 30)
        made = chunks_made(server) - before
        await page.screenshot(PICTURES / "live.png")
        await page.resize(390, 844)
        await page.screenshot(PICTURES / "live-narrow.png")
    return Watched(seen, made["sum"] / made["count"])


def chunks_made(server: str) -> Counter[str]:
    """How many chunks the model has made so far, and the seconds it took over them in all."""
    found = re.findall(r"^visavis_chunk_seconds_(sum|count) (\S+)$", httpx.get(f"{server}/metrics").text, re.MULTILINE)
    return Counter({name: float(value) for name, value in found})


async def test_pictures_come_25_a_second(watched):
    steps = np.diff(watched.media_s)
    assert np.median(steps) == pytest.approx(1 / 25, abs=0.001)
    assert len(steps) / (watched.media_s[-1] - watched.media_s[0]) > 0.9 * 25


async def test_the_mouth_follows_the_sound_and_not_another(watched):
    if watched.chunk_s > CHUNK_S:
        pytest.skip(f"no machine to judge lips on: a chunk takes {watched.chunk_s:.3f} s, and lasts {CHUNK_S} s")
    lags_ms = range(-120, 121, 20)
    own = best_correlation(watched.motion(), [watched.level(lag) for lag in lags_ms])
    assert own > 0.5, f"the mouth hardly follows the sound: {own:.2f}"
    # Other sounds of the same kind: the same one, begun at another moment. Pauses fall on pauses now and then.
    shifts = range(SECOND, len(watched.motion()) - SECOND, SECOND // 5)
    others = [best_correlation(np.roll(watched.motion(), shift), [watched.level()]) for shift in shifts]
    assert own > np.percentile(others, 90), f"another sound fits the mouth as well: {own:.2f}"
    assert np.median(others) < 0.3


async def test_the_mouth_rests_in_silence(watched):
    motion, quiet = watched.motion(), watched.quiet()
    speech = watched.level() > 0.05
    assert quiet.sum() > 10 and speech.sum() > 20, "the recording should hold speech and silence"
    assert motion[quiet].mean() < 0.6 * motion[speech].mean()


async def test_the_read_out_tells_delay_rate_and_sync(browser, server):
    async with visiting(browser, server) as page:
        await start(page)
        for figure in ("delay", "fps", "sync", "network", "first"):
            await page.wait_for(f"/\\d|in step/.test(document.querySelector('#{figure}').innerText)", 15)


async def test_speech_and_silence_are_told_apart(browser, server):
    async with visiting(browser, server) as page:
        await start(page)
        for state in ("speaking", "live", "speaking"):
            await page.wait_for(f"document.querySelector('#stage').dataset.state === '{state}'", 20)


async def test_a_muted_microphone_is_not_heard(browser, server):
    async with visiting(browser, server) as page:
        await start(page)
        await page.wait_for("document.querySelector('#stage').dataset.state === 'speaking'", 20)
        await page.click("#mute")
        assert await page.text("#state-text") == "Muted"
        heard = await page.evaluate(f"{WATCH}({json.dumps(MOUTH)}, 3)", 30)
        assert max(level for at, level in heard["sound"][-100:]) < 0.01


async def test_the_delayed_voice_is_off_until_asked_for(browser, server):
    async with visiting(browser, server) as page:
        await start(page)
        assert await page.evaluate("document.querySelector('video').muted") is True
        await page.click("#hear")
        assert await page.evaluate("document.querySelector('video').muted") is False


async def test_end_frees_the_session(browser, server):
    async with visiting(browser, server) as page:
        session = await start(page)
        await page.click("#start")
        await page.wait_for("document.querySelector('#state-text').innerText === 'Ready'")
        assert await gone(server, session)
        assert await page.evaluate("document.querySelectorAll('video').length") == 0


async def test_leaving_the_page_frees_the_session(browser, server):
    async with visiting(browser, server) as page:
        session = await start(page)
    assert await gone(server, session)


async def test_the_character_changes_in_the_running_session(browser, server):
    colour = """(() => {
        const paint = new OffscreenCanvas(8, 8).getContext("2d");
        paint.drawImage(document.querySelector("video.shown"), 0, 0, 8, 8);
        return [...paint.getImageData(0, 0, 8, 8).data];
    })()"""
    async with visiting(browser, server) as page:
        session = await start(page)
        before = np.array(await page.evaluate(colour), float)
        name = await page.evaluate("document.querySelectorAll('.character input')[1].value")
        await page.click(f".character input[value='{name}']")
        for _ in range(50):
            await asyncio.sleep(0.1)
            changed = np.abs(np.array(await page.evaluate(colour), float) - before).mean()
            if changed > 8:
                break
        assert changed > 8, f"the picture is still the old one (mean difference {changed:.1f})"
        async with httpx.AsyncClient() as client:
            status = (await client.get(f"{server}/v1/sessions/{session}")).json()
        assert status["character"] == name


async def test_a_full_server_is_waited_for(browser, server):
    async with httpx.AsyncClient(base_url=server) as client, visiting(browser, server) as page:
        taken = [(await client.post("/v1/sessions", json={})).json()["id"] for _ in range(SEATS)]
        await page.click("#start")
        await page.wait_for("!document.querySelector('#notice').hidden")
        assert "Every seat is taken" in await page.text("#notice")
        assert "Trying again in" in await page.text("#notice")
        await page.screenshot(PICTURES / "full.png")
        for session in taken:
            await client.delete(f"/v1/sessions/{session}")
        await page.wait_for("document.querySelector('video.shown')", 30)
        assert await page.evaluate("document.querySelector('#notice').hidden")


async def test_a_denied_microphone_is_explained(browser, server):
    async with visiting(browser, server, allowed=False) as page:
        await page.click("#start")
        await page.wait_for("!document.querySelector('#notice').hidden")
        assert "The microphone is blocked" in await page.text("#notice")
        assert await page.text("#start") == "Start"
        await page.screenshot(PICTURES / "denied.png")


def failing_microphone(error: str) -> str:
    return f"navigator.mediaDevices.getUserMedia = async () => {{ throw new DOMException('', '{error}') }}"


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ("delete globalThis.RTCPeerConnection", "This browser has no WebRTC"),
        ("Object.defineProperty(globalThis, 'isSecureContext', { value: false })", "cannot use a microphone"),
        (failing_microphone("NotFoundError"), "No microphone found"),
        (failing_microphone("NotReadableError"), "could not be opened"),
    ],
)
async def test_what_a_browser_lacks_is_explained(browser, server, lacking, words):
    async with visiting(browser, server, before=lacking) as page:
        await page.click("#start")
        await page.wait_for("!document.querySelector('#notice').hidden")
        assert words in await page.text("#notice")
        assert await page.text("#start") == "Start"


async def test_an_unknown_character_in_the_address_is_explained(browser, server):
    async with visiting(browser, f"{server}/?character=nobody&autostart=1") as page:
        assert "This character is not here" in await page.text("#notice")
        assert await page.evaluate("document.querySelectorAll('video').length") == 0


async def test_a_kiosk_starts_by_itself_with_its_character(browser, server):
    async with httpx.AsyncClient(base_url=server) as client:
        name = (await client.get("/v1/characters")).json()[-1]["name"]
        async with visiting(browser, f"{server}/?character={name}&autostart=1") as page:
            await page.wait_for("document.querySelector('video.shown')", 20)
            session = await page.evaluate("document.querySelector('#stage').dataset.session")
            assert (await client.get(f"/v1/sessions/{session}")).json()["character"] == name


async def test_a_restarted_server_is_found_again(browser):
    async with contextlib.AsyncExitStack() as visit:
        with running_server() as server:
            page = await visit.enter_async_context(visiting(browser, server.url))
            first = await start(page)
        await page.wait_for("document.querySelector('#stage').dataset.state === 'reconnecting'", 20)
        with running_server("--port", server.url.rpartition(":")[2]):
            await page.wait_for("document.querySelector('#stage').dataset.state !== 'reconnecting'", 30)
            await page.wait_for(f"document.querySelector('#stage').dataset.session !== {json.dumps(first)}", 30)
            await page.click("#start")
            await page.wait_for("document.querySelector('#state-text').innerText === 'Ready'")


async def test_ice_servers_are_read_from_link_headers(browser, server):
    header = '<stun:one:3478>; rel="ice-server", <turn:two:3478?transport=udp>; rel="ice-server"; '
    header += 'username="a,b;c"; credential="d\\"e"; credential-type="password", </other>; rel="next"'
    async with visiting(browser, server) as page:
        script = f"import(location.origin + '/client/link.js').then((link) => link.iceServers({json.dumps(header)}))"
        assert await page.evaluate(script) == [
            {"urls": "stun:one:3478"},
            {"urls": "turn:two:3478?transport=udp", "username": "a,b;c", "credential": 'd"e'},
        ]
