"""Third stage: the causal transformer learns to film.

    python -m model.train.transformer --minutes 60

Diffusion forcing: every latent frame of a short stretch has its own noise, so the frames before one may be clean, as
they are in the stream, or not. The network predicts how the clean frame differs from the reference. In the second
part of the budget the clean past is what the stream itself has shown, rolled out again and again as the network learns,
because that is what it will stand on; what is to follow is still the truth, so it learns to come back from its own drift.
"""

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.audio import SAMPLE_RATE, AudioConfig, AudioEncoder, frame_prompts, windows_of
from model.blocks import Modulation
from model.character import box_mask
from model.dit import Conditions, DiT
from model.emotion import Feelings
from model.motion import MOTION_CENTRE
from model.presets import EMBEDDED
from model.sampler import add_noise
from model.text import no_text
from model.train.augment import SPEECH_RMS, augment
from model.train.clips import EMOTION_FILE, LEAD_S, SECONDS
from model.train.muon import muon_with_adam
from model.train.rollout import roll_out
from model.train.run import Run, learning_rate

MOUTH_WEIGHT, EYES_WEIGHT = 12.0, 5.0  # beside the rest of the face: there people look
# AdamW's: what is no hidden layer, and what carries one text token or one vector, not the picture.
EDGES = (
    "img_in", "ref_in", "time_in", "vector_in", "motion", "fps", "before_proj", "final_layer", "txt_", "mod",
    "emotion_proj",
)  # fmt: skip
SHIPPED_SHARE = 0.6  # of the emotions, those shown by the pictures that ship
EMOTION_SCALE = 4.0  # at the start: the larger, the faster emotions are learned beside all that is seen more often
PURE_NOISE = 0.75  # share of the frames to be made that start from nothing, as all do where one step is taken
BLANK_SHARE = 0.15  # stretches of which nothing is known: otherwise the past tells the emotion, and nobody asks for it
CHANGE_SHARE = 0.35  # stretches in which an emotion changes, the only other ones where it must be asked for
PAIR_SHARE = 0.3  # batches of two people in a picture
REST_SHARE = 0.12  # stretches that begin with the person at rest, as every session does
OWN_SHARE = 0.75  # of the pasts that are the stream's own, once there are any
ROLL_EVERY = 12  # steps between two rollouts of a batch of clips


@dataclass(frozen=True)
class Batch:
    """Pictures of n people each."""

    latents: Tensor  # b t c h w
    past: Tensor  # what the frames look like as somebody's past: the truth, or what the stream has shown
    reference: Tensor  # b c h w
    exp: Tensor  # b t 4
    pose: Tensor
    prompts: Tensor  # b n f positions states channels
    face_mask: Tensor  # b n 1 h w
    feelings: Feelings
    weight: Tensor  # b h w of each latent cell in the loss


class Clips:
    """All clips of so many people in memory, with the sound of each person heard in several ways."""

    def __init__(self, clips: list[dict[str, Tensor]], states: list[Tensor], silence: Tensor, emotions: Tensor) -> None:
        names = ("latents", "reference", "exp", "pose", "emotion")
        self.latents, self.reference, self.exp, self.pose, self.emotion = (
            torch.stack([clip[name] for clip in clips]) for name in names
        )
        rows, columns = EMBEDDED.latent_size

        def masks(boxes: Tensor) -> Tensor:
            return torch.stack([box_mask(box, rows, columns) for box in boxes.tolist()])

        self.shown = self.latents.clone()
        self._next = 0  # clip to roll out
        self.face = torch.stack([masks(clip["face_box"]) for clip in clips])
        lips = torch.stack([masks(clip["mouth_box"]).amax(0) for clip in clips])
        eyes = torch.stack([masks(eye_boxes(clip["face_box"])).amax(0) for clip in clips])
        self.weight = 1 + self.face.amax(1) + EYES_WEIGHT * eyes + MOUTH_WEIGHT * lips
        self.weight /= self.weight.mean((1, 2), keepdim=True)
        self.strength = torch.stack([strengths(clip) for clip in clips])
        moved = self.strength.diff(dim=-1).abs().sum((1, 2))
        self.changes = moved.nonzero().numpy()  # clip, latent frame
        self.states = torch.stack(states)  # clips people variants chunks positions states channels
        self.silence, self.emotions = silence, emotions

    def batch(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        clip = rng.integers(len(self.latents), size=size)
        start = rng.integers(0, self.latents.shape[1] - length + 1, size=size)
        for row in np.flatnonzero(rng.random(size) < CHANGE_SHARE):
            clip[row], at = self.changes[rng.integers(len(self.changes))]
            start[row] = np.clip(at - rng.integers(-3, length), 0, self.latents.shape[1] - length)
        batch = self.cut(rng, clip, start, length)
        for row in np.flatnonzero(rng.random(size) < REST_SHARE):
            if not batch.feelings.strength[row].any():  # an emotion takes its time, and here it would be there at once
                self._rest(batch, row, int(rng.integers(1, length)))
        return batch

    def roll(self, dit: DiT, rng: np.random.Generator, size: int) -> float:
        """Shows some clips with the network as it is now -> how far that is from the truth, weighted as the loss."""
        clip = np.arange(self._next, self._next + size) % len(self.latents)
        self._next = int(clip[-1] + 1)
        batch = self.cut(rng, clip, np.zeros(size, int), self.latents.shape[1])
        at_rest = torch.from_numpy(rng.random(size) < 0.5)[:, None, None, None, None]  # as sessions begin; or amid speech
        begin = torch.where(at_rest, batch.reference[:, None], batch.latents)
        self.shown[clip] = roll_out(dit, begin, conditions(batch, torch.zeros(batch.exp.shape[:2]))).half()
        apart = (self.shown[clip].float() - batch.latents).square().mean(2) * batch.weight[:, None]
        return apart[:, apart.shape[1] // 2 :].mean().item()

    def cut(self, rng: np.random.Generator, clip: np.ndarray, start: np.ndarray, length: int) -> Batch:
        """`length` latent frames of these clips from these places, each heard in one of its ways."""
        places = list(zip(clip, start, strict=True))

        def part(x: Tensor) -> Tensor:
            return torch.stack([x[c, s : s + length] for c, s in places]).float()

        heard = rng.integers(self.states.shape[2], size=len(clip))
        states = torch.stack([self.states[c, :, v, s : s + length] for (c, s), v in zip(places, heard, strict=True)])
        strength = torch.stack([self.strength[c, ..., s : s + length] for c, s in places])
        shown = self.emotion[clip]
        stranger = rng.integers(self.emotions.shape[1], size=shown.shape)
        stranger = torch.from_numpy(np.where(rng.random(shown.shape) < SHIPPED_SHARE, 0, stranger))
        own = torch.from_numpy(rng.random(len(clip)) < OWN_SHARE)[:, None, None, None, None]
        latents = part(self.latents)
        return Batch(
            latents, torch.where(own, part(self.shown), latents), self.reference[clip].float(), part(self.exp),
            part(self.pose), _prompts(states.float()).flatten(2, 3), self.face[clip][:, :, None],
            Feelings(self.emotions[shown, stranger].float(), strength), self.weight[clip],
        )  # fmt: skip

    def _rest(self, batch: Batch, row: int, frames: int) -> None:
        """Makes everybody still and silent at first."""
        batch.latents[row, :frames] = batch.past[row, :frames] = batch.reference[row]
        batch.exp[row, :frames], batch.pose[row, :frames] = MOTION_CENTRE, MOTION_CENTRE
        batch.prompts.unflatten(2, (batch.latents.shape[1], -1))[row, :, :frames] = self.silence.float()


def strengths(clip: dict[str, Tensor]) -> Tensor:
    """How strong both emotions of each person are to be in each latent frame, n 2 t; the face takes its time to change."""
    frames, per_latent = clip["latents"].shape[0], EMBEDDED.dit.frames_per_latent
    changed = (torch.arange(frames) * per_latent + per_latent > clip["changes_at"][:, None]).float()
    return clip["intensity"][:, :, None] * torch.stack((1 - changed, changed), 1)


@torch.no_grad()
def load_clips(folder: Path, encoder: AudioEncoder, variants: int, seed: int) -> list[Clips]:
    """One pool for each number of people in a picture."""
    paths = sorted(folder.glob("[0-9]*.safetensors"))
    if not paths:
        raise FileNotFoundError(f"no clips in {folder}; make them with python -m model.train.clips")
    clips = [load_file(path) for path in paths]
    states = hear(folder, torch.cat([clip["pcm"] for clip in clips]), encoder, variants, seed)
    states = states.split([len(clip["pcm"]) for clip in clips])
    silence = encoder.prompts(torch.zeros(1, encoder.config.window_samples))[0].half()
    emotions = load_file(folder / EMOTION_FILE)["emotions"]
    pools = []
    for people in sorted({len(clip["pcm"]) for clip in clips}):
        of = [place for place, clip in enumerate(clips) if len(clip["pcm"]) == people]
        pools.append(Clips([clips[place] for place in of], [states[place] for place in of], silence, emotions))
    return pools


def eye_boxes(faces: Tensor) -> Tensor:
    """The band of each face box n 4 in which eyes blink and brows move."""
    x0, y0, x1, y1 = faces.unbind(1)
    return torch.stack((x0, y0 + 0.22 * (y1 - y0), x1, y0 + 0.6 * (y1 - y0)), 1)


def _needed(config: AudioConfig) -> slice:
    """The positions of a window that some prompt of its chunk reads."""
    step = config.samples_per_frame // 320
    first = config.first_position - config.prompt_lead
    return slice(first, first + step * (config.frames_per_chunk - 1) + config.prompt_positions)


def _prompts(states: Tensor) -> Tensor:
    """Kept positions b n t p states channels -> b n t f positions states channels."""
    config = EMBEDDED.audio
    padded = torch.nn.functional.pad(states.flatten(0, 2), (0, 0, 0, 0, _needed(config).start, 0))
    return frame_prompts(padded, config).unflatten(0, states.shape[:3])


@torch.inference_mode()
def hear(folder: Path, recordings: Tensor, encoder: AudioEncoder, variants: int, seed: int) -> Tensor:
    """Encoder states of every chunk of every recording, heard in several ways; kept beside the clips for the next run.

    recordings variants chunks positions states channels, float16."""
    path = folder / "heard.safetensors"
    if path.exists():
        states = load_file(path)["states"]
        if states.shape[:2] == (len(recordings), variants):
            return states
    config, rng = encoder.config, np.random.default_rng(seed)
    lead = round(LEAD_S * SAMPLE_RATE) // config.chunk_samples
    heard = []
    for number, recording in enumerate(recordings):
        ways = [recording.numpy().astype(np.float32) / 32768]
        ways += [augment(ways[0], rng, stretch=1.0, speech_rms=SPEECH_RMS).pcm_16k for _ in range(variants - 1)]
        pcm = torch.from_numpy(np.stack(ways).astype(np.float32))
        windows = windows_of(pcm, config)[:, lead : lead + round(SECONDS * SAMPLE_RATE) // config.chunk_samples]
        with torch.autocast("cpu", torch.bfloat16):
            states = encoder(windows.flatten(0, 1))[:, _needed(config)].half()
        heard.append(states.unflatten(0, windows.shape[:2]))
        if number % 100 == 0:
            logging.info("heard recording %d of %d", number, len(recordings))
    states = torch.stack(heard)
    save_file({"states": states}, path)
    return states


def conditions(batch: Batch, sigma: Tensor) -> Conditions:
    size, length = sigma.shape
    text, text_mask = no_text(size, EMBEDDED.dit.text_states_dim)
    return Conditions(
        timestep=sigma * 1000,
        motion_exp=batch.exp,
        motion_pose=batch.pose,
        fps=torch.full((size,), float(EMBEDDED.fps)),
        text_states=text,
        text_mask=text_mask,
        text_states_2=torch.zeros(size, EMBEDDED.dit.text_states_dim_2),
        ref_latents=batch.reference[:, :, None].expand(-1, -1, length, -1, -1),
        audio_prompts=batch.prompts,
        face_mask=batch.face_mask,
        feelings=batch.feelings,
    )


def choose_noise(rng: np.random.Generator, size: int, length: int) -> tuple[Tensor, Tensor]:
    """sigma b t, and which frames are to be learned. High noise matters most: there the sound decides."""
    target = rng.random((size, length)) < 0.5
    target[:, -1] = True
    target[rng.random(size) < BLANK_SHARE] = True
    high = np.where(rng.random((size, length)) < PURE_NOISE, 1.0, rng.uniform(0.3, 1.0, (size, length)))
    low = np.where(rng.random((size, length)) < 0.5, 0.0, rng.uniform(0.0, 0.1, (size, length)))
    return torch.from_numpy(np.where(target, high, low)).float(), torch.from_numpy(target)


def start_still(dit: DiT) -> None:
    """Every block begins as the identity and the prediction as the reference picture itself."""
    for block in (*dit.double_blocks, *dit.single_blocks):
        for module in block.modules():
            if isinstance(module, Modulation):
                nn.init.zeros_(module.linear.weight)
                nn.init.zeros_(module.linear.bias)
    for adapter in dit.audio_adapter_blocks:
        nn.init.zeros_(adapter.to_out.weight)
    for adapter in dit.emotion_adapter_blocks:
        nn.init.zeros_(adapter.to_out.weight)
        nn.init.constant_(adapter.scale, EMOTION_SCALE)
    nn.init.zeros_(dit.final_layer.linear.weight)
    nn.init.zeros_(dit.final_layer.linear.bias)


def predict(dit: DiT, batch: Batch, x: Tensor, sigma: Tensor) -> Tensor:
    """Noisy latents b t c h w -> clean ones."""
    with torch.autocast("cpu", torch.bfloat16):
        change, _ = dit(x.transpose(1, 2), conditions(batch, sigma))
    return batch.reference[:, None] + change.transpose(1, 2).float()


def train(
    folder: Path, pools: list[Clips], minutes: float, seed: int, batch_size: int, own_past_from: float, peak: float
) -> None:
    torch.manual_seed(seed)
    dit = DiT(EMBEDDED.dit)
    start_still(dit)
    optimiser = muon_with_adam(dit, lr=peak, adam_share=0.08, edges=EDGES)
    run = Run(folder, minutes, log_every=50, save_every=50)
    parts = {"dit": dit, "optimiser": optimiser}
    run.resume(**parts)
    rng = np.random.default_rng((seed, run.step))
    length = EMBEDDED.dit.causal_window + 1
    rolled = False
    while not run.finished:
        optimiser.set_learning_rate(learning_rate(run.progress, peak))
        if run.progress > own_past_from and (not rolled or run.step % ROLL_EVERY == 0):
            apart = roll_some(pools, dit, rng, batch_size, every=not rolled)
            rolled = True
            logging.info("the stream's own films are %.4f from the truth", apart)
        pool = pools[int(rng.random() < PAIR_SHARE) if len(pools) > 1 else 0]
        batch = pool.batch(rng, batch_size, length)
        sigma, target = choose_noise(rng, batch_size, length)
        noise = torch.randn_like(batch.latents)
        level = sigma[:, :, None, None, None]
        x = add_noise(torch.where(target[:, :, None, None, None], batch.latents, batch.past), noise, level)
        error = (predict(dit, batch, x, sigma) - batch.latents).square()
        per_frame = (error.mean(2) * batch.weight[:, None]).mean((2, 3))
        weight = torch.where(target, 1.0, 0.1)
        loss = (per_frame * weight).sum() / weight.sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(dit.parameters(), 1.0)
        optimiser.step()
        pure = (sigma == 1) & target
        run.record(parts, loss=loss.item(), from_noise=per_frame.detach()[pure].mean().item() if pure.any() else 0.0)
    run.save(parts)


def roll_some(pools: list[Clips], dit: DiT, rng: np.random.Generator, size: int, every: bool) -> float:
    """Rolls out all clips, or a batch of one pool."""
    if not every:
        return pools[rng.choice(len(pools), p=_sizes(pools))].roll(dit, rng, size)
    return float(np.mean([pool.roll(dit, rng, size) for pool in pools for _ in range(-(-len(pool.latents) // size))]))


def _sizes(pools: list[Clips]) -> np.ndarray:
    sizes = np.array([len(pool.latents) for pool in pools])
    return sizes / sizes.sum()


def load_encoder(checkpoint: Path) -> AudioEncoder:
    encoder = AudioEncoder(EMBEDDED.audio).eval()
    encoder.load_state_dict(torch.load(checkpoint, weights_only=True)["encoder"])
    return encoder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/transformer"))
    parser.add_argument("--clips", type=Path, default=Path("runs/clips"))
    parser.add_argument("--audio-encoder", type=Path, default=Path("runs/audio_encoder/checkpoint.pt"))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--own-past-from", type=float, default=0.65, help="share of the budget after which it starts")
    parser.add_argument("--peak", type=float, default=0.006, help="highest learning rate")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--variants", type=int, default=3, help="ways in which each clip's sound is heard")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    pools = load_clips(options.clips, load_encoder(options.audio_encoder), options.variants, options.seed)
    train(options.out, pools, options.minutes, options.seed, options.batch, options.own_past_from, options.peak)
