"""What can be served, by name: compositions of configs. Nothing is loaded before it is asked for."""

from dataclasses import dataclass, replace

from model.audio import AudioConfig
from model.dit import DiTConfig
from model.tiny_vae import TinyVAEConfig
from model.vae import VAEConfig


@dataclass(frozen=True)
class Window:
    """How bidirectional weights make a stream. A window holds `latents`, of which the last `new` are new each time; those
    before are the end of the window before. More past is a steadier face and dearer pictures."""

    latents: int = 9
    new: int = 4
    flow_shift: float = 5.0
    # How far to go beyond the prediction without sound. 1 leaves that out, and the pass that it takes: for weights into
    # which guidance was distilled.
    guidance: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.new < self.latents:
            raise ValueError(f"a window of {self.latents} latents must hold new ones and past ones, got {self.new} new")

    @property
    def past(self) -> int:
        return self.latents - self.new


@dataclass(frozen=True)
class Preset:
    """One size of the system, from pictures to chunks."""

    name: str
    width: int
    height: int
    fps: int
    vae: TinyVAEConfig | VAEConfig  # what decodes
    audio: AudioConfig
    dit: DiTConfig
    steps: int  # denoising steps of a chunk when there is time
    max_batch: int
    window: Window | None = None  # None: the weights are causal, and a chunk is one latent
    # Characters of a full-size preset have prompts and pictures of any person. All such presets share those that were
    # prepared under this name. None: the preset's own characters, drawn like those that it was trained on.
    prepared_as: str | None = None
    # Pictures are this many times as large as what the decoder paints; the portrait that it carries along fills them.
    enlargement: float = 1.0
    # What an emotion at full intensity asks of the emotion module. A network that has learned to err little shows a little
    # less than it is asked for.
    emotion_gain: float = 1.0
    # The preset whose weights and characters it shows at another size.
    shows: str | None = None

    def __post_init__(self) -> None:
        latents = self.window.new if self.window else 1
        if self.audio.frames_per_chunk != latents * self.dit.frames_per_latent:
            raise ValueError(
                f"a chunk of {self.audio.frames_per_chunk} frames must be {latents} latents of {self.dit.frames_per_latent}"
            )
        if (self.window is None) == (self.dit.causal_window is None):
            raise ValueError("a preset has a window, or causal weights with a window of their own")
        if self.enlargement != 1 and not self.carries:
            raise ValueError(f"only a decoder that carries the portrait along can enlarge, got {self.enlargement}")
        if any(side % self.picture_multiple for side in self.painted):
            height, width = self.painted
            raise ValueError(f"sides must be multiples of {self.picture_multiple} pixels, got {width}x{height}")

    @property
    def characters_of(self) -> str:
        return self.prepared_as or self.weights

    @property
    def weights(self) -> str:
        """The preset that its weights are named after."""
        return self.shows or self.name

    @property
    def painted(self) -> tuple[int, int]:
        """Height and width of what the decoder paints."""
        return round(self.height / self.enlargement), round(self.width / self.enlargement)

    @property
    def spatial_factor(self) -> int:
        """Pixels of a latent's side."""
        return self.vae.spatial_factor if isinstance(self.vae, TinyVAEConfig) else self.vae.spatial_compression_ratio

    @property
    def carries(self) -> bool:
        """Whether its decoder carries the character's picture along."""
        return isinstance(self.vae, TinyVAEConfig) and self.vae.carries

    @property
    def latent_size(self) -> tuple[int, int]:
        height, width = self.painted
        return height // self.spatial_factor, width // self.spatial_factor

    @property
    def picture_multiple(self) -> int:
        """Pixels of a token's side."""
        return self.spatial_factor * self.dit.patch_size[1]


EMBEDDED = Preset(
    name="embedded",
    width=256,
    height=256,
    fps=25,
    vae=TinyVAEConfig(
        patch_size=4,
        latent_channels=32,
        encoder_width=64,
        encoder_blocks=2,
        encoder_time_downscale=(True, False),
        decoder_widths=(128, 64, 32, 32),
        decoder_blocks=(2, 2, 1),
        decoder_time_upscale=(False, True, False),
        decoder_space_upscale=(True, True, False),
        frames_to_trim=0,
        carries=True,
    ),
    audio=AudioConfig(),
    dit=DiTConfig(
        hidden_size=256,
        num_heads=4,
        rope_dim_list=(16, 24, 24),
        in_channels=32,
        out_channels=32,
        depth_double_blocks=4,
        depth_single_blocks=2,
        refiner_depth=1,
        text_states_dim=16,
        text_states_dim_2=16,
        audio_channels=192,
        audio_intermediate_dim=128,
        audio_adapter_dim_head=256,
        emotion_width=64,
        frames_per_latent=2,
        leading_frame=False,
        causal_window=4,
    ),
    steps=1,  # a second one costs a third more and the scores stay where they are
    max_batch=4,
    emotion_gain=1.4,  # 3 to 4 % more emotions are recognised, and at 1.7 no more than that
)

# The same at other sizes: the portrait is carried along in full, only mouth and eyes are painted smaller and enlarged.
LARGER = tuple(
    replace(EMBEDDED, name=f"embedded-{side}", width=side, height=side, enlargement=side / EMBEDDED.width, shows="embedded")
    for side in (384, 512)
)

# The released transformer with its bidirectional weights. Its look-ahead of 120 ms is what a frame's prompt reaches past
# the frame, and what Whisper's convolutions reach past that.
HUNYUAN_AVATAR = Preset(
    name="hunyuan-avatar",
    width=704,
    height=704,
    fps=25,
    vae=TinyVAEConfig(),
    audio=AudioConfig(
        channels=384,
        layers=4,
        heads=6,
        window_samples=64_000,
        lookahead_samples=1_920,
        chunk_samples=10_240,
        prompt_lead=4,
    ),
    dit=DiTConfig(),
    steps=4,
    max_batch=1,  # one session fills the device; a second beside it would only be late together with it
    window=Window(),
    prepared_as="hunyuan-avatar",
)

# The same network with weights trained to see the past only, a latent at a time as the embedded ones are.
HUNYUAN_AVATAR_CAUSAL = replace(
    HUNYUAN_AVATAR,
    name="hunyuan-avatar-causal",
    audio=replace(HUNYUAN_AVATAR.audio, chunk_samples=2_560),
    dit=DiTConfig(leading_frame=False, causal_window=6),
    window=None,
)

PRESETS = {preset.name: preset for preset in (EMBEDDED, *LARGER, HUNYUAN_AVATAR, HUNYUAN_AVATAR_CAUSAL)}
