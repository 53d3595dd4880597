"""What an operator may choose, as one frozen value. Knows nothing of flags or environment variables."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True)
class IceServer:
    """One STUN or TURN server, as it is offered to clients and used by the server itself."""

    url: str
    username: str | None = None
    credential: str | None = None

    def __post_init__(self) -> None:
        scheme, _, rest = self.url.partition(":")
        if scheme not in ("stun", "stuns", "turn", "turns") or not rest:
            raise ValueError(
                f"ICE server {self.url!r} is not understood: write stun:host:port or turn:host:port,username,credential"
            )
        if any(ord(letter) < 33 or letter in '<>"' for letter in self.url):
            raise ValueError(f"ICE server {self.url!r} has a blank, bracket or quote in it")
        if scheme.startswith("turn") and not (self.username and self.credential):
            raise ValueError(f"TURN server {self.url!r} needs a user: write turn:host:port,username,credential")

    @classmethod
    def parse(cls, text: str) -> IceServer:
        """`stun:host:port` or `turn:host:port,username,credential`; the credential may itself contain commas."""
        url, _, login = text.strip().partition(",")
        username, _, credential = login.partition(",")
        return cls(url, username or None, credential or None)

    @property
    def link(self) -> str:
        """The value of a `Link` header that tells a WHIP client of this server."""
        parts = [f"<{self.url}>", 'rel="ice-server"']
        if self.username:
            parts += [
                f'username="{_quoted(self.username)}"',
                f'credential="{_quoted(self.credential or "")}"',
                'credential-type="password"',
            ]
        return "; ".join(parts)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def user_characters() -> str:
    """Where the user's own characters lie unless another folder is named."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return str(Path(data) / "visavis" / "characters")


@dataclass(frozen=True)
class ServerConfig:
    """Everything a running server was told. Built once, by server.py, and handed down."""

    host: str = "127.0.0.1"
    port: int = 8080
    preset: str = "embedded"
    workers: int = 1
    sequence_parallel: int = 1  # processes of a worker, which share each picture's work
    threads: int = 0  # arithmetic threads in each process; 0: as many as make a chunk in time
    max_sessions: int | None = None  # None: as many as the measured speed of the model carries
    ice_servers: tuple[IceServer, ...] = ()
    allow_origins: tuple[str, ...] = ()  # besides the server's own; "*" allows all
    log_level: str = "info"
    loader: str = "model.loading:load"
    characters: str = field(default_factory=user_characters)  # folder of the user's own
    session_idle_s: float = 10.0  # a session that nobody is attached to is closed after this
    checkpoint: str | None = None  # folder of the weights, for full-size presets; None: they are in the repository
    lora: str | None = None  # file
    image_size: str | None = None
    decoder: str | None = None
    mode: str | None = None  # how weights lie in memory
    optimise: str | None = None

    @property
    def model_choices(self) -> dict[str, str]:
        """What was chosen of a model besides its preset."""
        names = ("checkpoint", "lora", "image_size", "decoder", "mode", "optimise")
        chosen = {name: getattr(self, name) for name in names}
        return {name: value for name, value in chosen.items() if value is not None}

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port {self.port} is not between 0 and 65535")
        if self.threads < 0:
            raise ValueError(f"threads must be at least 0, got {self.threads}")
        for name in ("workers", "sequence_parallel"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name.replace('_', ' ')} must be at least 1, got {getattr(self, name)}")
        if self.max_sessions is not None and self.max_sessions < 1:
            raise ValueError(f"max sessions ({self.max_sessions}) must be at least 1")
        if self.log_level not in LOG_LEVELS:
            raise ValueError(f"log level {self.log_level!r} is not one of {', '.join(LOG_LEVELS)}")
        for origin in self.allow_origins:
            if origin != "*" and ("://" not in origin or origin.endswith("/")):
                raise ValueError(f"origin {origin!r} is not understood: write https://host[:port] or *")
