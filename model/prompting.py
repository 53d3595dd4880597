"""A prompt and a portrait become what the transformer reads: LLaVA's states of words and picture, CLIP's summary.

Follows the released program: its words before every prompt, HunyuanVideo's template for videos, one picture of the person
behind it, the states two layers below the last. Its files are local; nothing is downloaded. Letters: b 1, l positions,
c width.
"""

from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoTokenizer, CLIPTextModel, LlavaForConditionalGeneration, PreTrainedTokenizerBase

from model.offline import Prompt
from model.picture import llava_pixels

STYLE = "Authentic, Realistic, Natural, High-quality, Lens-Fixed"
NEGATIVE = (
    "Aerial view, aerial view, overexposed, low quality, deformation, a poor composition, bad hands, bad teeth, bad eyes, "
    "bad limbs, distortion, blurring, Lens changes"
)
# What the model was trained with, to the letter.
TEMPLATE = (
    "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following aspects: "
    "1. The main content and theme of the video."
    "2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects."
    "3. Actions, events, behaviors temporal relationships, physical movement changes of the objects."
    "4. background environment, light, style and atmosphere."
    "5. camera angles, movements, and transitions used in the video:<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
)
PICTURE = "<image>"
PORTRAIT = f"\nThe person looks like{PICTURE}"
SYSTEM_TOKENS = 95  # of the template, before the prompt: they are dropped again
PROMPT_TOKENS = 256
SKIPPED_LAYERS = 2


class PromptEncoder:
    """The two models on one device; `system_tokens` belong to LLaVA's tokenizer.

    The released program marks the picture's positions at the end of the mask, behind the padding: their number is right,
    their places are not, and its weights were trained so. Without `misplaced_mask` the mask says what is there."""

    def __init__(
        self, llava: LlavaForConditionalGeneration, llava_tokenizer: PreTrainedTokenizerBase, clip: CLIPTextModel,
        clip_tokenizer: PreTrainedTokenizerBase, system_tokens: int = SYSTEM_TOKENS, misplaced_mask: bool = True,
    ) -> None:  # fmt: skip
        self.llava, self.clip = llava.eval(), clip.eval()
        self.llava_tokenizer, self.clip_tokenizer = llava_tokenizer, clip_tokenizer
        self.system_tokens, self.misplaced_mask = system_tokens, misplaced_mask

    @classmethod
    def load(
        cls, llava: Path, clip: Path, device: torch.device, dtype: torch.dtype | None = None, misplaced_mask: bool = True
    ) -> "PromptEncoder":
        """From folders as transformers saves models, in float16 on a GPU and bfloat16 elsewhere if not said otherwise.

        Raises ValueError with the folder that cannot be used."""
        dtype = dtype or (torch.float16 if device.type == "cuda" else torch.bfloat16)

        def loaded(kind, folder: Path, **options):
            try:
                return kind.from_pretrained(folder, local_files_only=True, **options)
            except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as problem:
                raise ValueError(f"{folder} cannot be used: {str(problem).splitlines()[0]}") from problem

        def filled(kind, folder: Path):
            made, report = loaded(kind, folder, dtype=dtype, output_loading_info=True)
            if lacking := sorted(report["missing_keys"]):  # they would be random numbers
                raise ValueError(f"{folder} cannot be used: its weights lack {', '.join(lacking[:5])}")
            return made.to(device)

        return cls(
            filled(LlavaForConditionalGeneration, llava),
            loaded(AutoTokenizer, llava),
            filled(CLIPTextModel, clip),
            loaded(AutoTokenizer, clip),
            misplaced_mask=misplaced_mask,
        )

    def encode(self, prompt: str, picture: Image.Image) -> Prompt:
        """What is to be seen, and the portrait at its fitted size. Raises ValueError for a prompt that is too long."""
        prompt = prompt.strip()
        return self._encoded(f"{STYLE}, {prompt}" if prompt else f"{STYLE}.", picture)

    def negative(self, picture: Image.Image) -> Prompt:
        """The released negative prompt, which goes with the same portrait."""
        return self._encoded(NEGATIVE, picture)

    @torch.inference_mode()
    def _encoded(self, text: str, picture: Image.Image) -> Prompt:
        states, mask = self._seen(text, picture)
        return Prompt(states, mask, self._summary(text))

    def _seen(self, text: str, picture: Image.Image) -> tuple[Tensor, Tensor]:
        """LLaVA's states b l c and their mask b l, without the template's own beginning."""
        length, device = self.system_tokens + PROMPT_TOKENS, self.llava.device
        tokens = self.llava_tokenizer(TEMPLATE.format(text) + PORTRAIT)["input_ids"]
        if len(tokens) > length:
            raise ValueError(
                f"the prompt is {len(tokens) - length} tokens too long: of {PROMPT_TOKENS} the picture needs some"
            )
        pictures = [at for at, token in enumerate(tokens) if token == self.llava.config.image_token_id]
        if len(pictures) != 1:
            raise ValueError(f"one {PICTURE} belongs to the portrait, the prompt may not have more: {len(pictures)} found")
        (place,) = pictures
        pixels = llava_pixels(picture)[None].to(device, self.llava.dtype)
        seen = torch.cat(list(self.llava.model.get_image_features(pixels).pooler_output))
        words = self.llava.get_input_embeddings()(torch.tensor(tokens, device=device))
        given = torch.cat((words[:place], seen.to(words.dtype), words[place + 1 :]))
        padding = length - len(tokens)
        # Padding is blank, and counts as no position.
        given = torch.cat((given, given.new_zeros(padding, given.shape[1])))[None]
        valid = torch.arange(given.shape[1], device=device)[None] < given.shape[1] - padding
        positions = (valid.long().cumsum(1) - 1).masked_fill(~valid, 1)
        states = self.llava.model.language_model(
            inputs_embeds=given, attention_mask=valid.long(), position_ids=positions, use_cache=False,
            output_hidden_states=True,
        ).hidden_states[-1 - SKIPPED_LAYERS]  # fmt: skip
        mask = valid.long()
        if self.misplaced_mask:
            mask = torch.cat((mask.new_ones(len(tokens)), mask.new_zeros(padding), mask.new_ones(len(seen) - 1)))[None]
        return states[:, self.system_tokens :], mask[:, self.system_tokens :]

    def _summary(self, text: str) -> Tensor:
        """CLIP's b c, of as much of the text as it can read."""
        length = self.clip.config.max_position_embeddings
        read = self.clip_tokenizer(text, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        return self.clip(**read.to(self.clip.device)).pooler_output
