"""What the server and its worker processes say to each other: frozen values, and how they cross a byte stream.

No tensors, no sockets. Both ends are one program's, so pickle is safe between them.
"""

import pickle
import struct
from dataclasses import dataclass, field
from typing import NamedTuple

_LENGTH = struct.Struct("<I")


class Emotion(NamedTuple):
    """How a face is to look."""

    name: str
    intensity: float  # 0 … 1


NEUTRAL = Emotion("neutral", 0.0)


@dataclass(frozen=True)
class PresetInfo:
    """What the server must know of the model that its workers run."""

    name: str
    width: int
    height: int
    fps: int
    frames_per_chunk: int
    model_rate: int  # Hz of the model's sound
    window_samples: int  # what the model hears for one chunk, ending `lookahead_samples` after the chunk
    lookahead_samples: int
    max_batch: int
    steps: int  # denoising steps when there is time
    emotions: tuple[str, ...] = ()  # what the model can show; none where it was not trained for it

    @property
    def samples_per_frame(self) -> int:
        return self.model_rate // self.fps

    @property
    def samples_per_chunk(self) -> int:
        return self.samples_per_frame * self.frames_per_chunk

    @property
    def chunk_s(self) -> float:
        return self.frames_per_chunk / self.fps

    @property
    def playback_samples_per_frame(self) -> int:
        return 48_000 // self.fps

    @property
    def chunk_bytes(self) -> int:
        """RGB24 frames of one chunk."""
        return self.frames_per_chunk * self.height * self.width * 3


@dataclass(frozen=True)
class CharacterInfo:
    name: str
    title: str
    picture: str  # path of a PNG
    faces: tuple[str, ...]  # titles of the people in the picture, at least one


class Place(NamedTuple):
    """Which of the processes that make one picture together a worker process is. One alone is a worker of its own."""

    rank: int = 0
    size: int = 1
    meeting: str = ""  # where the ranks find each other, as in torch.distributed


# server -> worker


@dataclass(frozen=True)
class Open:
    session: int
    character: str
    seed: int
    chunk_index: int  # the first chunk that will be asked for


@dataclass(frozen=True)
class ChunkJob:
    session: int
    index: int
    windows_s16: bytes  # for each face window_samples of int16, little endian
    emotions: tuple[Emotion, ...]  # of each face; in every job, so that a new worker needs no history
    slot: int  # of the frame ring, chosen by the server


@dataclass(frozen=True)
class Step:
    jobs: tuple[ChunkJob, ...]
    steps: int


@dataclass(frozen=True)
class Attach:
    """The frame ring's name; it is made when the first worker has said how large a chunk is."""

    ring: str


@dataclass(frozen=True)
class Close:
    session: int


@dataclass(frozen=True)
class Prepare:
    """Make a character of a picture, while sessions go on; `Preparing` and then `Prepared` or `NotPrepared` follow."""

    job: int
    name: str
    title: str
    portrait: bytes  # an encoded picture, as it came
    faces: str | None  # x0,y0,x1,y1;… in pixels; None: to be found
    anyway: bool  # even where the model cannot hold it
    folder: str  # of the user's characters
    drawn: bool = False  # the portrait is a design, as the drawing process sent it
    replaces: bool = False  # the drawn character of that name


@dataclass(frozen=True)
class Learn:
    """A character has been prepared: by another worker, or by the first of several ranks, which learns it with them."""

    folder: str


@dataclass(frozen=True)
class Forget:
    character: str


@dataclass(frozen=True)
class Stop:
    pass


# worker -> server


@dataclass(frozen=True)
class Ready:
    info: PresetInfo
    characters: tuple[CharacterInfo, ...]
    cost_s: tuple[float, ...]  # measured: seconds of one chunk at 1, 2, … info.steps steps
    share_of_more: float  # measured: what each further chunk of a batch adds, as a share of one alone


@dataclass(frozen=True)
class ChunkResult:
    session: int
    index: int
    slot: int


@dataclass(frozen=True)
class Done:
    results: tuple[ChunkResult, ...]
    stage_s: dict[str, float] = field(default_factory=dict)
    finished_at: float = 0.0  # monotonic clock, the same in all processes of a machine
    failed: tuple[int, ...] = ()  # sessions whose chunk could not be made


@dataclass(frozen=True)
class Failed:
    """A session could not be opened."""

    session: int
    message: str


@dataclass(frozen=True)
class Preparing:
    job: int
    stage: str


@dataclass(frozen=True)
class Prepared:
    job: int
    character: CharacterInfo
    fit: dict[str, float | bool]  # how well the model holds the picture, where that was measured


@dataclass(frozen=True)
class NotPrepared:
    job: int
    message: str
    fit: dict[str, float | bool] | None = None  # where that is the reason


@dataclass(frozen=True)
class Unusable:
    """The worker cannot start: the model's files are wrong or missing. It ends after saying so."""

    message: str


def encode(message: object) -> bytes:
    """The message as it crosses the stream: its length, then itself."""
    packed = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(packed)) + packed


class Decoder:
    """Cuts a stream, however it was broken up on its way, into the messages that were put in."""

    def __init__(self) -> None:
        self._received = bytearray()

    def push(self, received: bytes) -> list:
        self._received += received
        messages = []
        while len(self._received) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._received)[0]
            if len(self._received) < end:
                break
            messages.append(pickle.loads(self._received[_LENGTH.size : end]))
            del self._received[:end]
        return messages
