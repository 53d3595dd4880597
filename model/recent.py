"""Things that are dear to make and large to keep: those used last stay, within a bound. Knows nothing of what they are."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from threading import Lock
from typing import Generic, TypeVar

from torch import Tensor

Kept = TypeVar("Kept")


class Recent(Generic[Kept]):
    """At most `most_bytes` of tensors in all, but always what was asked for last. May be used from several threads."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._lock = Lock()

    def get(self, name: str, make: Callable[[], Kept]) -> Kept:
        """What is kept under the name, or is made now. Two that ask at once may both make it."""
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        made = make()
        with self._lock:
            self._kept[name] = made
            self._kept.move_to_end(name)
            left = sum(map(bytes_of, self._kept.values()))
            while left > self.most_bytes and len(self._kept) > 1:
                left -= bytes_of(self._kept.popitem(last=False)[1])
        return made

    def forget(self, name: str) -> None:
        with self._lock:
            self._kept.pop(name, None)

    def __contains__(self, name: str) -> bool:
        return name in self._kept


def bytes_of(value: object) -> int:
    """Of all tensors in a dataclass, list or tuple; of parts of the same memory, once."""
    return sum({storage.data_ptr(): storage.nbytes() for storage in _storages(value)}.values())


def _storages(value: object) -> Iterator:
    if isinstance(value, Tensor):
        yield value.untyped_storage()
    elif is_dataclass(value):
        for field in fields(value):
            yield from _storages(getattr(value, field.name))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _storages(part)
