"""Figures of a plan are those of the code: counted by PyTorch, sent by a group, and as the released system's are known."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from model import plan
from model.attention import CachedStream
from model.audio import AudioEncoder
from model.cache import KVCache
from model.dit import Conditions, DiT, DiTConfig
from model.generator import Generator
from model.planning.budget import HUNYUAN_AVATAR, Live, Machine, Subject, bytes_by_part, fetched_bytes, weights_by_part
from model.planning.budget_clip import Clip
from model.planning.budget_stream import Stream
from model.planning.footprint import OneRank, cache_bytes, empty_cache, parameters, peak_bytes, weightless
from model.planning.work import (
    Shape,
    attention,
    audio_projection,
    cached_pass,
    kept_per_token,
    product,
    sent_at_the_end,
    sent_per_attention,
    stream_pass,
    whole_pass,
)
from model.planning.work_vae import VAESizes, decode_operations, decode_peak, decoder_convolutions, tiles
from tests.tiny import TINY, tiny_generator

RELEASED = DiTConfig()
CONFIG = DiTConfig(
    hidden_size=72, num_heads=6, rope_dim_list=(4, 4, 4), in_channels=4, out_channels=3, depth_double_blocks=3,
    depth_single_blocks=2, refiner_depth=2, text_states_dim=8, text_states_dim_2=6, audio_window=2, audio_blocks=3,
    audio_channels=5, audio_intermediate_dim=16, audio_context_tokens=2, audio_adapter_dim_head=20,
)  # fmt: skip
TEXT, ROWS, FRAMES, GRID = 5, 2, 3, (4, 10)
FRAME_TOKENS = 10


def scene(c: DiTConfig, frames: int, video_frames: int, *moments: int) -> tuple[torch.Tensor, Conditions]:
    """In bfloat16, whose attention a processor computes by counted products. One row's text is padded."""
    text_mask = torch.ones(ROWS, TEXT, dtype=torch.int)
    text_mask[0, 3:] = 0

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(ROWS, *shape, dtype=torch.bfloat16)

    return noise(c.in_channels, frames, *GRID), Conditions(
        timestep=noise(*moments), motion_exp=noise(*moments, 4), motion_pose=noise(*moments, 4), fps=noise(),
        text_states=noise(TEXT, c.text_states_dim), text_mask=text_mask, text_states_2=noise(c.text_states_dim_2),
        ref_latents=noise(c.in_channels, 1, *GRID).expand(-1, -1, frames, -1, -1),
        audio_prompts=noise(video_frames, c.audio_window, c.audio_blocks, c.audio_channels), face_mask=noise(1, 1, *GRID),
    )  # fmt: skip


@torch.inference_mode()
def counted(work) -> tuple[int, object]:
    with FlopCounterMode(display=False) as counter:
        result = work()
    return counter.get_total_flops(), result


def released(size: str, gpus: int = 1, **machine) -> tuple[Clip, Stream]:
    machine = Machine(gpus, **machine)
    sides = plan.picture_size(HUNYUAN_AVATAR, size)
    return Clip(HUNYUAN_AVATAR, *sides, machine, 129), Stream(HUNYUAN_AVATAR, *sides, machine, 4)


# --- work and bytes, against code that runs ----------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_work_and_bytes_of_whole_and_cached_passes_are_those_of_a_forward(ranks):
    group = OneRank(0, ranks)
    dit = DiT(CONFIG, group).to(torch.bfloat16)
    x, on = scene(CONFIG, FRAMES, 4 * FRAMES - 3)
    shape = Shape(FRAMES, FRAME_TOKENS, TEXT, ROWS, ranks)
    block, end = sent_per_attention(CONFIG, shape, FRAMES + 1, TEXT, 2), sent_at_the_end(CONFIG, shape, 2)

    whole, (_, kept) = counted(lambda: dit(x, on))
    assert whole == whole_pass(CONFIG, shape).total
    assert group.sent_bytes == CONFIG.layers * block + end

    group.sent_bytes = 0
    cached, _ = counted(lambda: dit(x, on, kept))
    assert cached == cached_pass(CONFIG, shape).total
    assert group.sent_bytes == block + end


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_work_and_bytes_of_a_chunk_are_those_of_a_stream(ranks):
    config, past, new = replace(CONFIG, frames_per_latent=2, leading_frame=False, causal_window=3), 3, 2
    group = OneRank(0, ranks)
    dit = DiT(config, group).to(torch.bfloat16)
    x, on = scene(config, new, 4, 2)
    cache = KVCache.empty(
        config.layers, ROWS, FRAME_TOKENS + TEXT, FRAME_TOKENS, past + new, dit.own_heads, config.head_width, torch.bfloat16
    )
    assert cache_bytes(cache) == cache_bytes(empty_cache(config, Shape(new, FRAME_TOKENS, TEXT, ROWS, ranks), past))
    pattern = CachedStream(cache, *dit.rope(torch.arange(new), 2, 5, x.device), remember=new)

    hearing, sound = counted(lambda: dit.audio_tokens(on.audio_prompts))
    assert hearing == ROWS * audio_projection(config, 4)
    mask = dit.token_mask(on.face_mask, x)
    group.sent_bytes = 0
    on = replace(on, ref_latents=on.ref_latents[:, :, :1])
    work, _ = counted(lambda: dit.stream(x, on, sound, mask, pattern))
    shape, met = Shape(new, FRAME_TOKENS, TEXT, ROWS, ranks), FRAME_TOKENS + TEXT + past * FRAME_TOKENS
    assert work == stream_pass(config, shape, met).total
    block, end = sent_per_attention(config, shape, new, 0, 2), sent_at_the_end(config, shape, 2)
    assert group.sent_bytes == config.layers * block + end


def test_work_of_a_live_chunk_is_what_the_generator_does():
    part = tiny_generator()
    generator = Generator(TINY, part.audio, part.dit, part.vae, part.characters, dtype=torch.bfloat16)
    generator.audio.encoder.config._attn_implementation = "eager"  # by products that are counted, as in the transformer
    live = Live(past=TINY.dit.causal_window, chunk=1, steps=TINY.steps)
    subject = Subject("tiny", TINY.dit, TINY.fps, 1, TINY.vae, lambda: AudioEncoder(TINY.audio).encoder, live)
    budget = Stream(subject, TINY.width, TINY.height, Machine(), TINY.steps)
    log_mel = product(80, 201, TINY.audio.window_samples // 160)  # the one product outside the networks

    state, window = generator.open("ada", seed=1), np.zeros((1, TINY.audio.window_samples), np.float32)
    work, _ = counted(lambda: generator.step([state], [window]))
    assert work - log_mel == budget.work(1).total + budget.sound_work + budget.decode[0]


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_ulysses_moves_queries_keys_values_and_what_came_out(ranks):
    shape = Shape(33, 3344, 831, rows=2, ranks=ranks)
    image = 2 * 34 * 3344 * 3072 * 2 // ranks  # of all that a rank holds one part in `ranks` stays
    text = 2 * 831 * (3072 // ranks) * 2 * (ranks - 1)
    assert sent_per_attention(RELEASED, shape, 34, 831, 2) == 4 * image * (ranks - 1) // ranks + text


# --- the released model, against what is known of it -------------------------------------------------------------------


def test_released_model_has_its_number_of_parameters():
    dit = weightless(lambda: DiT(RELEASED))
    assert parameters(dit) == 12_991_493_184
    parts = weights_by_part(dit, lambda module, weight: 1)
    assert sum(parts.values()) == 12_991_493_184
    known = {"double blocks": 6.797e9, "single blocks": 5.664e9, "text refiner": 309e6, "sound into picture": 159e6}
    assert all(parts[part] == pytest.approx(size, rel=2e-3) for part, size in known.items())


def test_modes_put_weights_where_they_say():
    dit = weightless(lambda: DiT(RELEASED))
    total = {mode: sum(bytes_by_part(dit, mode).values()) for mode in ("bf16", "fp8", "offload")}
    assert total["bf16"] == 2 * 12_991_493_184
    assert total["bf16"] - total["fp8"] == pytest.approx(12.457e9, rel=1e-4)  # the matrices of 320 layers, a byte less
    block = parameters(dit.double_blocks[0])
    assert total["offload"] == total["bf16"] - fetched_bytes(dit, "offload") + 2 * 2 * block
    assert fetched_bytes(dit, "bf16") == 0 < total["offload"] < total["fp8"]


@pytest.mark.parametrize(
    ("size", "tokens", "pflop_of_clip"),
    [("704x1216", 114_527, 674), ("704x768", 72_639, 293), ("512x512", 35_647, 85), ("384x384", 20_415, 35)],
)
def test_work_of_a_clip_is_that_of_the_released_program(size, tokens, pflop_of_clip):
    clip, _ = released(size)
    work = whole_pass(RELEASED, replace(clip.shape, rows=1))
    assert clip.shape.sequence == tokens
    assert work.blocks + work.attention == pytest.approx(tokens * (13.6e9 + 737e3 * tokens), rel=1e-3)
    assert 60 * (work.blocks + work.attention) == pytest.approx(pflop_of_clip * 1e15, rel=0.012)
    # What the formula leaves out: sound, embeddings, modulation, text; and the cached steps.
    assert 1 < work.total / (work.blocks + work.attention) < 1.02
    assert 1 < clip.work(clip.shape).total / (60 * work.total) < 1.02


def test_largest_picture_takes_eleven_petaflop_mostly_for_attention():
    clip, _ = released("704")
    work = whole_pass(RELEASED, replace(clip.shape, rows=1))
    assert work.total == pytest.approx(11.2e15, rel=0.01) and work.attention / work.total == pytest.approx(0.86, abs=0.005)


@pytest.mark.parametrize(
    ("size", "context", "tflop_a_second", "gigabytes_a_frame"),
    [
        ("256x256", 3_391, 26, 0.19),
        ("384x384", 6_591, 66, 0.42),
        ("512x512", 11_071, 139, 0.75),
        ("704x704", 20_191, 345, 1.43),
    ],
)
def test_live_chunks_take_what_the_table_of_the_causal_route_says(size, context, tflop_a_second, gigabytes_a_frame):
    _, stream = released(size)
    once = stream.one_pass(1)
    # The table lets the frames of a chunk see those after them, too.
    seeing_all = RELEASED.layers * attention(RELEASED, stream.subject.live.chunk * stream.frame_tokens, context, 1)
    assert 0.9 * seeing_all < once.attention < seeing_all
    a_second = (once.blocks + seeing_all) * 25 / stream.frames
    assert stream.tokens_in_sight == context and stream.frames == 12
    assert a_second == pytest.approx(tflop_a_second * 1e12, rel=0.01)
    assert once.total / (once.blocks + once.attention) < 1.02
    kept = kept_per_token(RELEASED, 2)
    assert kept == pytest.approx(737e3, rel=1e-3)
    assert kept * stream.frame_tokens == pytest.approx(gigabytes_a_frame * 1e9, abs=5e6)


@pytest.mark.parametrize(
    ("frames", "latents", "windows"),
    [(1, (33, 33), 1), (129, (33, 33), 1), (130, (65, 34), 2), (252, (97, 65), 3), (400, (129, 102), 4)],
)
def test_long_clips_take_whole_windows(frames, latents, windows):
    clip = replace(released("384x384")[0], frames=frames)
    assert (clip.latents, clip.windows, clip.passes) == (latents, windows, (30, 20))


def test_vae_decoder_has_the_released_sizes():
    convolutions = list(decoder_convolutions(VAESizes(), (33, 88, 152)))
    norms = 2 * (512 * (4 + 6 + 6 + 1) + 512 + 256 * 5 + 256 + 128 * 5 + 128)
    assert sum(c.parameters for c in convolutions) + norms == pytest.approx(146.1e6, rel=1e-3)
    assert convolutions[-1].at == (129, 704, 1216) and convolutions[-1].o == 3


def test_tiles_are_those_of_the_released_decoder_and_need_far_less():
    vae, latents = VAESizes(), (33, 88, 152)
    cut = tiles(vae, latents)
    assert sorted({t for t, _, _ in cut}) == [9, 17] and len(cut) == 3 * 4 * 7 and max(cut) == (17, 32, 32)
    assert 20 * decode_peak(vae, (17, 32, 32), 2) < decode_peak(vae, latents, 2)
    assert sum(decode_operations(vae, tile) for tile in cut) > decode_operations(vae, latents) / 2
    assert tiles(vae, (3, 32, 32))[0] == (3, 32, 32)


# --- memory ------------------------------------------------------------------------------------------------------------


def test_bytes_alive_are_counted_to_the_last_use():
    def views_and_places():
        x = torch.zeros(1000)  # 4 kB
        y = x.view(10, 100) + 1  # 8 kB
        del x
        y.mul_(2)
        z = y * 2  # 8 kB
        del y
        return torch.cat((z, z))  # 12 kB

    assert peak_bytes(views_and_places) == 12_000
    assert peak_bytes(lambda: torch.zeros(1000)[:10]) == 4_000


def test_more_gpus_hold_less_each_and_are_faster():
    one, eight = released("384x384", gpus=1), released("384x384", gpus=8)
    for alone, together in zip(one, eight, strict=True):
        assert 4 * together.pass_bytes < alone.pass_bytes
    assert eight[0].most_bytes("bf16") <= one[0].most_bytes("bf16")  # equal where the VAE, which is not shared, needs most
    assert eight[1].most_bytes("bf16") < one[1].most_bytes("bf16")
    assert eight[1].session_bytes * 8 == one[1].session_bytes
    assert eight[1].sent > 0 == one[1].sent
    assert 4 * eight[1].chunk_s(0) < one[1].chunk_s(0)


def test_a_plan_that_does_not_fit_says_what_would():
    clip, stream = released("704", gpu_gb=45)
    said = clip.verdict[-1].value
    assert said.startswith("no;") and "fp8" not in said and "offload would" in said
    assert released("256", gpu_gb=80)[0].verdict[-1].value == "yes"
    assert "nor in another mode" in replace(stream, machine=Machine(gpu_gb=8)).verdict[-1].value


# --- the command -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--preset", "colossal"], "hunyuan-avatar"),
        (["--mode", "int4"], "offload"),
        (["--gpus", "5"], "24 heads cannot be divided over 5 GPUs; possible are 1, 2, 3, 4, 6, 8, 12, 24"),
        (["--gpus", "0"], "possible are 1"),
        (["--preset", "embedded", "--gpus", "8"], "4 heads cannot be divided over 8 GPUs"),
        (["--image-size", "large"], "704x1216"),
        (["--image-size", "704x700"], "the nearest size is"),
        (["--image-size", "32"], "64"),
        (["--preset", "embedded", "--image-size", "512"], "256x256 only"),
        (["--tflops", "0"], "more than zero"),
        (["--tflops", "nan"], "more than zero"),
        (["--frames", "0"], "at least 1"),
        (["--steps", "few"], "whole number"),
    ],
)
def test_nonsense_is_refused_in_words(capsys, arguments, said):
    with pytest.raises(SystemExit) as ended:
        plan.main(arguments)
    assert ended.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "size"), [(None, (704, 1216)), ("704", (704, 1216)), ("384", (384, 576)), ("704X704", (704, 704))]
)
def test_a_short_side_stands_for_the_largest_picture(asked, size):
    assert plan.picture_size(HUNYUAN_AVATAR, asked) == size


def test_the_plan_of_the_released_model_is_a_table_and_says_that_it_is_computed(capsys):
    assert plan.main(["--image-size", "704", "--gpus", "8", "--mode", "fp8"]) == 0
    said = capsys.readouterr().out
    for words in ("704x1216, fp8, 8 GPUs", "Nothing here is measured", "12,991,493,184", "114,527", "sent for a block"):
        assert words in said
    for words in ("VAE decode in tiles", "LLaVA", "frame rate", "keys and values of a session"):
        assert words in said
    assert max(map(len, said.splitlines())) <= 110


def test_the_embedded_preset_has_a_plan_too_in_json(capsys):
    assert plan.main(["--preset", "embedded", "--tflops", "0.1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["measured"] is False
    chunk = said["sections"]["a chunk live"]
    assert chunk["frames"]["value"] == 2 and chunk["duration"] == {"value": 0.08, "unit": "s"}
    assert said["sections"]["a chunk live: sent by each GPU, and time"]["frame rate"]["value"] > 25
    assert not any("offline" in name or "prepared" in name for name in said["sections"])


def test_larger_pictures_cost_their_decode_alone(capsys):
    """Only what is painted is computed; it is enlarged, and the portrait carried along in full."""
    found = {}
    for name in ("embedded", "embedded-512"):
        assert plan.main(["--preset", name, "--json"]) == 0
        found[name] = json.loads(capsys.readouterr().out)["sections"]
    chunks, memories = (
        [found[name][of] for name in found] for of in ("a chunk live: operations", "a chunk live: memory of each GPU")
    )
    assert chunks[0] == chunks[1] and memories[0]["decode"]["value"] < memories[1]["decode"]["value"]


def test_help_says_what_is_counted(capsys):
    with pytest.raises(SystemExit) as ended:
        plan.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0 and "server.py plan" in said and "nothing is measured" in said and "Not counted" in said
