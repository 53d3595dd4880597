"""Mic to glass, mic to ear and lip sync, measured in a headless Chromium that talks with a running server.

It knows nothing of how the server works: a tone goes into the browser's microphone, and the browser says when it shows
the picture that the tone drove (the session's `probe` option marks it) and when it plays the sound.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import wave
from pathlib import Path

import numpy as np

from tests.browser import open_browser

RATE_HZ = 48_000
BURST_S = 0.2
LONGEST_DELAY_MS = 1_250.0  # less than the time between two bursts, so that no answer is taken for the next one's
FRAME_MS = 40.0
SETTLE_MS = 5_000.0  # buffers fill, codecs start, and sound and picture find together; tones of this time do not count


def write_bursts(path: Path, seconds: float = 60.0) -> None:
    """200 ms tones about every 1.5 s, at uneven distances so that they fall on every phase of a chunk."""
    dice = random.Random(7)
    sound = np.zeros(int(seconds * RATE_HZ))
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(BURST_S * RATE_HZ)) / RATE_HZ)
    start_s = 0.7
    while start_s + BURST_S < seconds:
        start = int(start_s * RATE_HZ)
        sound[start : start + len(tone)] = tone
        start_s += dice.uniform(1.4, 1.6)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((sound * 32767).astype("<i2").tobytes())


async def measure(server: str, character: str | None = None, seconds: int = 60) -> dict:
    """Figures of one conversation of this length; the server must be running and have room for a session."""
    script = (Path(__file__).parent / "browser_latency.js").read_text()
    with tempfile.TemporaryDirectory() as folder:
        microphone = Path(folder) / "bursts.wav"
        write_bursts(microphone)
        async with open_browser(microphone) as browser:
            await browser.allow_microphone(True, server)
            page = await browser.open(server.rstrip("/") + "/healthz")  # any page of the server's origin
            base = json.dumps(server.rstrip("/") + "/")
            first = f"(await (await fetch({base} + 'v1/characters')).json())[0].name"
            chosen = json.dumps(character) if character else first
            call = f"""(async () => {{
                const code = new Blob([{json.dumps(script)}], {{type: "text/javascript"}});
                const {{measure}} = await import(URL.createObjectURL(code));
                return measure({{base: {base}, character: {chosen}, seconds: {seconds}}});
            }})()"""
            found = await page.evaluate(call, timeout_s=seconds + 40)
    return figures(found)


def figures(found: dict) -> dict:
    """Times of onsets, in milliseconds, to medians and percentiles. Raises ValueError where too few came back."""
    begin_ms = found["spoken"][0] + SETTLE_MS if found["spoken"] else 0.0
    asked = [spoken for spoken in found["spoken"] if begin_ms <= spoken < found["endMs"] - LONGEST_DELAY_MS]
    events = []
    for spoken in asked:
        seen, heard = (_first_after(spoken, found[kind]) for kind in ("seen", "heard"))
        if seen is not None and heard is not None:
            events.append((spoken, seen, heard + found["outputMs"]))
    if len(events) < 3:
        counts = {kind: len(found[kind]) for kind in ("spoken", "seen", "heard")}
        raise ValueError(f"too few tones came back to measure anything: {counts}")
    skews = [seen + FRAME_MS / 2 - heard for _, seen, heard in events]
    minutes = [(spoken - events[0][0]) / 60_000 for spoken, _, _ in events]

    def trend_per_minute(values: list[float]) -> float:
        return round(float(np.polyfit(minutes, values, 1)[0]), 2)

    delays = [seen - spoken for spoken, seen, _ in events]
    estimates = [reading["delayMs"] for reading in found["readings"] if reading["delayMs"] is not None]
    rates = [reading["fps"] for reading in found["readings"][2:]]
    syncs = [reading["syncMs"] for reading in found["readings"][2:] if reading["syncMs"] is not None]
    video = found["video"]
    return {
        "mic_to_glass_ms": {**_spread(delays), "trend_per_minute": trend_per_minute(delays)},
        "mic_to_ear_ms": _spread([heard - spoken for spoken, _, heard in events]),
        # A picture stands for 40 ms of sound, and the tone begins anywhere in it: its middle is compared.
        "picture_after_sound_ms": {
            **_spread(skews),
            "p95_of_size": round(float(np.percentile(np.abs(skews), 95)), 1),
            "trend_per_minute": trend_per_minute(skews),
        },
        "browser_sync_ms": _spread(syncs) if syncs else None,
        "sound_output_ms": round(found["outputMs"], 1),  # of mic_to_ear_ms: the output device's own delay
        "first_picture_ms": round(found["firstPictureMs"], 1),
        "page_estimate_ms": round(statistics.median(estimates), 1) if estimates else None,
        "fps": round(statistics.median(rates), 2) if rates else None,
        "freezes": video.get("freezeCount"),
        "frames_dropped_by_browser": video.get("framesDropped"),
        "events": len(events),
        "missed": len(asked) - len(events),
    }


def _first_after(moment_ms: float, times_ms: list[float]) -> float | None:
    return next((time for time in times_ms if 0 < time - moment_ms < LONGEST_DELAY_MS), None)


def _spread(values: list[float]) -> dict:
    return {
        "median": round(statistics.median(values), 1),
        "p5": round(float(np.percentile(values, 5)), 1),
        "p95": round(float(np.percentile(values, 95)), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ops.browser_latency", description=__doc__)
    parser.add_argument("--server", default="http://127.0.0.1:8080", help="a running server (default: %(default)s)")
    parser.add_argument("--character", help="who answers (default: the server's first)")
    parser.add_argument("--seconds", type=int, default=60, help="length of the conversation (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    chosen = parser.parse_args()
    result = asyncio.run(measure(chosen.server, chosen.character, chosen.seconds))
    text = json.dumps(result, indent=2)
    if chosen.json:
        chosen.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
