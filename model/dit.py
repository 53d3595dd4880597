"""HunyuanVideo-Avatar's transformer: latents in, prediction out, steered by text, reference picture, sound and motion.

Parameter names and numbers are the released model's; sizes come from one frozen config. Streaming adds a timestep and
motion values per frame, and attention patterns that are passed in; with neither, this is the released forward pass.
What comes in and what goes out is whole on every rank of a group; in between a rank holds its share of each frame's tokens.
Letters: b batch, n faces, t latent frames, f video frames, h w latent grid, p tokens of a latent frame, d width.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from model.adapter import AudioAdapter, AudioProjection, mask_per_token, tokens_per_latent
from model.attention import ByHead, CachedStream, CausalSequence, Prefill, WholeSequence, segment_mask
from model.blocks import DoubleBlock, FinalLayer, Pattern, SingleBlock
from model.cache import KVCache
from model.embed import PatchEmbed, ScalarEmbedder, VectorEmbedder
from model.emotion import EmotionAdapter, EmotionProjection, Feelings
from model.parallel import ALONE, Group
from model.rope import rope_table
from model.text import TokenRefiner


@dataclass(frozen=True)
class DiTConfig:
    """Sizes of the transformer. The defaults are the released 13-billion-parameter model."""

    hidden_size: int = 3072
    num_heads: int = 24
    rope_dim_list: tuple[int, int, int] = (16, 56, 56)
    rope_theta: float = 256.0
    patch_size: tuple[int, int, int] = (1, 2, 2)
    in_channels: int = 16
    out_channels: int = 16
    mlp_width_ratio: float = 4.0
    depth_double_blocks: int = 20
    depth_single_blocks: int = 40
    refiner_depth: int = 2
    text_states_dim: int = 4096
    text_states_dim_2: int = 768
    audio_window: int = 10
    audio_blocks: int = 5
    audio_channels: int = 384
    audio_intermediate_dim: int = 1024
    audio_context_tokens: int = 4
    audio_adapter_dim_head: int = 1024
    # Width of the Audio Emotion Module, which the released model does not have.
    emotion_width: int | None = None
    # How video frames map to latent frames: the released VAE gives the first latent a single frame, then four each.
    frames_per_latent: int = 4
    leading_frame: bool = True
    # Past latent frames that a causal stream sees; None where the weights are bidirectional.
    causal_window: int | None = None

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} must be divisible by num_heads {self.num_heads}")
        if sum(self.rope_dim_list) != self.head_width:
            raise ValueError(f"rope_dim_list {self.rope_dim_list} must add up to the head width {self.head_width}")
        if self.patch_size[0] != 1:
            raise ValueError(f"patches over time are not supported, got patch_size {self.patch_size}")

    @property
    def head_width(self) -> int:
        return self.hidden_size // self.num_heads

    @property
    def layers(self) -> int:
        return self.depth_double_blocks + self.depth_single_blocks

    @property
    def adapters(self) -> int:
        """One after every double block with an odd index."""
        return self.depth_double_blocks // 2


@dataclass(frozen=True)
class Conditions:
    """What steers a forward pass besides the latents.

    timestep b or b t (0 … 1000); motion_exp, motion_pose b 4 or b t 4; fps b; text_states b l c; text_mask b l;
    text_states_2 b c; ref_latents b c t h w; audio_prompts b n f window states channels, without the n where there is one
    face; face_mask b n (1 or t) H W: what each sound moves.
    """

    timestep: Tensor
    motion_exp: Tensor
    motion_pose: Tensor
    fps: Tensor
    text_states: Tensor
    text_mask: Tensor
    text_states_2: Tensor
    ref_latents: Tensor
    audio_prompts: Tensor
    face_mask: Tensor
    feelings: Feelings | None = None
    # How many of the refined text tokens take part, the first ones. None: those that `text_mask` counts in each row, which
    # a GPU must be asked for; the others then stay among themselves and change nothing.
    words: int | None = None


@dataclass(frozen=True)
class StepCache:
    """Tokens that enter the last single block, kept for steps that skip all blocks before it."""

    image: Tensor  # b f p d, reference first; this rank's share of p
    text: Tensor  # b l d


@dataclass(frozen=True)
class Faces:
    """What moves the faces of some frames: sound b n t a d in places where mask b n t p 1 is not zero, and, where they feel
    anything, tokens of emotion references b n e p d with their strength b n e t p 1. p is this rank's share."""

    sound: Tensor
    mask: Tensor
    feelings: Tensor | None = None
    strength: Tensor | None = None


class DiT(nn.Module):
    def __init__(self, config: DiTConfig, group: Group = ALONE) -> None:
        super().__init__()
        self.config = c = config
        self.group = group
        self.own_heads = group.share(c.num_heads)  # those whose keys and values this rank keeps in its caches
        width, hidden = c.hidden_size, int(c.hidden_size * c.mlp_width_ratio)
        patch_features = c.out_channels * c.patch_size[1] * c.patch_size[2]
        self.img_in = PatchEmbed(c.patch_size, c.in_channels, width)
        self.ref_in = PatchEmbed(c.patch_size, c.in_channels, width)
        self.txt_in = TokenRefiner(c.text_states_dim, width, c.num_heads, hidden, c.refiner_depth)
        self.time_in = ScalarEmbedder(width)
        self.vector_in = VectorEmbedder(c.text_states_dim_2, width)
        self.double_blocks = nn.ModuleList(DoubleBlock(width, c.num_heads, hidden) for _ in range(c.depth_double_blocks))
        self.single_blocks = nn.ModuleList(SingleBlock(width, c.num_heads, hidden) for _ in range(c.depth_single_blocks))
        self.final_layer = FinalLayer(width, patch_features)
        self.audio_proj = AudioProjection(
            c.audio_window * c.audio_blocks * c.audio_channels, c.audio_intermediate_dim, c.audio_context_tokens, width
        )
        self.motion_exp = ScalarEmbedder(width // 4)
        self.motion_pose = ScalarEmbedder(width // 4)
        self.fps_proj = ScalarEmbedder(width)
        self.before_proj = nn.Linear(width, width)
        self.audio_adapter_blocks = nn.ModuleList(AudioAdapter(width, c.audio_adapter_dim_head) for _ in range(c.adapters))
        if c.emotion_width is not None:
            self.emotion_proj = EmotionProjection(c.in_channels, c.patch_size, width)
            self.emotion_adapter_blocks = nn.ModuleList(
                EmotionAdapter(width, c.emotion_width) for _ in range(c.depth_double_blocks)
            )

    # --- the released forward pass -----------------------------------------------------------------------------

    def forward(self, x: Tensor, on: Conditions, cached: StepCache | None = None) -> tuple[Tensor, StepCache | None]:
        """x b c t h w -> prediction of the same shape, and the tokens to keep for cached steps.

        Every frame sees every other, or, in a causal model, itself and its past. With `cached`, only the last single block
        runs, on the given tokens: x, text, sound and mask then have no influence."""
        vec = self.conditioning(on)
        vec_txt = vec[:, 0] if vec.shape[1] == 1 else self.sink_conditioning(on)
        vec_img = vec if vec.shape[1] == 1 else torch.cat((vec_txt[:, None], vec), 1)
        pattern = self.pattern(x, on)
        if cached is None:
            img, txt = self.embed(x, on)
            tokens, mask = self.audio_tokens(on.audio_prompts), self.token_mask(on.face_mask, x)
            faces = self.faces(tokens, mask, on.feelings)
            img, txt = self.run(img, txt, vec_img, vec_txt, pattern, faces, stop_before_last=True)
            cached = StepCache(img, txt)
        img, _ = self.last_block(cached, vec_img, vec_txt, pattern)
        return self.project(img[:, 1:], vec, x.shape), cached

    def conditioning(self, on: Conditions) -> Tensor:
        """The modulation vector, b t d where timestep or motion are given per frame, else b 1 d."""
        timestep = on.timestep if on.timestep.ndim == 2 else on.timestep[:, None]
        exp, pose = (m if m.ndim == 3 else m[:, None] for m in (on.motion_exp, on.motion_pose))
        vec = self.time_in(timestep) + self.motion_exp(exp).flatten(-2) + self.motion_pose(pose).flatten(-2)
        return vec + (self.fps_proj(on.fps) + self.vector_in(on.text_states_2))[:, None]

    def sink_conditioning(self, on: Conditions) -> Tensor:
        """The vector b d for the reference and the text of a stream: always clean, with no motion of their own."""
        vec = self.time_in(torch.zeros_like(on.fps)) + self.fps_proj(on.fps) + self.vector_in(on.text_states_2)
        still = on.motion_exp.new_zeros(on.fps.shape[0], 4)
        return vec + self.motion_exp(still).flatten(-2) + self.motion_pose(still).flatten(-2)

    def embed(self, x: Tensor, on: Conditions) -> tuple[Tensor, Tensor]:
        """This rank's image tokens b 1+t p d (the clean reference first) and the text tokens b l d.

        The reference enters twice: as a frame of its own, and added to every frame through a second embedding."""
        reference = self.group.own(self.img_in(on.ref_latents[:, :, :1]), 2)
        timestep = on.timestep if on.timestep.ndim == 1 else torch.zeros_like(on.fps)
        return torch.cat((reference, self.embed_frames(x, on.ref_latents)), 1), self.txt_in(
            on.text_states, timestep, on.text_mask
        )[:, : on.words]

    def embed_frames(self, x: Tensor, ref_latents: Tensor) -> Tensor:
        return self.group.own(self.img_in(x), 2) + self.before_proj(self.group.own(self.ref_in(ref_latents), 2))

    def audio_tokens(self, prompts: Tensor) -> Tensor:
        """Prompts as in Conditions -> b n t a d."""
        prompts = prompts if prompts.ndim == 6 else prompts[:, None]
        return tokens_per_latent(self.audio_proj(prompts), self.config.frames_per_latent, self.config.leading_frame)

    def token_mask(self, face_mask: Tensor, x: Tensor) -> Tensor:
        """b n t p 1 for latents x b c t h w."""
        return mask_per_token(face_mask, x.shape[2], *self.grid(x)).to(x.dtype)

    def faces(self, sound: Tensor, mask: Tensor, feelings: Feelings | None) -> Faces:
        """Raises ValueError where the sounds are not as many as the masks, or feelings meet a model that has none."""
        if sound.shape[1] != mask.shape[1]:
            raise ValueError(f"every face has a mask and a sound, got {mask.shape[1]} masks and {sound.shape[1]} sounds")
        mask = self.group.own(mask, 3)
        if feelings is None:
            return Faces(sound, mask)
        if self.config.emotion_width is None:
            raise ValueError("this model has no emotions; leave `feelings` out")
        strength = feelings.strength.to(mask.dtype)[..., None, None]
        return Faces(sound, mask, self.emotion_proj(feelings.latents.to(mask.dtype)), mask[:, :, None] * strength)

    def grid(self, latents: Tensor) -> tuple[int, int]:
        """Rows and columns of tokens in a whole frame of b c t h w."""
        _, ph, pw = self.config.patch_size
        return latents.shape[3] // ph, latents.shape[4] // pw

    def pattern(self, x: Tensor, on: Conditions) -> ByHead:
        frames, (rows, columns), window = x.shape[2], self.grid(x), self.config.causal_window
        times = torch.arange(-1, frames if window is None else window + 1, device=x.device)
        angles = self.rope(times, rows, columns, x.device)
        if window is None:
            mask = segment_mask((frames + 1) * rows * columns, on.text_mask) if on.words is None else None
            pattern = WholeSequence(*angles, mask)
        else:
            pattern = CausalSequence(*(table.unflatten(0, (len(times), -1)) for table in angles))
        return ByHead(pattern, self.group, frames + 1, rows * columns)

    def rope(self, times: Tensor, rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
        return rope_table(times.to(device), rows, columns, self.config.rope_dim_list, self.config.rope_theta)

    def run(
        self, img: Tensor, txt: Tensor, vec_img: Tensor, vec_txt: Tensor, pattern: Pattern, faces: Faces | None,
        stop_before_last: bool = False,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """All blocks. What the faces hear and feel is added to the last frames of img (never to the reference)."""
        for layer, block in enumerate(self.double_blocks):
            img, txt = block(layer, img, txt, vec_img, vec_txt, pattern)
            if faces is not None:
                img = self.move_faces(layer, img, faces)
        blocks = self.single_blocks[:-1] if stop_before_last else self.single_blocks
        for layer, block in enumerate(blocks, len(self.double_blocks)):
            img, txt = block(layer, img, txt, vec_img, vec_txt, pattern)
        return img, txt

    def move_faces(self, layer: int, img: Tensor, faces: Faces) -> Tensor:
        """Each face's tokens hear its own sound after every other block, and see its own emotion after every one."""
        hears = layer % 2 == 1
        if not hears and faces.feelings is None:
            return img
        frames = faces.mask.shape[2]
        still, face = img.split((img.shape[1] - frames, frames), 1)
        moved = face
        if hears:
            adapter = self.audio_adapter_blocks[layer // 2]
            for sound, mask in zip(faces.sound.unbind(1), faces.mask.unbind(1), strict=True):
                moved = moved + adapter(face, sound) * mask
        if faces.feelings is not None:
            moved = moved + self.emotion_adapter_blocks[layer](face, faces.feelings, faces.strength)
        return torch.cat((still, moved), 1)

    def last_block(self, at: StepCache, vec_img: Tensor, vec_txt: Tensor, pattern: Pattern) -> tuple[Tensor, Tensor]:
        return self.single_blocks[-1](self.config.layers - 1, at.image, at.text, vec_img, vec_txt, pattern)

    def project(self, img: Tensor, vec: Tensor, shape: torch.Size) -> Tensor:
        """This rank's tokens b t p d -> all of b c t h w. Patches are gathered, which are far smaller than tokens."""
        _, ph, pw = self.config.patch_size
        rows, columns = shape[3] // ph, shape[4] // pw
        return rearrange(
            self.group.gather(self.final_layer(img, vec), 2, rows * columns),
            "b t (h w) (c ph pw) -> b c t (h ph) (w pw)", h=rows, ph=ph, pw=pw,
        )  # fmt: skip

    # --- the causal stream -------------------------------------------------------------------------------------

    def prefill(self, on: Conditions, cache: KVCache) -> None:
        """Write the sink (reference and text) of a stream into its cache, which has `own_heads` heads.

        `on.ref_latents` is b c 1 h w."""
        reference = self.group.own(self.img_in(on.ref_latents[:, :, :1]), 2)
        clean = torch.zeros_like(on.fps)
        txt = self.txt_in(on.text_states, clean, on.text_mask)[:, : on.words]
        rows, columns = self.grid(on.ref_latents)
        cosine, sine = self.rope(torch.tensor([-1]), rows, columns, reference.device)
        vec = self.sink_conditioning(on)
        pattern = ByHead(Prefill(cosine, sine, cache=cache), self.group, 1, rows * columns)
        self.run(reference, txt, vec[:, None], vec, pattern, None)

    def stream(self, x: Tensor, on: Conditions, sound: Tensor, mask: Tensor, pattern: CachedStream) -> Tensor:
        """New frames x b c t h w against a cache -> their prediction. Timestep and motion are per frame (b t …); sound
        b n t a d and mask b n t p 1 come from `audio_tokens` and `token_mask`."""
        vec = self.conditioning(on)
        img = self.embed_frames(x, on.ref_latents.expand(-1, -1, x.shape[2], -1, -1))
        no_text = img.new_zeros(img.shape[0], 0, img.shape[-1])
        rows, columns = self.grid(x)
        by_head = ByHead(pattern, self.group, x.shape[2], rows * columns)
        img, _ = self.run(img, no_text, vec, vec[:, 0], by_head, self.faces(sound, mask, on.feelings))
        return self.project(img, vec, x.shape)
