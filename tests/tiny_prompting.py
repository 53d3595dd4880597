"""LLaVA and CLIP at the smallest sizes, with random weights and tokenizers of single characters, saved as published."""

import string
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from model.checkpoint import CLIP, LLAVA
from model.prompting import PICTURE, TEMPLATE

PATCH = 112  # pixels: the picture is nine patches
WIDTH, POOLED, LAYERS = 16, 8, 4
MARKS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", PICTURE)


def characters(special: tuple[str, ...], **roles: str) -> PreTrainedTokenizerFast:
    """One token for each character, and those of the special words. The template is cut short: here it is far too long."""
    vocabulary = {name: i for i, name in enumerate(("<pad>", "<unk>", "<s>", "</s>", *special, *string.printable))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    if "eos_token" in roles:
        ends = [(name, vocabulary[name]) for name in ("<s>", "</s>")]
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", **roles)
    made.add_special_tokens({"additional_special_tokens": list(special)})
    return made


def system_tokens(tokenizer: PreTrainedTokenizerFast) -> int:
    return len(tokenizer(TEMPLATE[: TEMPLATE.index("{}")])["input_ids"])


def write_tiny_prompt_models(folder: Path) -> None:
    torch.manual_seed(4)
    words = characters(MARKS)
    llava = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=8, intermediate_size=8, num_hidden_layers=3, num_attention_heads=2, image_size=336,
                patch_size=PATCH,
            ),
            text_config=LlamaConfig(
                vocab_size=len(words), hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=LAYERS,
                num_attention_heads=2, num_key_value_heads=2, pad_token_id=0,
            ),
            image_token_id=words.convert_tokens_to_ids(PICTURE),
        )
    )  # fmt: skip
    llava.save_pretrained(folder / LLAVA)
    words.save_pretrained(folder / LLAVA)
    read = characters((), bos_token="<s>", eos_token="</s>")
    clip = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(read), hidden_size=POOLED, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=96, eos_token_id=3,
        )
    )  # fmt: skip
    clip.save_pretrained(folder / CLIP)
    read.save_pretrained(folder / CLIP)
