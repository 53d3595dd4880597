"""A clock whose time the test moves. Twin of stream.clock.Clock."""

import asyncio
import heapq


class FakeClock:
    def __init__(self, start_s: float = 1000.0) -> None:
        self._now = start_s
        self._order = 0
        self._timers: list[tuple[float, int, asyncio.Event]] = []

    def now(self) -> float:
        return self._now

    async def sleep_until(self, deadline: float) -> None:
        await self.wait(asyncio.Event(), deadline)

    async def wait(self, event: asyncio.Event, deadline: float | None) -> None:
        if event.is_set() or (deadline is not None and deadline <= self._now):
            await asyncio.sleep(0)
            return
        if deadline is not None:
            self._order += 1
            heapq.heappush(self._timers, (deadline, self._order, event))
        await event.wait()

    async def advance(self, duration_s: float) -> None:
        """Move time on, stopping at every deadline on the way so that each waiter wakes at its own instant."""
        end_s = self._now + duration_s
        await self._settle()
        while self._timers and self._timers[0][0] <= end_s:
            deadline, _, event = heapq.heappop(self._timers)
            self._now = max(self._now, deadline)
            event.set()
            await self._settle()
        self._now = end_s

    def jump(self, duration_s: float) -> None:
        """Time passes while nobody runs, as when the process is held up; sleepers wake with the next `advance`."""
        self._now += duration_s

    async def _settle(self) -> None:
        for _ in range(6):  # let woken tasks run and wait anew
            await asyncio.sleep(0)
