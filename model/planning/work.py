"""What a forward pass of the transformer computes and what its ranks send, from a config and shapes alone.

Pure arithmetic: builds nothing, runs nothing, knows no hardware. Work is in operations, two for each multiplication that is
added up in a matrix product; norms, activations, rotations and sums are not counted (nor are they by PyTorch's counter).
Figures are those of a group's first rank, whose share of the tokens is the largest.
Letters: b rows of a batch, f latent frames, p tokens of a whole latent frame, l text tokens.
"""

from dataclasses import astuple, dataclass

from model.dit import DiTConfig
from model.embed import SINUSOID_WIDTH


@dataclass(frozen=True)
class Work:
    """Operations of one rank, by what they are for."""

    blocks: int = 0  # products with the weights of the blocks, for each token
    attention: int = 0  # queries with keys, weights with values
    adapters: int = 0  # sound into picture
    rest: int = 0  # modulation, embeddings, text refiner, output layer

    @property
    def total(self) -> int:
        return sum(astuple(self))

    def __add__(self, other: "Work") -> "Work":
        return Work(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, times: int) -> "Work":
        return Work(*(times * part for part in astuple(self)))


@dataclass(frozen=True)
class Shape:
    """Rows, latent frames, and what else is in the sequence."""

    frames: int  # to be denoised; a reference is not among them
    frame_tokens: int
    text: int  # text tokens
    rows: int = 1
    ranks: int = 1

    @property
    def own(self) -> int:
        """Tokens of a frame that the first rank holds."""
        return -(-self.frame_tokens // self.ranks)

    @property
    def sequence(self) -> int:
        """Tokens of a whole sequence: reference, frames, text."""
        return (self.frames + 1) * self.frame_tokens + self.text


# --- the passes --------------------------------------------------------------------------------------------------------


def whole_pass(c: DiTConfig, s: Shape) -> Work:
    """`DiT.forward` with one timestep for all frames: reference, frames and text see one another."""
    own, sound_frames = s.own * (s.frames + 1) + s.text, video_frames(c, s.frames)
    embedding = product(s.frame_tokens * (2 * s.frames + 1), patch_values(c), c.hidden_size)
    embedding += product(s.own * s.frames, c.hidden_size, c.hidden_size)
    return Work(
        blocks=c.layers * block(c, own),
        attention=c.layers * attention(c, s.sequence, s.sequence, s.ranks),
        adapters=adapters(c, s) + audio_projection(c, sound_frames),
        rest=embedding + refiner(c, s.text) + conditioning(c, 1) + modulation(c, 2) + output(c, s.own * s.frames, 1),
    ) * s.rows  # fmt: skip


def cached_pass(c: DiTConfig, s: Shape) -> Work:
    """The same with a StepCache: only the last single block, and what leads out."""
    return Work(
        blocks=block(c, s.own * (s.frames + 1) + s.text),
        attention=attention(c, s.sequence, s.sequence, s.ranks),
        rest=conditioning(c, 1) + product(2, c.hidden_size, 3 * c.hidden_size) + output(c, s.own * s.frames, 1),
    ) * s.rows  # fmt: skip


def stream_pass(c: DiTConfig, s: Shape, past: int) -> Work:
    """`DiT.stream`: each frame sees itself, those before it and `past` cached tokens, text among them, of which none is
    computed."""
    tokens = s.frames * s.frame_tokens
    seen = range(past + s.frame_tokens, past + tokens + 1, s.frame_tokens)
    embedding = product(2 * tokens, patch_values(c), c.hidden_size) + product(
        s.own * s.frames, c.hidden_size, c.hidden_size
    )
    return Work(
        blocks=c.layers * block(c, s.own * s.frames),
        attention=c.layers * sum(attention(c, s.frame_tokens, keys, s.ranks) for keys in seen),
        adapters=adapters(c, s),
        rest=embedding + conditioning(c, s.frames) + modulation(c, s.frames) + output(c, s.own * s.frames, s.frames),
    ) * s.rows  # fmt: skip


# --- their parts, for one row ------------------------------------------------------------------------------------------


def product(rows: int, i: int, o: int) -> int:
    """rows i times i o."""
    return 2 * rows * i * o


def block(c: DiTConfig, tokens: int) -> int:
    """Double-stream and single-stream blocks do the same for a token, in another order."""
    return product(tokens, c.hidden_size, 4 * c.hidden_size + 2 * hidden(c))


def attention(c: DiTConfig, queries: int, keys: int, ranks: int) -> int:
    return 2 * product(queries, keys, c.hidden_size // ranks)


def adapters(c: DiTConfig, s: Shape) -> int:
    """Every latent frame's tokens meet its own sound; that is computed by every rank."""
    sounds, width = c.frames_per_latent * c.audio_context_tokens, c.audio_adapter_dim_head
    of_image = 2 * product(s.own, c.hidden_size, width) + 2 * product(s.own, sounds, width)
    return c.adapters * s.frames * (of_image + product(sounds, c.hidden_size, 2 * width))


def audio_projection(c: DiTConfig, video_frames: int) -> int:
    features, width = c.audio_window * c.audio_blocks * c.audio_channels, c.audio_intermediate_dim
    return product(video_frames, width, features + width + c.audio_context_tokens * c.hidden_size)


def modulation(c: DiTConfig, vectors: int) -> int:
    """`vectors` of image and text together."""
    parts = 6 * c.depth_double_blocks + 3 * c.depth_single_blocks
    return product(vectors, c.hidden_size, parts * c.hidden_size)


def conditioning(c: DiTConfig, moments: int) -> int:
    """Timestep and motion of each moment, frame rate and pooled text once."""
    quarter = c.hidden_size // 4
    motion = 2 * 4 * product(moments, quarter, SINUSOID_WIDTH + quarter)
    return (moments + 1) * scalar_embedder(c) + motion + product(1, c.hidden_size, c.text_states_dim_2 + c.hidden_size)


def scalar_embedder(c: DiTConfig) -> int:
    return product(1, c.hidden_size, SINUSOID_WIDTH + c.hidden_size)


def refiner(c: DiTConfig, text: int) -> int:
    width, given = c.hidden_size, c.text_states_dim
    each = block(c, text) + attention(c, text, text, 1) + product(1, width, 2 * width)
    return product(text, given, width) + scalar_embedder(c) + product(1, width, given + width) + c.refiner_depth * each


def output(c: DiTConfig, tokens: int, vectors: int) -> int:
    values = patch_values(c, c.out_channels)
    return product(tokens, c.hidden_size, values) + product(vectors, c.hidden_size, 2 * c.hidden_size)


def video_frames(c: DiTConfig, latent_frames: int) -> int:
    return c.frames_per_latent * latent_frames - (c.frames_per_latent - 1 if c.leading_frame else 0)


def hidden(c: DiTConfig) -> int:
    return int(c.hidden_size * c.mlp_width_ratio)


def patch_values(c: DiTConfig, channels: int | None = None) -> int:
    """Values of a patch: of latents that come in, or of so many channels."""
    _, ph, pw = c.patch_size
    return (channels or c.in_channels) * ph * pw


# --- what leaves a rank ------------------------------------------------------------------------------------------------


def sent_per_attention(c: DiTConfig, s: Shape, frames: int, text: int, value_bytes: int) -> int:
    """Bytes that Ulysses moves around one attention over `frames` (a computed reference is one) and computed text.

    Queries, keys and values of own tokens leave for the ranks that have their heads; own heads of what came out leave for
    the ranks that have the tokens. Where tokens divide evenly that is four times the same. Text is everybody's."""
    away = s.ranks - 1
    there = 3 * s.own * away
    back = s.frame_tokens - s.own
    return s.rows * (frames * (there + back) + away * text) * (c.hidden_size // s.ranks) * value_bytes


def sent_at_the_end(c: DiTConfig, s: Shape, value_bytes: int) -> int:
    """Bytes of the prediction, of which every rank needs all."""
    return s.rows * (s.ranks - 1) * s.frames * s.own * patch_values(c, c.out_channels) * value_bytes


# --- what is kept ------------------------------------------------------------------------------------------------------


def kept_per_token(c: DiTConfig, value_bytes: int) -> int:
    """Bytes of a token's keys and values in all layers, over all ranks together."""
    return 2 * c.layers * c.hidden_size * value_bytes
