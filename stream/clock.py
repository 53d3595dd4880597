"""The process's one clock, and waiting on it. Only shells hold one; everything else is told what time it is."""

import asyncio
import time


class Clock:
    """Monotonic seconds. Tests bring a twin whose time they move themselves."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep_until(self, deadline: float) -> None:
        await asyncio.sleep(max(0.0, deadline - self.now()))

    async def wait(self, event: asyncio.Event, deadline: float | None) -> None:
        """Return when the event is set or the deadline has passed, whichever is first; None waits for the event alone.

        The event may be found set in both cases: look at what is due, not at why you woke.
        """
        if event.is_set():
            return
        if deadline is None:
            await event.wait()
            return
        # One timer that sets the event costs a tenth of asyncio.wait_for, which wraps a task around the wait.
        timer = asyncio.get_running_loop().call_later(max(0.0, deadline - self.now()), event.set)
        try:
            await event.wait()
        finally:
            timer.cancel()
