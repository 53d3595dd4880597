"""Ranks together compute what one process computes, and send what the exchange of heads must send, no more.

Two and three processes over gloo, and more ranks than that as threads which hand tensors over in memory.
"""

import multiprocessing
import threading
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model.attention import CachedStream
from model.cache import KVCache
from model.dit import Conditions, DiT, DiTConfig
from model.parallel import Group
from model.vae import VAE, VAEConfig

CONFIG = DiTConfig(
    hidden_size=72, num_heads=6, rope_dim_list=(4, 4, 4), in_channels=4, out_channels=4, depth_double_blocks=2,
    depth_single_blocks=2, refiner_depth=1, text_states_dim=8, text_states_dim_2=8, audio_window=2, audio_blocks=2,
    audio_channels=6, audio_intermediate_dim=16, audio_adapter_dim_head=16,
)  # fmt: skip
CAUSAL = replace(CONFIG, frames_per_latent=2, leading_frame=False, causal_window=2)
PROCESSES = (2, 3)
CHUNKS = 5  # of one frame; the window holds two
TILED_VAE = VAEConfig(
    latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4, sample_size=32,
    sample_tsize=16,
)  # fmt: skip
TEXT_TOKENS = 5
TIMEOUT_S = 60
PATIENCE_S = 2  # of the group whose second rank falls silent

Tensors = dict[str, Tensor]


def dit_of(config: DiTConfig, group: Group) -> DiT:
    """The same weights on every rank."""
    dit, random = DiT(config, group).eval(), torch.Generator().manual_seed(1)
    for weight in dit.parameters():
        torch.nn.init.normal_(weight, std=0.1, generator=random)
    return dit


def scene(config: DiTConfig, batch: int, frames: int, rows: int, columns: int) -> tuple[Tensor, Conditions]:
    """Noise and conditions, the same on every rank. The last row's text is partly padding."""
    random = torch.Generator().manual_seed(2)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random)

    sound_frames = config.frames_per_latent * frames - (3 if config.leading_frame else 0)
    text_mask = torch.ones(batch, TEXT_TOKENS, dtype=torch.int)
    if batch > 1:
        text_mask[-1, 3:] = 0
    size = (2 * rows, 2 * columns)
    return noise(batch, 4, frames, *size), Conditions(
        timestep=torch.full((batch,), 700.0),
        motion_exp=30 + 5 * noise(batch, 4),
        motion_pose=25 + 5 * noise(batch, 4),
        fps=torch.full((batch,), 25.0),
        text_states=noise(batch, TEXT_TOKENS, config.text_states_dim),
        text_mask=text_mask,
        text_states_2=noise(batch, config.text_states_dim_2),
        ref_latents=noise(batch, 4, 1, *size).expand(-1, -1, frames, -1, -1),
        audio_prompts=noise(batch, sound_frames, config.audio_window, config.audio_blocks, config.audio_channels),
        face_mask=noise(batch, 1, 1, *size).sigmoid(),
    )


# --- what every rank computes ------------------------------------------------------------------------------------------


def whole_clip(group: Group, batch: int, rows: int, columns: int, config: DiTConfig = CONFIG) -> Tensors:
    """A forward pass, then a cached step; and the bytes that each of them sent."""
    dit = dit_of(config, group)
    x, on = scene(config, batch, 3, rows, columns)
    before = group.sent_bytes
    made, kept = dit(x, on)
    between = group.sent_bytes
    again, _ = dit(x, replace(on, timestep=on.timestep - 100), kept)
    sent = torch.tensor([between - before, group.sent_bytes - between])
    return {"made": made, "again": again, "sent": sent}


def causal_clip(group: Group) -> Tensors:
    x, on = scene(CAUSAL, 1, 4, 1, 5)
    per_frame = torch.tensor([[0.0, 300.0, 500.0, 700.0]])
    return {"made": dit_of(CAUSAL, group)(x, replace(on, timestep=per_frame))[0]}


def stream(group: Group) -> Tensors:
    """Chunk by chunk over a rolling window, which keeps each of them."""
    rows, columns, window = 1, 5, CAUSAL.causal_window
    tokens, sink_tokens = rows * columns, rows * columns + TEXT_TOKENS
    dit = dit_of(CAUSAL, group)
    x, on = scene(CAUSAL, 2, CHUNKS, rows, columns)
    past = KVCache.empty(CAUSAL.layers, 2, sink_tokens, tokens, window + 1, dit.own_heads, CAUSAL.head_width)
    dit.prefill(on, past)
    sound, mask = dit.audio_tokens(on.audio_prompts), dit.token_mask(on.face_mask, x[:, :, :1])
    places = dit.rope(torch.arange(window + 1), rows, columns, x.device)
    new = [table[-tokens:] for table in places]
    made = []
    for chunk in range(CHUNKS):
        at = slice(chunk, chunk + 1)
        past.roll()
        past.settle(*places)
        timestep = torch.tensor([600.0]).expand(2, -1)
        motion = on.motion_exp[:, None] + chunk
        moment = replace(on, timestep=timestep, motion_exp=motion, motion_pose=motion, ref_latents=on.ref_latents[:, :, :1])
        pattern = CachedStream(past, *new, remember=1)
        made.append(dit.stream(x[:, :, at], moment, sound[:, :, at], mask, pattern))
    return {"made": torch.cat(made, 2), "keys": past.keys, "values": past.context_values}


def decoded(group: Group) -> Tensors:
    """A clip of six tiles in space and two in time; and the bytes that went out for it."""
    vae, random = VAE(TILED_VAE).eval(), torch.Generator().manual_seed(1)
    for weight in vae.parameters():
        torch.nn.init.normal_(weight, std=0.2, generator=random)
    latents, before = torch.randn(1, 4, 6, 5, 7, generator=random), group.sent_bytes
    made = torch.cat(list(vae.tiled_pictures(latents, group)), 2)
    return {"made": made, "sent": torch.tensor([group.sent_bytes - before])}


SCENARIOS = {
    "one": lambda group: whole_clip(group, 1, 1, 5),
    "batch of two": lambda group: whole_clip(group, 2, 2, 3),
    "fewer tokens than ranks": lambda group: whole_clip(group, 1, 1, 2),
    "causal": causal_clip,
    "stream": stream,
    "decoded": decoded,
}


@torch.inference_mode()
def all_scenarios(group: Group) -> dict[str, Tensors]:
    return {name: scenario(group) for name, scenario in SCENARIOS.items()}


@cache
def alone() -> dict[str, Tensors]:
    return all_scenarios(Group())


# --- the ranks as processes --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> dict[int, list[dict[str, Tensors]]]:
    """What each rank of a group of two and of three computed, by size."""
    folder = tmp_path_factory.mktemp("ranks")
    launcher = multiprocessing.get_context("spawn").Process(target=_launch, args=(folder,))
    launcher.start()
    launcher.join(2 * TIMEOUT_S)  # the start of Python is in it
    if launcher.is_alive():
        launcher.kill()
        launcher.join()
    assert launcher.exitcode == 0, "a rank failed; what it said is in the captured stderr"
    return {
        size: [torch.load(folder / f"{size}.{rank}.pt", weights_only=True) for rank in range(size)] for size in PROCESSES
    }


def _launch(folder: Path) -> None:
    """A process without threads can fork, so that PyTorch is imported once for all ranks."""
    torch.set_num_threads(1)
    context = multiprocessing.get_context("fork")
    waited = context.Event()
    places = [(rank, size) for size in PROCESSES for rank in range(size)]
    ranks = [context.Process(target=_rank, args=(*place, folder, waited), daemon=True) for place in places]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(TIMEOUT_S)
    raise SystemExit(int(any(rank.exitcode != 0 for rank in ranks)))


def _rank(rank: int, size: int, folder: Path, waited: threading.Event) -> None:
    group = Group.join(rank, size, f"file://{folder}/meeting-{size}", torch.device("cpu"), TIMEOUT_S)
    results = all_scenarios(group)
    group.leave()
    if size == 2:
        results["silence"] = {"error": _meet_silence(rank, folder, waited)}
    torch.save(results, folder / f"{size}.{rank}.pt")


def _meet_silence(rank: int, folder: Path, waited: threading.Event) -> Tensor:
    """Rank 0 waits for words from rank 1, which is alive and says nothing. True where that ended in an error."""
    try:
        group = Group.join(rank, 2, f"file://{folder}/silence", torch.device("cpu"), PATIENCE_S)
        if rank == 0:
            group.gather(torch.zeros(1), 0, 2)
    except RuntimeError:
        return torch.tensor(True)
    finally:
        if rank == 0:
            waited.set()
        else:
            waited.wait(TIMEOUT_S)
    return torch.tensor(False)


@pytest.mark.parametrize("size", PROCESSES)
@pytest.mark.parametrize("name", SCENARIOS)
def test_processes_together_compute_what_one_computes(ranks, size, name):
    for theirs in ranks[size]:
        for key in ("made", "again"):
            if key in alone()[name]:
                assert alone()[name][key].std() > 0.01
                assert (theirs[name][key] - alone()[name][key]).abs().max() < 1e-5


@pytest.mark.parametrize("size", PROCESSES)
def test_ranks_agree_to_the_last_bit(ranks, size):
    """Each goes on denoising from its own copy, so they must not drift apart."""
    first, *others = ranks[size]
    for name in SCENARIOS:
        assert all(torch.equal(first[name]["made"], other[name]["made"]) for other in others)


@pytest.mark.parametrize("size", PROCESSES)
def test_a_rank_keeps_the_past_of_its_own_heads(ranks, size):
    for key in ("keys", "values"):
        parts = [rank["stream"][key] for rank in ranks[size]]
        assert all(part.shape[3] == CAUSAL.num_heads // size for part in parts)
        assert torch.allclose(torch.cat(parts, 3), alone()["stream"][key], atol=1e-5)


@pytest.mark.parametrize("size", PROCESSES)
@pytest.mark.parametrize(("name", "batch", "tokens"), [("one", 1, 5), ("batch of two", 2, 6)])
def test_bytes_sent_are_those_of_exchanged_heads(ranks, size, name, batch, tokens):
    frames, away, width = 4, size - 1, CONFIG.hidden_size  # the reference is a frame
    for rank, results in enumerate(ranks[size]):
        own = tokens // size + (rank < tokens % size)
        there = 3 * frames * own * width * away / size  # q, k, v of own tokens, less the heads that stay
        back = frames * (tokens - own) * width / size  # own heads of the others' tokens
        text = away * TEXT_TOKENS * width / size  # own heads of the text, which everybody needs
        patches = away * (frames - 1) * own * 4 * CONFIG.out_channels
        per_attention = there + back + text
        if tokens % size == 0:
            assert there + back == 4 * frames * tokens / size * width * away / size
        sent = [batch * 4 * (attentions * per_attention + patches) for attentions in (CONFIG.layers, 1)]
        assert results[name]["sent"].tolist() == sent


@pytest.mark.parametrize("size", PROCESSES)
def test_bytes_sent_for_a_decode_are_those_of_own_tiles(ranks, size):
    """A rank's tiles go once to each other rank, with their shapes; the overlaps that blending needs go with them."""
    sides = [(32, 32), (32, 32), (32, 8), (16, 32), (16, 32), (16, 8)]  # pixels of the tiles of 5 x 7 latents
    for rank, results in enumerate(ranks[size]):
        own = sides[rank::size]
        pixels = 3 * (17 + 9) * sum(height * width for height, width in own)  # the second tile in time has three latents
        assert results["decoded"]["sent"].item() == (size - 1) * (4 * pixels + 2 * 8 * 5 * len(own))


def test_a_silent_rank_is_an_error_in_finite_time(ranks):
    assert ranks[2][0]["silence"]["error"]


def test_a_rank_that_never_comes_is_an_error_in_finite_time(tmp_path):
    with pytest.raises(RuntimeError):
        Group.join(0, 2, f"file://{tmp_path}/meeting", torch.device("cpu"), timeout_s=0.5)


# --- more ranks, as threads --------------------------------------------------------------------------------------------


class ThreadGroup(Group):
    """A rank that hands its tensors over in memory."""

    def __init__(self, rank: int, size: int, table: dict, barrier: threading.Barrier) -> None:
        super().__init__(rank, size)
        self.table, self.barrier = table, barrier

    def exchange(self, outgoing, shapes):
        self.table[self.rank] = [x.clone() for x in outgoing]
        self.sent_bytes += sum(x.nbytes for rank, x in enumerate(outgoing) if rank != self.rank)
        self.barrier.wait(TIMEOUT_S)
        arrived = [self.table[rank][self.rank].view(shape) for rank, shape in zip(range(self.size), shapes, strict=True)]
        self.barrier.wait(TIMEOUT_S)
        return arrived


def in_threads(size: int, work) -> list:
    table, barrier, results = {}, threading.Barrier(size), [None] * size

    def rank(place: int) -> None:
        try:
            with torch.inference_mode():
                results[place] = work(ThreadGroup(place, size, table, barrier))
        except BaseException:
            barrier.abort()
            raise

    threads = [threading.Thread(target=rank, args=(place,), daemon=True) for place in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert all(result is not None for result in results)
    return results


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 8])
def test_every_size_of_a_released_group_works_on_an_odd_grid(size):
    config = replace(CONFIG, hidden_size=144, num_heads=24, rope_dim_list=(2, 2, 2))
    x, on = scene(config, 2, 2, 1, 7)
    with torch.inference_mode():
        expected = dit_of(config, Group())(x, on)[0]
    for made in in_threads(size, lambda group: dit_of(config, group)(x, on)[0]):
        assert (made - expected).abs().max() < 1e-5


def test_a_generator_over_two_ranks_makes_the_same_film():
    # Imported late: the other processes need no audio encoder, and its imports take longer than all their work.
    from tests.tiny import TINY, tiny_generator

    def film(generator) -> Tensor:
        state, random, latents, made = generator.open("ada", seed=5), np.random.default_rng(1), [], []
        decode = generator.decoder.decode
        generator.decoder.decode = lambda latents, memories: made.append(latents) or decode(latents, memories)
        for _ in range(CHUNKS):
            window = 0.1 * random.standard_normal((1, TINY.audio.window_samples), np.float32)
            _, (state,) = generator.step([state], [window])
            latents.append(made.pop())
        return torch.cat(latents, 2)

    generators = [tiny_generator() for _ in range(3)]

    def together(group: Group) -> Tensor:
        generator = generators[group.rank]
        weights, generator.dit = generator.dit.state_dict(), DiT(TINY.dit, group).eval()
        generator.dit.load_state_dict(weights)
        return film(generator)

    expected = film(generators[2])
    for made in in_threads(2, together):
        assert (made - expected).abs().max() < 1e-5 * expected.abs().max()


# --- shares ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 8])
def test_shares_are_as_even_as_can_be_and_make_up_the_whole(size):
    for total in range(20):
        x = torch.arange(2 * total).view(2, total)
        parts = [Group(rank, size).own(x, 1) for rank in range(size)]
        assert torch.equal(torch.cat(parts, 1), x)
        lengths = [part.shape[1] for part in parts]
        assert lengths == Group(0, size).sizes(total) and max(lengths) - min(lengths) <= 1


def test_heads_that_cannot_be_divided_are_refused():
    with pytest.raises(ValueError, match="6 heads cannot be divided over 4 ranks"):
        DiT(CONFIG, Group(0, 4))


def test_a_rank_outside_its_group_is_refused():
    with pytest.raises(ValueError, match="rank must be 0 … 1"):
        Group(2, 2)


def test_a_group_of_one_hands_back_what_it_was_given():
    group, x = Group(), torch.randn(1, 6, 2, 3)
    assert group.own(x, 1) is x and group.gather(x, 1, 6) is x and group.to_tokens(x, 2, 3) is x
    assert group.to_heads((x, x, x), 2, 3) == (x, x, x) and group.exchange([x], [x.shape]) == [x]
    assert group.sent_bytes == 0
