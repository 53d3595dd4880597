"""uvicorn's WebSocket, cured of waiting for ever for a client that is gone. Knows nothing of what is sent.

uvicorn ends a connection whose ping was not answered by closing its transport, which first waits until everything is
written. To a client that vanished or froze nothing can be written any more, so the connection, and the application
behind it, would never end. Here the transport is aborted instead.
"""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

CLOSE_TIMEOUT_S = 5.0


class SocketProtocol(WebSocketsSansIOProtocol):
    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.transport.abort()

    async def send(self, message) -> None:
        await super().send(message)
        if self.close_timer is not None:
            self.close_timer.cancel()
            self.close_timer = self.loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)
