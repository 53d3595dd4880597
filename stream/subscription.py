"""A bounded queue from one sender to one listener, read as an async iterator. Knows nothing of what passes through."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Subscription(Generic[Item]):
    """Overflow drops the oldest item and counts it in `dropped`: a slow listener falls behind, the sender never waits.

    Iteration ends after `close()` (the listener's word) or once the sender has ended it and the queue is empty.
    """

    def __init__(self, size: int, on_close: Callable[["Subscription[Item]"], None]) -> None:
        self.dropped = 0
        self._items: deque[Item] = deque(maxlen=size)
        self._on_close = on_close
        self._ready = asyncio.Event()
        self._ended = False

    def put(self, item: Item) -> None:
        if self._ended:
            return
        if len(self._items) == self._items.maxlen:
            self.dropped += 1
        self._items.append(item)
        self._ready.set()

    def end(self) -> None:
        """Sender's side: nothing more will come; what is queued may still be read."""
        self._ended = True
        self._ready.set()

    def close(self) -> None:
        """Listener's side: stop at once. Idempotent."""
        self._items.clear()
        self.end()
        self._on_close(self)

    def __aiter__(self) -> "Subscription[Item]":
        return self

    async def __anext__(self) -> Item:
        while not self._items:
            if self._ended:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        return self._items.popleft()
