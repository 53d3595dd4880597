"""Measures what the README promises, on this machine, against its budgets: make bench, or python -m ops.bench --only live.

Prints a table and writes bench.json. Nothing here passes or fails a test: figures belong to the machine they are from.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from client.client import Visavis
from stream.protocol import Cleared, Kind, MediaFrame

ROOT = Path(__file__).parent.parent
SPEECH = (
    "Good morning. My papa and my mama bake apple pie for people who stop by. Would you like some of it? "
    "We have been waiting for warm weather, and now the whole village is moving about. Please remember to bring a map. "
)
LIVE_S, BARGE_INS, CRASH_S = 30, 5, 12


@dataclass(frozen=True)
class Figure:
    what: str
    measured: float | None
    unit: str
    budget: float | None = None
    goal: float | None = None
    at_least: bool = False  # the budget is a floor, not a ceiling

    @property
    def verdict(self) -> str:
        if self.measured is None:
            return "not measured"
        if self.budget is None:
            return ""
        met = self._meets(self.budget)
        return "goal" if met and self.goal is not None and self._meets(self.goal) else "met" if met else "MISSED"

    def _meets(self, limit: float) -> bool:
        return self.measured >= limit if self.at_least else self.measured <= limit


# the model alone


def generation() -> list[Figure]:
    """Time of a chunk in each stage, one thread, and its share of the chunk's own duration."""
    from model.loading import load

    generator = load("embedded", 1)
    window = np.random.default_rng(0).normal(0, 0.05, (1, generator.preset.audio.window_samples)).astype(np.float32)
    chunk_s = generator.preset.audio.frames_per_chunk / generator.preset.fps
    figures = []
    for sessions in (1, 2):
        for steps in range(generator.preset.steps, 0, -1):
            states = [generator.open("ada", seed) for seed in range(sessions)]
            windows, taken, stages = np.repeat(window, sessions, 0), [], []
            for _ in range(25):
                started = time.perf_counter()
                _, states = generator.step(states, windows, steps)
                taken.append(time.perf_counter() - started)
                stages.append(generator.timings)
            share = statistics.median(taken[5:]) / chunk_s / sessions
            name = f"generation per session, share of real time on one core ({sessions} in a batch, {steps} steps)"
            figures.append(Figure(name, round(share, 3), "", 0.5, 0.3))
            if sessions == 1 and steps == generator.preset.steps:
                for stage in stages[0]:
                    median_ms = statistics.median(one[stage] for one in stages[5:]) * 1000
                    figures.append(Figure(f"  of it {stage}", round(median_ms, 1), "ms"))
    return figures


def cache() -> list[Figure]:
    """A denoising pass over one new frame against its cached past, and over the whole window without a cache."""
    import torch

    from model.attention import CachedStream
    from model.dit import Conditions
    from model.loading import load
    from model.text import no_text

    generator = load("embedded", 1)
    state, dit, dtype = generator.open("ada", 1), generator.dit, generator.dtype
    window, (rows, columns) = generator.preset.dit.causal_window, generator.preset.latent_size
    config = generator.preset.dit
    text, text_mask = no_text(1, config.text_states_dim)

    def on(frames: int) -> Conditions:
        return Conditions(
            torch.full((1, frames), 500.0), torch.full((1, frames, 4), 30.0), torch.full((1, frames, 4), 30.0),
            torch.tensor([25.0]), text.to(dtype), text_mask, torch.zeros(1, config.text_states_dim_2, dtype=dtype),
            state.latent.expand(-1, -1, frames, -1, -1), prompts[:, : 2 * frames], state.character.face_mask(),
        )  # fmt: skip

    prompts = torch.zeros(1, 2 * (window + 1), config.audio_window, config.audio_blocks, config.audio_channels, dtype=dtype)
    x = torch.randn(1, config.in_channels, window + 1, rows, columns, dtype=dtype)
    mask = dit.token_mask(state.character.face_mask(), state.latent).to(dtype)
    pattern = CachedStream(state.cache, *dit.rope(torch.tensor([window]), rows // 2, columns // 2, x.device))

    def time_of(call) -> float:
        taken = []
        with torch.inference_mode():
            for _ in range(20):
                started = time.perf_counter()
                call()
                taken.append(time.perf_counter() - started)
        return statistics.median(taken[5:])

    cached = time_of(lambda: dit.stream(x[:, :, -1:], on(1), state.sound, mask, pattern))
    whole = time_of(lambda: dit(x, on(window + 1)))
    name = f"a pass with the cache, times as fast as recomputing {window} past frames"
    return [Figure(name, round(whole / cached, 2), "x", None)]


# a running server


@dataclass
class Server:
    process: asyncio.subprocess.Process
    url: str
    ready_s: float

    def processes(self) -> list[int]:
        """The server's and all below it."""
        found = [self.process.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, task.read_text().split())
        return found

    def memory_mb(self) -> float:
        """Proportional set size of all processes: shared pages count once."""
        total = 0
        for pid in self.processes():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        return total / 1024

    def worker(self) -> int:
        """The process with a device: the largest that has no children."""
        leaves = [p for p in self.processes() if not any(t.read_text() for t in Path(f"/proc/{p}/task").glob("*/children"))]
        return max(leaves, key=lambda pid: int(Path(f"/proc/{pid}/statm").read_text().split()[1]))


@asynccontextmanager
async def running_server(loader: str | None) -> AsyncIterator[Server]:
    started = time.monotonic()
    flags = ("--loader", loader) if loader else ()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "server.py", "--port", "0", "--log-level", "error", *flags, cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 120)).decode()
        if not line:
            raise RuntimeError("the server did not start; run python server.py to see why")
        yield Server(process, line.split()[-1], time.monotonic() - started)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def spoken(seconds: float) -> tuple[bytes, int]:
    """A voice saying the same few sentences again and again, s16le mono and its rate."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        subprocess.run(["flite", "-voice", "slt", "-t", SPEECH, "-o", str(path)], check=True)
        with wave.open(str(path)) as file:
            rate, pcm = file.getframerate(), file.readframes(file.getnframes())
    wanted = int(seconds * rate) * 2
    return (pcm * (wanted // len(pcm) + 1))[:wanted], rate


@dataclass
class Watched:
    pictures: list[tuple[float, np.ndarray]]  # arrival, and the decoded frame
    sounds: list[tuple[float, float]]  # arrival, peak
    first_picture_s: float
    status: dict
    events: list[tuple[float, object]]


async def watch(server: Server, seconds: float, act=None, decode: bool = True) -> Watched:
    """Speak to a session for some seconds and keep what comes back; `act(bot)` runs beside it."""
    pcm, rate = spoken(seconds + 5)
    decoder = av.CodecContext.create("h264", "r")
    pictures, sounds, events = [], [], []
    async with Visavis(server.url) as visavis:
        session = await visavis.create_session("ada")
        began = time.monotonic()
        async with session.connect(input_rate=rate) as bot:
            tasks = [asyncio.create_task(bot.speak(pcm, 1))]
            if act:
                tasks.append(asyncio.create_task(act(bot)))
            async for item in bot:
                now = time.monotonic()
                if isinstance(item, MediaFrame) and item.kind == Kind.VIDEO_OUT:
                    frames = decoder.decode(av.Packet(item.payload)) if decode else [None]
                    pictures += [(now, frame.to_ndarray(format="rgb24") if decode else None) for frame in frames]
                elif isinstance(item, MediaFrame):
                    sounds.append((now, float(np.abs(np.frombuffer(item.payload, "<i2")).max())))
                else:
                    events.append((now, item))
                if now - began > seconds:
                    break
            status = await session.status()
            for task in tasks:
                task.cancel()
        await session.delete()
    return Watched(pictures, sounds, pictures[0][0] - began, status, events)


async def live(loader: str | None) -> list[Figure]:
    """Start-up, one session, two sessions side by side, memory."""
    async with running_server(loader) as server:
        alone = await watch(server, LIVE_S, decode=False)
        figures = [
            Figure("server ready after its process starts", round(server.ready_s, 2), "s", 5),
            Figure("first picture after a session is made", round(alone.first_picture_s, 2), "s", 1),
            *_rates("one session", alone),
        ]
        before = server.memory_mb()
        for number, one in enumerate(await asyncio.gather(*(watch(server, LIVE_S, decode=False) for _ in range(2))), 1):
            figures += _rates(f"two sessions, number {number}", one)
        figures.append(Figure("memory of all processes (PSS) after two sessions", round(server.memory_mb()), "MB", 1500))
        figures.append(Figure("  grown by, over two sessions", round(server.memory_mb() - before, 1), "MB"))
    return figures


def _rates(name: str, one: Watched) -> list[Figure]:
    arrivals = [at for at, _ in one.pictures if at > one.pictures[0][0] + 2]
    stats = one.status.get("stats", one.status)
    frames = max(1, len(one.pictures))
    rate = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])
    return [
        Figure(f"{name}: pictures a second", round(rate, 2), "", 24.9, at_least=True),
        Figure(f"{name}: repeated or late", round(100 * (stats["repeated"] + stats["late"]) / frames, 2), "%", 1),
        Figure(f"{name}: sound in to release, median", stats["latency_ms"], "ms"),
        Figure(f"{name}: sound in to release, 95th percentile", stats["latency_p95_ms"], "ms"),
    ]


async def barge_in(loader: str | None) -> list[Figure]:
    """From `clear` to the last sound, and to lips that are closed in the picture that arrives."""
    from model.evaluate import MouthProbe
    from model.train.world import CHARACTERS

    probe = MouthProbe(CHARACTERS["ada"], seed=1)
    closed_ms, silent_ms = [], []
    async with running_server(loader) as server:
        for attempt in range(BARGE_INS):
            cleared: list[float] = []

            async def interrupt(bot, cleared=cleared, wait_s=3.0 + 0.13 * attempt) -> None:
                await asyncio.sleep(wait_s)
                cleared.append(time.monotonic())
                await bot.clear()

            seen = await watch(server, 5.5, interrupt)
            assert any(isinstance(event, Cleared) for _, event in seen.events)
            times = np.array([at for at, _ in seen.pictures])
            opening = probe.read(np.stack([frame for _, frame in seen.pictures]))[:, 0]
            rest = np.median(opening[times > cleared[0] + 1.2])
            still_open = times[(times > cleared[0]) & (opening > rest + 0.12)]
            closed_ms.append(1000 * (still_open.max() - cleared[0] + 0.04) if len(still_open) else 0.0)
            loud = [at for at, peak in seen.sounds if at > cleared[0] and peak > 300]
            silent_ms.append(1000 * (max(loud) - cleared[0]) if loud else 0.0)
    return [
        Figure("clear to closed mouth, median", round(statistics.median(closed_ms)), "ms", 250),
        Figure("clear to closed mouth, worst", round(max(closed_ms)), "ms", 250),
        Figure("clear to the last sound, worst", round(max(silent_ms)), "ms", 250),
    ]


async def crash(loader: str | None) -> list[Figure]:
    """SIGKILL of the worker in mid-speech: how long until a fresh picture."""
    async with running_server(loader) as server:
        killed: list[float] = []

        async def kill(bot) -> None:
            await asyncio.sleep(4)
            killed.append(time.monotonic())
            os.kill(server.worker(), signal.SIGKILL)

        seen = await watch(server, CRASH_S, kill)
    last, gaps, last_change = None, [], killed[0]
    for at, frame in seen.pictures:
        fresh = last is None or np.abs(frame.astype(int) - last).mean() > 0.3
        if fresh and at > killed[0]:
            gaps.append(at - last_change)
        if fresh:
            last_change, last = max(at, killed[0]), frame.astype(int)
    return [
        Figure("worker killed: longest hold of a picture", round(max(gaps), 2) if gaps else None, "s", 3),
        Figure("worker killed: pictures a second all the same", round(len(seen.pictures) / CRASH_S, 1), ""),
    ]


async def browser(loader: str | None, seconds: int = 60) -> list[Figure]:
    """Mic to glass in headless Chromium, through the whole path."""
    from ops.browser_latency import measure

    async with running_server(loader) as server:
        found = await measure(server.url, "ada", seconds)
    glass, skew = found["mic_to_glass_ms"], found["picture_after_sound_ms"]
    return [
        Figure("microphone to glass, median", glass["median"], "ms", 300, 250),
        Figure("microphone to glass, 95th percentile", glass["p95"], "ms", 450, 350),
        Figure("sound and picture apart, 95th percentile", skew["p95_of_size"], "ms", 40),
        Figure("  trend", skew["trend_per_minute"], "ms a minute"),
        Figure("first picture after Start", round(found["first_picture_ms"] / 1000, 2), "s", 1),
        Figure("pictures a second in the browser", found["fps"], ""),
    ]


PARTS = {"generation": generation, "cache": cache, "live": live, "barge-in": barge_in, "crash": crash, "browser": browser}


def machine() -> str:
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown processor")
    return f"{model}, {os.cpu_count()} cores, PyTorch {torch.__version__}, trained weights of the repository"


def table(figures: list[dict]) -> str:
    rows = ["| what | measured | budget | |", "|---|---|---|---|"]
    for one in figures:
        limit = "" if one["budget"] is None else f"{one['budget']} {one['unit']}".strip()
        if one["goal"] is not None:
            limit += f" (goal {one['goal']})"
        rows.append(f"| {one['what'].strip()} | {one['measured']} {one['unit']} | {limit} | {one['verdict']} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=int, default=60, help="length of the browser's conversation; 600 shows the trend")
    parser.add_argument("--loader", help="another model, as module:function")
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    options = parser.parse_args()
    print(machine())
    figures: list[Figure] = []
    for name in options.only:
        part = PARTS[name]
        try:
            if name in ("generation", "cache"):
                made = part()
            else:
                made = asyncio.run(part(options.loader, options.seconds) if name == "browser" else part(options.loader))
        except Exception as problem:  # one part's trouble is not the others': its row says what went wrong
            made = [Figure(f"{name}: {type(problem).__name__}: {problem}", None, "")]
        figures += made
        for one in made:
            print(f"{one.what:88} {one.measured!s:>8} {one.unit:12} {one.verdict}", flush=True)
    rows = [{**one.__dict__, "verdict": one.verdict} for one in figures]
    options.out.write_text(json.dumps({"machine": machine(), "figures": rows}, indent=1) + "\n")
    print()
    print(table(rows))


if __name__ == "__main__":
    main()
