"""The Python client: its flow control and errors against a fake session, then files through a live server."""

import asyncio
import subprocess
import sys
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from client import talk
from client.client import MediaFrame, Visavis, VisavisError
from stream import protocol
from stream.config import ServerConfig
from stream.events import Credit
from tests.fakes_session import RunningApi
from tests.live_server import ROOT, live_server


@pytest.fixture
async def api():
    async with RunningApi(ServerConfig()) as running:
        yield running


@pytest.fixture(scope="module")
def server():
    with live_server() as running:
        yield running.url


@pytest.fixture
def bursts(tmp_path) -> Path:
    """Three bursts of a loud tone with silence around them, at a rate that must be converted."""
    rate = 22_050
    tone = (0.5 * 32767 * np.sin(2 * np.pi * 440 * np.arange(int(0.4 * rate)) / rate)).astype("<i2")
    silence = np.zeros(int(0.6 * rate), "<i2")
    path = tmp_path / "bursts.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(np.concatenate([silence, tone] * 3).tobytes())
    return path


async def eventually(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


# The client class ----------------------------------------------------------------------------------------------------


async def test_sessions_are_made_changed_and_ended(api):
    async with Visavis(api.url) as visavis:
        assert [one["name"] for one in await visavis.characters()] == ["ada", "bo", "duo"]
        session = await visavis.create_session("ada", probe=True)
        assert api.sessions.made[session.id].options.probe
        await session.change_character("bo")
        assert (await session.status())["character"] == "bo"
        await session.delete()
        assert not api.sessions.made


async def test_speaking_waits_at_the_high_water_mark_until_there_is_room(api):
    async with Visavis(api.url) as visavis:
        remote = await visavis.create_session()
        session = api.sessions.made[remote.id]
        output = protocol.Output(video="none", audio=False)
        async with remote.connect(input_rate=8_000, output=output) as bot:
            speaking = asyncio.create_task(bot.speak(bytes(2 * 8_000 * 12), 1))  # 12 s
            hearing = asyncio.create_task(_exhaust(bot))
            await eventually(lambda: len(session.calls) == 100)  # 10 s in frames of 100 ms
            session.tell(Credit(9_000, 1_000))  # 1 s was spoken
            await eventually(lambda: len(session.calls) == 110)
            assert not speaking.done()
            session.tell(Credit(9_000, 1_000))
            await eventually(lambda: len(session.calls) == 120)
            await speaking
            hearing.cancel()


async def test_two_faces_are_spoken_for_and_each_has_room_of_its_own(api):
    async with Visavis(api.url) as visavis:
        remote = await visavis.create_session("duo")
        session = api.sessions.made[remote.id]
        output = protocol.Output(video="none", audio=False)
        async with remote.connect(input_rate=8_000, output=output) as bot, asyncio.TaskGroup() as tasks:
            hearing = tasks.create_task(_exhaust(bot))
            uma = tasks.create_task(bot.speak(bytes(2 * 8_000 * 12), 1))  # 12 s: more than may wait
            await bot.speak(bytes(2 * 8_000 * 9), 2, face="vito")
            await bot.end_segment(2)
            await eventually(lambda: len(session.calls) == 191)
            assert not uma.done()
            session.tell(Credit(0, 10_000, face=1))
            session.tell(Credit(7_000, 3_000, face=0))
            await uma
            await eventually(lambda: len(session.calls) == 211)
            hearing.cancel()
    spoken = [(call[3], call[4]) for call in session.calls if call[0] == "queue_speech"]
    assert set(spoken) == {(1, 0), (2, 1)}
    assert ("end_segment", 2, 1) in session.calls


async def test_emotions_and_clear_are_for_one_face_or_all(api):
    async with Visavis(api.url) as visavis:
        remote = await visavis.create_session("duo")
        session = api.sessions.made[remote.id]
        async with remote.connect(output=protocol.Output(video="none", audio=False)) as bot:
            assert (bot.ready.faces, bot.ready.emotions) == (["Uma", "Vito"], ["neutral", "happy", "sad"])
            await bot.emotion("happy")
            await bot.emotion("sad", 0.5, face="Vito")
            await bot.clear(face=1)
            await eventually(lambda: len(session.calls) == 3)
            with pytest.raises(VisavisError, match="Uma, Vito"):
                await bot.speak(b"", 1, face="Nobody")
    assert session.calls == [("show_emotion", "happy", 1.0, None), ("show_emotion", "sad", 0.5, 1), ("clear", 1)]


async def test_a_microphone_never_waits_for_room(api):
    async with Visavis(api.url) as visavis:
        remote = await visavis.create_session()
        output = protocol.Output(video="none", audio=False)
        async with remote.connect(input_rate=8_000, mode="live", output=output) as bot, asyncio.timeout(10):
            await bot.speak(bytes(2 * 8_000 * 12))  # 12 s: more than may be queued in speech mode


async def _exhaust(bot) -> None:
    async for _ in bot:
        pass


async def test_receiving_ends_with_the_session(api):
    async with Visavis(api.url) as visavis:
        remote = await visavis.create_session()
        async with remote.connect() as bot:
            await bot.close_session()
            received = [one async for one in bot]
    assert received[-1] == protocol.Closed(reason="closed by the client")


async def test_pictures_and_sound_are_received_as_media(api):
    async with Visavis(api.url) as visavis:
        remote = await visavis.create_session()
        session = api.sessions.made[remote.id]
        async with remote.connect(output=protocol.Output(video="none")) as bot:
            await eventually(lambda: session._ticks)
            session.tick()
            received = await anext(bot)
            while not isinstance(received, MediaFrame):
                received = await anext(bot)
    assert len(received.payload) == 2 * 1920


async def test_refusals_carry_the_words_of_the_server(api):
    async with Visavis(api.url) as visavis:
        with pytest.raises(VisavisError, match="ada, bo") as unknown:
            await visavis.create_session("eve")
        assert unknown.value.status == 422
        gone = await visavis.create_session()
        await visavis.create_session()
        with pytest.raises(VisavisError, match="taken") as full:
            await visavis.create_session()
        assert (full.value.status, full.value.retry_after_s) == (503, 3.0)
        await gone.delete()
        with pytest.raises(VisavisError, match="no such session"):
            async with gone.connect():
                pass


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
async def test_no_server_is_told_in_words(url):
    async with Visavis(url) as visavis:
        with pytest.raises(VisavisError, match="no Visavis server answers at"):
            await visavis.characters()


def test_an_address_that_is_none_is_told_in_words():
    with pytest.raises(VisavisError, match="http://host:port"):
        Visavis("localhost:8080")


# Files through a live server -----------------------------------------------------------------------------------------


def levels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Per 40 ms of the file: how loud it is, and how white the probe's corner of the picture is at its middle."""
    with av.open(str(path)) as file:
        pictures = [(p.time, p.to_ndarray(format="gray")[4:28, 4:28].mean()) for p in file.decode(video=0)]
    with av.open(str(path)) as file:
        frames = [(s.time, s.to_ndarray().mean(axis=0)) for s in file.decode(audio=0)]
    rate = 48_000
    sound = np.zeros(int((frames[-1][0] + 1) * rate))
    for start_s, samples in frames:
        start = round(start_s * rate)
        kept = samples[max(0, -start) :]
        sound[max(0, start) : max(0, start) + len(kept)] = kept
    count = int(min(pictures[-1][0], frames[-1][0]) / 0.04)
    loud = np.abs(sound[: count * 1920]).reshape(count, 1920).max(axis=1)
    starts = np.array([at for at, _ in pictures])
    shown = np.searchsorted(starts, np.arange(count) * 0.04 + 0.02, side="right") - 1
    return loud, np.array([pictures[max(i, 0)][1] for i in shown])


async def test_a_spoken_file_has_picture_and_sound_in_step(server, bursts, tmp_path):
    out = tmp_path / "out.mp4"
    seconds = await talk.talk(server, "ada", bursts, out, probe=True)
    assert seconds >= 3
    loud, white = levels(out)
    sounding, showing = loud > 0.1, white > 240
    assert 25 <= sounding.sum() <= 36  # three times 0.4 s
    assert abs(int(sounding.sum()) - int(showing.sum())) <= 6
    onsets = [np.flatnonzero(np.diff(one.astype(int)) == 1) for one in (sounding, showing)]
    assert len(onsets[0]) == len(onsets[1]) == 3
    assert np.abs(onsets[0] - onsets[1]).max() <= 1  # frames


def run_talk(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "client.talk", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_talk_shows_progress_and_says_where_the_video_is(server, bursts, tmp_path):
    out = tmp_path / "out.mp4"
    said = run_talk("--server", server, "--character", "bo", "--audio", str(bursts), "--out", str(out))
    assert said.returncode == 0, said.stderr
    assert str(out) in said.stdout
    assert "3.0 of 3.0 s spoken" in said.stderr
    assert list(tmp_path.glob("*.part")) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"--character": "eve"}, "ada, bo"),
        ({"--audio": "missing.wav"}, "missing.wav"),
        ({"--audio": __file__}, "cannot read sound"),
        ({"--out": "/no/such/folder/out.mp4"}, "cannot write"),
        ({"--server": "http://127.0.0.1:9"}, "is it running"),
        ({"--emotion": "bored"}, "neutral, happy"),
        ({"--emotion": "happy:2"}, "from 0 to 1"),
        ({"--character": "duo", "--face": "Nobody"}, "0 Uma, 1 Vito"),
    ],
)
def test_talk_says_what_is_wrong_and_leaves_no_file(server, bursts, tmp_path, change, word):
    out = tmp_path / "out.mp4"
    flags = {"--server": server, "--audio": str(bursts), "--out": str(out)} | change
    said = run_talk(*(part for flag in flags.items() for part in flag))
    assert said.returncode == 1
    assert word in said.stderr
    assert "Traceback" not in said.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"bursts.wav"}


def test_the_twenty_line_example_works(server, bursts):
    command = [sys.executable, "-m", "client.example", str(bursts), server.removeprefix("http://")]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr
    assert said.stdout.count("picture") > 50
    assert said.stdout.count("sound") > 50
