"""A headless Chromium driven over its debugging websocket. It knows nothing of the page under test."""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import ifaddr
from websockets.asyncio.client import ClientConnection, connect

START_TIMEOUT_S = 30.0
CALL_TIMEOUT_S = 30.0
MESSAGE_LIMIT_BYTES = 64 << 20  # a screenshot is one message
SPARE_ADDRESS = "10.77.77.1"

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--mute-audio",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
)


class BrowserError(RuntimeError):
    """The browser is missing, did not start, or what it was asked to do failed."""


def chromium() -> str:
    """The browser's path; the error says how to get one."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if path := shutil.which(name):
            return path
    raise BrowserError("No Chromium was found on PATH. On Debian or Ubuntu: apt-get install chromium")


def network_flags() -> tuple[str, ...]:
    """WebRTC never uses 127.0.0.1. Where there is no other address, as in a closed container, loopback gets one."""
    addresses = [ip.ip if ip.is_IPv4 else ip.ip[0] for adapter in ifaddr.get_adapters() for ip in adapter.ips]
    if any(address not in ("127.0.0.1", "::1", SPARE_ADDRESS) for address in addresses):
        return ()
    if SPARE_ADDRESS not in addresses:
        command = ["ip", "address", "add", f"{SPARE_ADDRESS}/32", "dev", "lo"]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise BrowserError(
                "WebRTC needs a network address besides 127.0.0.1 and this machine has none. "
                f"As an administrator: {' '.join(command)}"
            ) from error
    return ("--allow-loopback-in-peer-connection",)


@contextlib.asynccontextmanager
async def open_browser(
    microphone: Path | None = None, flags: tuple[str, ...] = (), width: int = 1280, height: int = 800
) -> AsyncIterator["Browser"]:
    """A browser whose microphone plays the WAV file again and again; a plain beep without one."""
    with tempfile.TemporaryDirectory(prefix="visavis-browser-", ignore_cleanup_errors=True) as profile:
        command = [
            chromium(),
            *FLAGS,
            *network_flags(),
            *flags,
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
        ]
        if microphone is not None:
            command.append(f"--use-file-for-fake-audio-capture={microphone.resolve()}")
        process = await asyncio.create_subprocess_exec(
            *command,
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        drain = None
        try:
            address = await asyncio.wait_for(_debugging_address(process), START_TIMEOUT_S)
            drain = asyncio.create_task(_discard(process.stderr))
            async with connect(address, max_size=MESSAGE_LIMIT_BYTES, ping_interval=None, proxy=None) as socket:
                browser = Browser(socket)
                reader = asyncio.create_task(browser.read())
                try:
                    yield browser
                    with contextlib.suppress(BrowserError):
                        await browser.call("Browser.close")
                finally:
                    reader.cancel()
        finally:
            await _end(process)
            if drain is not None:
                drain.cancel()


async def _debugging_address(process: asyncio.subprocess.Process) -> str:
    said = []
    while line := await process.stderr.readline():
        text = line.decode(errors="replace").strip()
        said.append(text)
        if text.startswith("DevTools listening on "):
            return text.removeprefix("DevTools listening on ")
    raise BrowserError("Chromium ended before it could be driven:\n" + "\n".join(said[-20:]))


async def _discard(stream: asyncio.StreamReader) -> None:
    """Reads what nobody wants, so that the browser never blocks on a full pipe."""
    while await stream.read(65536):
        pass


async def _end(process: asyncio.subprocess.Process) -> None:
    """Waits a moment for a browser that was asked to close, then ends its whole process group."""
    try:
        await asyncio.wait_for(process.wait(), 3.0)
    except TimeoutError:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


class Browser:
    """One websocket to the browser: numbered calls out, answers and events in."""

    def __init__(self, socket: ClientConnection):
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future] = {}
        self._pages: dict[str, Page] = {}

    async def read(self) -> None:
        try:
            async for text in self._socket:
                message = json.loads(text)
                if (answer := self._answers.pop(message.get("id"), None)) is not None and not answer.done():
                    answer.set_result(message)
                elif page := self._pages.get(message.get("sessionId")):
                    page.hear(message)
        finally:
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(BrowserError("Chromium closed its debugging connection"))

    async def call(self, method: str, session: str | None = None, timeout_s: float = CALL_TIMEOUT_S, **params) -> dict:
        number = next(self._numbers)
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        request = {"id": number, "method": method, "params": params}
        if session is not None:
            request["sessionId"] = session
        await self._socket.send(json.dumps(request))
        try:
            message = await asyncio.wait_for(answer, timeout_s)
        except TimeoutError:
            raise BrowserError(f"{method} was not answered within {timeout_s:g} s") from None
        if "error" in message:
            raise BrowserError(f"{method}: {message['error']['message']}")
        return message["result"]

    async def allow_microphone(self, allowed: bool, origin: str) -> None:
        setting = "granted" if allowed else "denied"
        await self.call("Browser.setPermission", permission={"name": "microphone"}, setting=setting, origin=origin)

    async def open(self, url: str, before: str = "", dark: bool = False, size: tuple[int, int] | None = None) -> "Page":
        """A new page at `url`. `before` is script that runs ahead of the page's own."""
        target = (await self.call("Target.createTarget", url="about:blank"))["targetId"]
        session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = self._pages[session] = Page(self, session, target)
        await page.call("Page.enable")
        await page.call("Runtime.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await page.call("Emulation.setEmulatedMedia", features=[scheme])
        if size is not None:
            await page.resize(*size)
        if before:
            await page.call("Page.addScriptToEvaluateOnNewDocument", source=before)
        await page.go(url)
        return page


@dataclass
class Page:
    """One tab. `errors` collects uncaught exceptions; a test that cares looks at the end."""

    browser: Browser
    session: str
    target: str
    errors: list[str] = field(default_factory=list)
    _loaded: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, message: dict) -> None:
        if message["method"] == "Page.loadEventFired":
            self._loaded.set()
        elif message["method"] == "Runtime.exceptionThrown":
            details = message["params"]["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))

    async def call(self, method: str, timeout_s: float = CALL_TIMEOUT_S, **params) -> dict:
        return await self.browser.call(method, self.session, timeout_s, **params)

    async def go(self, url: str) -> None:
        self._loaded.clear()
        answer = await self.call("Page.navigate", url=url)
        if answer.get("errorText"):
            raise BrowserError(f"{url}: {answer['errorText']}")
        await asyncio.wait_for(self._loaded.wait(), CALL_TIMEOUT_S)

    async def evaluate(self, script: str, timeout_s: float = CALL_TIMEOUT_S):
        """The value of an expression, awaited if it is a promise; as JSON would carry it."""
        answer = await self.call(
            "Runtime.evaluate",
            timeout_s,
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if details := answer.get("exceptionDetails"):
            raise BrowserError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    async def wait_for(self, condition: str, timeout_s: float = 10.0):
        """Waits until the expression is true, looking once per painted picture; returns its value."""
        script = f"""new Promise((resolve) => {{
            const until = performance.now() + {timeout_s * 1000};
            const look = () => {{
                const value = ({condition});
                if (value) resolve(value);
                else if (performance.now() > until) resolve(null);
                else setTimeout(look, 20);
            }};
            look();
        }})"""
        value = await self.evaluate(script, timeout_s + 10)
        if value is None:
            text = await self.evaluate("document.body.innerText.slice(0, 600)")
            raise BrowserError(f"Not within {timeout_s:g} s: {condition}\nThe page says:\n{text}")
        return value

    async def click(self, selector: str) -> None:
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    async def text(self, selector: str) -> str:
        return await self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")

    async def resize(self, width: int, height: int) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    async def screenshot(self, path: Path, whole: bool = False) -> Path:
        answer = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(answer["data"]))
        return path

    async def close(self) -> None:
        await self.browser.call("Target.closeTarget", targetId=self.target)

    async def clock_origin_s(self) -> float:
        """What the system's monotonic clock said when this page's performance.now() was zero."""
        await self.call("Performance.enable")
        metrics = (await self.call("Performance.getMetrics"))["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "NavigationStart")
