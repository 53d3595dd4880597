"""Prompts and portraits as the released program encodes them: order, crop, layer, mask, and what has no influence."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from model.checkpoint import CLIP, LLAVA, find
from model.prompting import PORTRAIT, PROMPT_TOKENS, STYLE, TEMPLATE, PromptEncoder
from tests.test_checkpoint import CPU, folder, whole  # noqa: F401  (fixtures)
from tests.tiny_prompting import LAYERS, POOLED, WIDTH, system_tokens, write_tiny_prompt_models

SEEN = 9  # places that the picture takes in the tiny model


def picture(seed: int = 1) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (64, 128, 3), np.uint8))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    written = tmp_path_factory.mktemp("ckpts")
    write_tiny_prompt_models(written)
    return written


def load(folders, **options) -> PromptEncoder:
    made = PromptEncoder.load(folders / LLAVA, folders / CLIP, CPU, torch.float32, **options)
    made.system_tokens = system_tokens(made.llava_tokenizer)
    return made


@pytest.fixture(scope="module")
def encoder(folders):
    return load(folders)


def spoken(encoder, prompt) -> int:
    """Tokens of words, from the prompt on, besides the picture's."""
    return len(encoder.llava_tokenizer(TEMPLATE.format(prompt) + PORTRAIT)["input_ids"]) - encoder.system_tokens - 1


def test_shapes_are_those_of_the_models(encoder):
    made = encoder.encode("a man", picture())
    places = PROMPT_TOKENS + SEEN - 1
    assert made.states.shape == (1, places, WIDTH) and made.mask.shape == (1, places) and made.pooled.shape == (1, POOLED)


def test_states_are_llavas_two_layers_below_the_last(encoder):
    """Against the model's own forward pass, with the picture's place written out as many times as it has patches."""
    from model.picture import llava_pixels

    text = TEMPLATE.format(f"{STYLE}, a man") + PORTRAIT.replace("<image>", "<image>" * SEEN)
    tokens = torch.tensor([encoder.llava_tokenizer(text)["input_ids"]])
    with torch.inference_mode():
        own = encoder.llava(
            input_ids=tokens, pixel_values=llava_pixels(picture())[None], output_hidden_states=True
        ).hidden_states
    assert len(own) == LAYERS + 1
    expected = own[LAYERS - 2][:, encoder.system_tokens :]
    made = encoder.encode("a man", picture()).states[:, : expected.shape[1]]
    assert torch.allclose(made, expected, atol=1e-5)


def test_the_released_mask_marks_the_picture_behind_the_padding(encoder):
    words = spoken(encoder, f"{STYLE}, a man")
    mask = encoder.encode("a man", picture()).mask[0]
    assert mask.sum() == words + SEEN
    assert mask[: words + 1].all() and not mask[words + 1 : PROMPT_TOKENS].any() and mask[PROMPT_TOKENS:].all()


def test_the_sensible_mask_marks_what_is_there(encoder, folders):
    words, sensible = spoken(encoder, f"{STYLE}, a man"), load(folders, misplaced_mask=False)
    released, made = encoder.encode("a man", picture()), sensible.encode("a man", picture())
    assert torch.equal(made.mask[0], (torch.arange(made.mask.shape[1]) < words + SEEN).long())
    assert torch.equal(made.states, released.states)


def test_prompt_and_picture_both_count_and_the_summary_sees_the_words_only(encoder):
    asked = (("a man", picture()), ("a cat", picture()), ("a man", picture(2)))
    plain, other, elsewhere = (encoder.encode(*what) for what in asked)
    assert not torch.equal(plain.states, other.states) and not torch.equal(plain.pooled, other.pooled)
    assert not torch.equal(plain.states, elsewhere.states) and torch.equal(plain.pooled, elsewhere.pooled)


def test_the_negative_prompt_has_the_same_length_and_picture(encoder):
    made, negative = encoder.encode("a man", picture()), encoder.negative(picture())
    assert made.states.shape == negative.states.shape and not torch.equal(made.pooled, negative.pooled)


def test_no_prompt_is_the_style_alone(encoder):
    bare = spoken(encoder, f"{STYLE}.")
    assert encoder.encode("  ", picture()).mask.sum() == bare + SEEN


def test_a_prompt_without_room_for_the_picture_is_refused(encoder):
    with pytest.raises(ValueError, match="tokens too long"):
        encoder.encode("word " * 100, picture())


def test_the_portraits_place_cannot_be_taken_by_words(encoder):
    with pytest.raises(ValueError, match="the prompt may not have more: 2 found"):
        encoder.encode("a man <image>", picture())


@pytest.mark.parametrize(("part", "lost"), [(LLAVA, "lm_head"), (CLIP, "final_layer_norm.weight")])
def test_weights_that_lack_a_tensor_are_not_made_up(folders, tmp_path, part, lost):
    shutil.copytree(folders, tmp_path / "ckpts")
    path = tmp_path / "ckpts" / part / "model.safetensors"
    tensors = load_file(path)
    save_file({name: tensor for name, tensor in tensors.items() if lost not in name}, path, {"format": "pt"})
    with pytest.raises(ValueError, match=f"its weights lack .*{lost}"):
        load(tmp_path / "ckpts")


def test_truncated_weights_are_named(folders, tmp_path):
    shutil.copytree(folders, tmp_path / "ckpts")
    path = tmp_path / "ckpts" / LLAVA / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="llava_llama_image cannot be used"):
        load(tmp_path / "ckpts")


def test_a_damaged_folder_is_named(folders, tmp_path):
    with pytest.raises(ValueError, match="nowhere cannot be used"):
        PromptEncoder.load(tmp_path / "nowhere", folders / CLIP, CPU)


def test_a_checkpoint_finds_them(folder):  # noqa: F811
    write_tiny_prompt_models(folder)
    made = find(folder).prompt_encoder(CPU)
    assert made.llava.dtype == torch.bfloat16
