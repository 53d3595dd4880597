"""The door to torch.compile and CUDA graphs, for a finished network that is given the same shapes over and over.

A CUDA graph repeats the very operations it recorded, on the very memory. So every shape is recorded once, with tensors
of its own that what is given is copied into, and a cache that was written is copied back: sessions come and go, and each
keeps a past of its own. That pays where launching is what takes the time, as in small networks; with billions of
parameters a GPU is busy anyway. A processor gets from packed weights (model/packed.py) what torch.compile gives it after
three minutes: 30.7 and 30.6 of 32.9 ms for a chunk of the embedded preset.

How a recording is made is passed in: a GPU's is a graph, a processor's runs the function again, for tests.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace

import torch
from torch import Tensor, nn

from model.cache import KVCache

WARM_UP = 3  # runs before a recording: libraries choose their kernels in the first ones

Replay = Callable[[], None]
Record = Callable[[Callable[[], object]], tuple[Replay, object]]


def compiled(network: nn.Module, *methods: str, backend: str = "inductor") -> None:
    """The methods fused by torch.compile, on the network itself, whose weights must not be packed (model/packed.py).
    Compiles at the first call of every shape: minutes at full size. Breaks nowhere into Python: what cannot be traced is an
    error, not a slow path."""
    for method in methods:
        setattr(network, method, torch.compile(getattr(network, method), fullgraph=True, dynamic=False, backend=backend))


def replayed(network: nn.Module, *methods: str) -> None:
    """The methods as CUDA graphs, where the network is on a GPU: one launch each instead of thousands."""
    if next(network.parameters()).is_cuda:
        for method in methods:
            setattr(network, method, Replayed(getattr(network, method), cuda_graph))


# --- recordings ------------------------------------------------------------------------------------------------------


def cuda_graph(run: Callable[[], object]) -> tuple[Replay, object]:
    """Records without running: what comes back is filled by the first replay."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = run()
    return graph.replay, made


def by_hand(run: Callable[[], object]) -> tuple[Replay, object]:
    """What a graph does, done by calling again: the same memory in, the same memory out."""
    made = run()

    return lambda: _copy(run(), made), made


@dataclass(frozen=True)
class Recording:
    given: object  # arguments of its own, whose tensors stay where they are
    made: object
    replay: Replay


class Replayed:
    """A function of tensors, and of tuples, lists and dataclasses of them, by its recordings.

    It must read and write nothing else, and run again on the same arguments must leave the same behind: keys and values
    written in place do, a counter does not. What it returns is the caller's. Nothing here waits for the device."""

    def __init__(self, run: Callable[..., object], record: Record) -> None:
        self.run, self.record = run, record
        self.recordings: dict[object, Recording] = {}

    def __call__(self, *given: object) -> object:
        key = shape_of(given)
        if key not in self.recordings:
            own = rebuilt(given, Tensor.clone)
            replay, made = self.record(lambda: self.run(*own))
            self.recordings[key] = Recording(own, made, replay)
        recording = self.recordings[key]
        _copy(given, recording.given)
        recording.replay()
        _copy(caches(recording.given), caches(given))
        return rebuilt(recording.made, Tensor.clone)


def _copy(source: object, target: object) -> None:
    for new, old in zip(tensors(source), tensors(target), strict=True):
        old.copy_(new)


# --- nested arguments ------------------------------------------------------------------------------------------------


def shape_of(value: object) -> object:
    """All of a value but the numbers in its tensors, to look a recording up by."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.dtype, value.device
    if isinstance(value, (tuple, list)):
        return type(value), *map(shape_of, value)
    if is_dataclass(value):
        return type(value), *(shape_of(getattr(value, field.name)) for field in fields(value))
    return value


def rebuilt(value: object, change: Callable[[Tensor], Tensor]) -> object:
    """The same value with its tensors changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (tuple, list)):
        return type(value)(rebuilt(part, change) for part in value)
    if is_dataclass(value):
        return replace(value, **{field.name: rebuilt(getattr(value, field.name), change) for field in fields(value)})
    return value


def tensors(value: object) -> list[Tensor]:
    found: list[Tensor] = []
    rebuilt(value, lambda x: found.append(x) or x)
    return found


def caches(value: object) -> list[KVCache]:
    if isinstance(value, KVCache):
        return [value]
    if isinstance(value, (tuple, list)):
        return [cache for part in value for cache in caches(part)]
    if is_dataclass(value):
        return [cache for field in fields(value) for cache in caches(getattr(value, field.name))]
    return []
