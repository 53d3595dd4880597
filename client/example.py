"""The whole bot protocol in twenty lines: python -m client.example speech.wav localhost:8080"""

import asyncio
import json
import struct
import sys
import urllib.request
import wave

from websockets.asyncio.client import connect


async def main(path: str, server: str) -> None:
    request = urllib.request.Request(f"http://{server}/v1/sessions", b"{}", {"Content-Type": "application/json"})
    session = json.load(urllib.request.urlopen(request))
    with wave.open(path) as file:  # 16-bit mono, 8 to 48 kHz
        rate, pcm = file.getframerate(), file.readframes(file.getnframes())
    async with connect(f"ws://{server}{session['ws']}", subprotocols=["avatar.v1"], max_size=None) as bot:
        await bot.send(json.dumps({"type": "session.configure", "input_rate": rate}))
        piece = rate // 10 * 2  # 100 ms; up to 10 s may be sent ahead, "credit" messages tell how much is queued
        for start in range(0, len(pcm), piece):  # version 1, kind 1 (sound), flags, codec, segment 1, time
            await bot.send(struct.pack("<BBBBIQ", 1, 1, 0, 0, 1, 0) + pcm[start : start + piece])
        await bot.send(json.dumps({"type": "segment.end", "segment_id": 1}))
        async for frame in bot:
            if isinstance(frame, bytes):  # kind 2 is an H.264 picture, kind 3 is 48 kHz sound
                _, kind, _, _, _, time_us = struct.unpack_from("<BBBBIQ", frame)
                print(f"{time_us / 1e6:8.3f} s: {'picture' if kind == 2 else 'sound'}, {len(frame) - 16} bytes")
            elif json.loads(frame)["type"] == "playback.finished":
                break


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
