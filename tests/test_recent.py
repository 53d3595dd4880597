"""What is kept of things that are dear to make: those used last, within a bound of bytes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.recent import Recent, bytes_of
from tests.tiny import tiny_generator


@dataclass(frozen=True)
class Thing:
    parts: list[Tensor]


def thing(bytes_: int) -> Thing:
    return Thing([torch.zeros(bytes_, dtype=torch.uint8)])


def test_those_used_last_stay():
    kept, made = Recent(300), []

    def get(name: str, size: int = 100) -> Thing:
        return kept.get(name, lambda: made.append(name) or thing(size))

    for name in ("a", "b", "c", "a", "d"):
        get(name)
    assert made == ["a", "b", "c", "d"] and "a" in kept and "b" not in kept
    get("large", 1000)
    assert "large" in kept and not any(name in kept for name in "acd")  # what was asked for last stays, however large
    kept.forget("large")
    get("large", 100)
    assert made.count("large") == 2


def test_shared_memory_is_counted_once():
    whole = torch.zeros(100)
    assert bytes_of([whole, whole[:10], (Thing([whole.view(10, 10)]), "text", None)]) == 400


def test_hundreds_of_characters_do_not_fill_memory():
    generator = tiny_generator()
    one = bytes_of(generator.open("ada", 1))
    generator._rest.most_bytes = 3 * one
    known = generator.characters["ada"]
    generator.characters |= {f"ada{number}": known for number in range(20)}
    for number in range(20):
        generator.open(f"ada{number}", 1)
    assert sum(f"ada{number}" in generator._rest for number in range(20)) <= 3 and "ada19" in generator._rest


def test_a_character_that_is_gone_is_forgotten_and_one_made_anew_is_looked_at_anew():
    generator = tiny_generator()
    before = generator.open("ada", 1)
    generator.forget("ada")
    assert "ada" not in generator._rest
    generator.characters["ada"] = generator.characters["bo"]
    anew, other = generator.open("ada", 1), generator.open("bo", 1)
    assert torch.equal(anew.look.reference, other.look.reference) and torch.equal(anew.cache.keys, other.cache.keys)
    assert not torch.equal(anew.cache.keys, before.cache.keys)
