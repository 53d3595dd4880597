"""The network and its mathematics. No sockets, no asyncio, no clock."""
