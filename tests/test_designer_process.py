"""The drawing process as the server sees it: it dies and comes back, waits its turn, and leaves nothing behind."""

import asyncio
import io
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from PIL import Image

from stream.drawing import MOST_WAITING, ROOT, Busy, Drawing, Failed, Refused, Unavailable

SPEAKS = """
import json, os, struct, sys, time
def hear():
    size, _ = struct.unpack("<II", sys.stdin.buffer.read(8))
    return json.loads(sys.stdin.buffer.read(size))
def say(answer, content=b""):
    encoded = json.dumps(answer).encode()
    sys.stdout.buffer.write(struct.pack("<II", len(encoded), len(content)) + encoded + content)
    sys.stdout.buffer.flush()
"""
ECHO = SPEAKS + """
while True:
    asked = hear()
    if asked["ask"] == "die": os._exit(1)
    time.sleep(asked.get("takes", 0))
    say({"pid": os.getpid(), "heard": asked["ask"]})
"""


@asynccontextmanager
async def drawing(script: str | None = None, **choices):
    """The real process, or one that runs this script."""
    one = Drawing((sys.executable, "-c", script), **choices) if script else Drawing(**choices)
    try:
        yield one
    finally:
        await one.stop()


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def gone(pid: int) -> bool:
    for _ in range(100):
        if not lives(pid):
            return True
        await asyncio.sleep(0.05)
    return False


async def test_it_draws_and_says_what_it_cannot_draw():
    async with drawing() as one:
        _, png = await one.ask({"ask": "picture", "look": {"species": "fox"}, "size": 96, "emotion": "sad"})
        assert Image.open(io.BytesIO(png)).size == (96, 96)
        with pytest.raises(Refused, match="jaw is 7; it must be a number from 0"):
            await one.ask({"ask": "picture", "look": {"jaw": 7}, "size": 96, "emotion": "sad"})
        answer, _ = await one.ask({"ask": "lot", "seed": 5, "species": "bear"})
        assert answer["look"]["species"] == "bear"
        assert (await one.ask({"ask": "lot", "seed": 5, "species": "bear"}))[0] == answer


async def test_it_comes_back_after_it_was_killed():
    async with drawing(ECHO) as one:
        first, _ = await one.ask({"ask": "a"})
        os.kill(first["pid"], signal.SIGKILL)
        second, _ = await one.ask({"ask": "b"})
        assert second["heard"] == "b" and second["pid"] != first["pid"]


async def test_a_question_that_kills_it_fails_alone():
    async with drawing(ECHO) as one:
        with pytest.raises(Failed, match="log"):
            await one.ask({"ask": "die"})
        assert (await one.ask({"ask": "a"}))[0]["heard"] == "a"


async def test_one_that_falls_silent_is_replaced():
    async with drawing(ECHO, answer_s=1.0) as one:
        before, _ = await one.ask({"ask": "a"})
        with pytest.raises(Failed):
            await one.ask({"ask": "slow", "takes": 60})
        assert await gone(before["pid"])
        assert (await one.ask({"ask": "a"}))[0]["heard"] == "a"


async def test_nobody_gets_the_answer_to_another_question():
    async with drawing(ECHO) as one:
        await one.ask({"ask": "a"})
        given_up = asyncio.create_task(one.ask({"ask": "slow", "takes": 0.3}))
        await asyncio.sleep(0.1)
        given_up.cancel()
        answers = await asyncio.gather(*(one.ask({"ask": str(number)}) for number in range(5)))
        assert [answer["heard"] for answer, _ in answers] == list("01234")


async def test_a_long_line_is_not_made_longer():
    async with drawing(ECHO) as one:
        waiting = [asyncio.create_task(one.ask({"ask": "a", "takes": 0.02})) for _ in range(MOST_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await one.ask({"ask": "a"})
        await asyncio.gather(*waiting)
        await one.ask({"ask": "a"})


async def test_it_ends_when_nobody_asks_and_starts_again():
    async with drawing(ECHO, idle_s=0.1) as one:
        first, _ = await one.ask({"ask": "a"})
        assert await gone(first["pid"])
        second, _ = await one.ask({"ask": "a"})
        assert second["pid"] != first["pid"]


async def test_stopping_leaves_no_process():
    async with drawing(ECHO) as one:
        pid = (await one.ask({"ask": "a"}))[0]["pid"]
        await one.stop()
        assert not lives(pid)
        with pytest.raises(Failed, match="shutting down"):
            await one.ask({"ask": "a"})


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("ImportError('libGL.so.1: cannot open shared object file')", "sudo apt-get install libgl1 libegl1"),
        ("ModuleNotFoundError(\"No module named 'skia'\", name='skia')", "run make setup"),
    ],
)
async def test_where_skia_cannot_be_used_it_says_what_to_install(trouble, words):
    finder = f"class Finder:\n    def find_spec(name, *_):\n        if name == 'skia': raise {trouble}\n"
    script = f"import sys\n{finder}sys.meta_path.insert(0, Finder)\nfrom model.drawing_process import main\nmain()"
    async with drawing(script) as one:
        for _ in range(2):  # each time by a new process: something may have been installed meanwhile
            with pytest.raises(Unavailable, match=words):
                await one.ask({"ask": "controls"})


def test_it_holds_nothing_of_the_networks():
    script = "import sys, model.drawing_process, model.designing; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"


def test_the_server_holds_neither_skia_nor_the_model():
    script = "import sys, server, stream.api; print({'skia', 'model', 'torch'} & sys.modules.keys())"
    said = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
