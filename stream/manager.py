"""All sessions of a server: admission, lookup, drain. Knows nothing of transports or of what a session does."""


class UnknownCharacter(Exception):
    """No character of that name; the message lists the names there are."""


class ServerFull(Exception):
    """No room for one more session (or the server is draining); try again after `retry_after_s`."""

    def __init__(self, retry_after_s: float, message: str) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Sessions:
    """`Sessions(pool, metrics=..., session_idle_s=..., max_sessions=..., make_encoders=EncoderHub-factory(info))`."""

    def create(self, character: str, options=None): raise NotImplementedError  # noqa: E704  -> Session
    def get(self, session_id: str): raise NotImplementedError  # noqa: E704  -> Session; KeyError
    async def close(self, session_id: str, reason: str = "closed") -> None: raise NotImplementedError  # noqa: E704
    async def drain(self) -> None: raise NotImplementedError  # noqa: E704
