"""Third stage: the causal transformer learns to film.

    python -m model.train.transformer                    # settings: [transformer] in recipe.toml, and flags of its names

Diffusion forcing: every latent frame of a short stretch has its own noise, most of them nothing else, as in a stream of one
step a frame. The network predicts how the clean frame differs from the reference. No frame is shown the truth of those
before it, which would tell most of what comes next and is not there in the stream: it sees what the network thought of
them, as in the stream's cache. So the pass that learns is the one that films, and there is no drift to come back from.

Not every number of a latent weighs the same in a picture, so a part of each batch is looked at as pictures, too; and an
onlooker is asked what it sees of everybody's mouth, eyes, head and mood (model/train/onlooker.py).
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import repeat
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from model.audio import SAMPLE_RATE, AudioConfig, AudioEncoder, frame_prompts, windows_of
from model.blocks import Modulation
from model.carried import Still
from model.character import box_mask
from model.dit import Conditions, DiT
from model.emotion import Feelings
from model.motion import MOTION_CENTRE
from model.presets import EMBEDDED
from model.sampler import add_noise
from model.text import no_text
from model.tiny_vae import TinyVAE
from model.train.augment import SPEECH_RMS, augment
from model.train.autoencoder import picture_loss
from model.train.clips import EMOTION_FILE, LEAD_S, SECONDS, decoded, fingerprint, load_vae, save_whole, strengths
from model.train.muon import muon_with_adam
from model.train.onlooker import Onlooker, load_onlooker
from model.train.precision import mixed
from model.train.recipe import from_command_line
from model.train.run import Run, learning_rate, trained
from model.train.sheets import psnr, save_sheet
from model.train.warm import warm_start

MOUTH_WEIGHT, EYES_WEIGHT = 14.0, 8.0  # beside the rest of the face: there people look
PICTURE_WEIGHT = 0.5  # of the loss of pictures beside that of latents
IMPRESSION_WEIGHT = 0.2  # of what an onlooker sees otherwise
SEEN_ALIKE = 0.3  # differences of an impression below that count by their squares
# AdamW's: what is no hidden layer; what carries one text token or one vector, not the picture; and emotions, whose films
# strayed from the truth when they were taught with Muon.
EDGES = (
    "img_in", "ref_in", "time_in", "vector_in", "motion_exp", "motion_pose", "fps", "before_proj", "final_layer", "txt_",
    "mod", "emotion_",
)  # fmt: skip
SHIPPED_SHARE = 0.85  # of the emotions, those shown by the pictures that ship
EMOTION_SCALE = 4.0  # at the start: the larger, the faster emotions are learned beside all that is seen more often
PURE_NOISE = 0.9  # share of the frames that start from nothing, as all do where one step is taken
STRETCH = 2 * EMBEDDED.dit.causal_window  # latent frames: half of them have a whole window behind them
CHANGE_SHARE = 0.35  # stretches in which an emotion changes
PAIR_SHARE = 0.25  # batches of two people in a picture
REST_SHARE = 0.12  # stretches that begin with the person at rest, as every session does


@dataclass(frozen=True)
class Recipe:
    out: Path
    init: str  # published weights to begin from; empty: a fresh network
    clips: Path
    audio_encoder: Path
    autoencoder: Path
    onlooker: Path
    held_out: int  # clips kept out of training, for the scores
    variants: int  # ways in which each clip's sound is heard
    steps: int
    batch: int
    looked_at: int  # of a batch, those whose last frame is decoded and compared as a picture
    peak: float  # highest learning rate
    seed: int
    threads: int
    device: str  # as PyTorch names it
    save_every: int  # steps


@dataclass(frozen=True)
class Batch:
    """Pictures of n people each."""

    latents: Tensor  # b t c h w
    reference: Tensor  # b c h w
    exp: Tensor  # b t 4
    pose: Tensor
    prompts: Tensor  # b n f positions states channels
    face_mask: Tensor  # b n 1 h w
    boxes: Tensor  # b n 4, shares of the picture
    feelings: Feelings
    weight: Tensor  # b h w of each latent cell in the loss
    still: Tensor  # b H W 3 uint8, the pictures of the references

    def to(self, device: str) -> "Batch":
        moved = {field.name: getattr(self, field.name).to(device) for field in fields(self) if field.name != "feelings"}
        return Batch(**moved, feelings=Feelings(self.feelings.latents.to(device), self.feelings.strength.to(device)))


class Clips:
    """All clips of so many people in memory, with the sound of each person heard in several ways."""

    def __init__(self, clips: list[dict[str, Tensor]], states: list[Tensor], silence: Tensor, emotions: Tensor) -> None:
        names = ("latents", "reference", "still", "exp", "pose", "emotion", "face_box")
        self.latents, self.reference, self.still, self.exp, self.pose, self.emotion, self.boxes = (
            torch.stack([clip[name] for clip in clips]) for name in names
        )
        rows, columns = EMBEDDED.latent_size

        def masks(boxes: Tensor) -> Tensor:
            return torch.stack([box_mask(box, rows, columns) for box in boxes.tolist()])

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
        for row in np.flatnonzero(rng.random(size) < (CHANGE_SHARE if len(self.changes) else 0)):
            clip[row], at = self.changes[rng.integers(len(self.changes))]
            start[row] = np.clip(at - rng.integers(-3, length), 0, self.latents.shape[1] - length)
        batch = self.cut(rng, clip, start, length)
        for row in np.flatnonzero(rng.random(size) < REST_SHARE):
            if not batch.feelings.strength[row].any():  # an emotion takes its time, and here it would be there at once
                self._rest(batch, row, int(rng.integers(1, length)))
        return batch

    def whole(self, rng: np.random.Generator, clip: np.ndarray) -> Batch:
        """These clips from beginning to end."""
        return self.cut(rng, clip, np.zeros(len(clip), int), self.latents.shape[1])

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
        return Batch(
            part(self.latents), self.reference[clip].float(), part(self.exp), part(self.pose),
            _prompts(states.float()).flatten(2, 3), self.face[clip][:, :, None], self.boxes[clip],
            Feelings(self.emotions[shown, stranger].float(), strength), self.weight[clip], self.still[clip],
        )  # fmt: skip

    def _rest(self, batch: Batch, row: int, frames: int) -> None:
        """Makes everybody still and silent at first."""
        batch.latents[row, :frames] = batch.reference[row]
        batch.exp[row, :frames], batch.pose[row, :frames] = MOTION_CENTRE, MOTION_CENTRE
        batch.prompts.unflatten(2, (batch.latents.shape[1], -1))[row, :, :frames] = self.silence.float()


@torch.no_grad()
def load_clips(
    folder: Path, encoder: AudioEncoder, variants: int, seed: int, held_out: int
) -> tuple[list[Clips], list[Clips]]:
    """One pool for each number of people in a picture; the same of the clips at the end that are kept out of training."""
    paths = sorted(folder.glob("[0-9]*.safetensors"))
    if not paths:
        raise FileNotFoundError(f"no clips in {folder}; make them with python -m model.train.clips")
    if len(paths) <= held_out:
        raise ValueError(f"{folder} has {len(paths)} clips, of which {held_out} are to be kept out of training")
    clips = [load_file(path) for path in paths]
    states = hear(folder, torch.cat([clip["pcm"] for clip in clips]), encoder, variants, seed)
    states = states.split([len(clip["pcm"]) for clip in clips])
    silence = encoder.prompts(torch.zeros(1, encoder.config.window_samples))[0].half()
    emotions = load_file(folder / EMOTION_FILE)["emotions"]

    def pools(places: range) -> list[Clips]:
        by_people = [[p for p in places if len(clips[p]["pcm"]) == people] for people in (1, 2)]
        return [Clips([clips[p] for p in of], [states[p] for p in of], silence, emotions) for of in by_people if of]

    return pools(range(len(clips) - held_out)), pools(range(len(clips) - held_out, len(clips)))


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
    padded = F.pad(states.flatten(0, 2), (0, 0, 0, 0, _needed(config).start, 0))
    return frame_prompts(padded, config).unflatten(0, states.shape[:3])


@torch.inference_mode()
def hear(folder: Path, recordings: Tensor, encoder: AudioEncoder, variants: int, seed: int) -> Tensor:
    """Encoder states of every chunk of every recording, heard in several ways; kept beside the clips for the next run.

    recordings variants chunks positions states channels, float16."""
    path, wanted = folder / "heard.safetensors", fingerprint(recordings, *encoder.state_dict().values())
    wanted = f"{wanted}, {variants} ways, seed {seed}"
    if path.exists():
        with safe_open(path, "pt") as file:
            if file.metadata() == {"of": wanted}:
                return file.get_tensor("states")
    config, rng = encoder.config, np.random.default_rng(seed)
    lead = round(LEAD_S * SAMPLE_RATE) // config.chunk_samples
    heard = []
    for number, recording in enumerate(recordings):
        ways = [recording.numpy().astype(np.float32) / 32768]
        ways += [augment(ways[0], rng, stretch=1.0, speech_rms=SPEECH_RMS).pcm_16k for _ in range(variants - 1)]
        pcm = torch.from_numpy(np.stack(ways).astype(np.float32))
        windows = windows_of(pcm, config)[:, lead : lead + round(SECONDS * SAMPLE_RATE) // config.chunk_samples]
        with mixed("cpu"):
            states = encoder(windows.flatten(0, 1))[:, _needed(config)].half()
        heard.append(states.unflatten(0, windows.shape[:2]))
        if number % 100 == 0:
            logging.info("heard recording %d of %d", number, len(recordings))
    states = torch.stack(heard)
    save_whole({"states": states}, path, {"of": wanted})
    return states


def conditions(batch: Batch, sigma: Tensor) -> Conditions:
    (size, length), at = sigma.shape, sigma.device
    text, text_mask = no_text(size, EMBEDDED.dit.text_states_dim, at)
    return Conditions(
        timestep=sigma * 1000,
        motion_exp=batch.exp,
        motion_pose=batch.pose,
        fps=torch.full((size,), float(EMBEDDED.fps), device=at),
        text_states=text,
        text_mask=text_mask,
        text_states_2=torch.zeros(size, EMBEDDED.dit.text_states_dim_2, device=at),
        ref_latents=batch.reference[:, :, None].expand(-1, -1, length, -1, -1),
        audio_prompts=batch.prompts,
        face_mask=batch.face_mask,
        feelings=batch.feelings,
    )


def choose_noise(rng: np.random.Generator, size: int, length: int) -> Tensor:
    """sigma b t. High noise matters most: there the sound decides."""
    sigma = np.where(rng.random((size, length)) < PURE_NOISE, 1.0, rng.uniform(0.3, 1.0, (size, length)))
    return torch.from_numpy(sigma).float()


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
    with mixed(x.device.type):
        change, _ = dit(x.transpose(1, 2), conditions(batch, sigma))
    return batch.reference[:, None] + change.transpose(1, 2).float()


@torch.no_grad()
def films(dit: DiT, batch: Batch) -> Tensor:
    """What a stream that begins with these clips shows of them, b t c h w."""
    batch = batch.to(next(dit.parameters()).device)
    return predict(dit, batch, torch.randn_like(batch.latents), torch.ones_like(batch.exp[..., 0])).cpu()


def distance(made: Tensor, batch: Batch) -> Tensor:
    """How far films b t c h w are from the truth, weighted as the loss, b t h w."""
    return (made - batch.latents).square().mean(2) * batch.weight[:, None]


def picture_error(vae: TinyVAE, predicted: Tensor, batch: Batch, rows: int) -> Tensor:
    """Of the first `rows`, the last frames as pictures, beside those of the true latents."""
    true, made, weight = batch.latents[:rows, -2:], predicted[:rows, -2:], batch.weight[:rows, None, None]
    still = Still(batch.reference[:rows], batch.still[:rows].permute(0, 3, 1, 2).float() / 255)
    now = slice(-EMBEDDED.dit.frames_per_latent, None)
    with mixed(true.device.type):
        with torch.no_grad():
            shown = vae.decode(true, still=still)[0][:, now]
        seen = vae.decode(made, still=still)[0][:, now]
    weight = F.interpolate(weight[:, 0], seen.shape[-2:])[:, None]
    return picture_loss(seen.float(), shown.float(), weight)


def impression_error(onlooker: Onlooker, predicted: Tensor, batch: Batch) -> Tensor:
    """How differently an onlooker sees everybody in the frames as they were made and as they are."""
    frames, people = predicted.shape[1], batch.boxes.shape[1]
    boxes = repeat(batch.boxes, "b n side -> (b t n) side", t=frames)
    reference = repeat(batch.reference, "b c h w -> (b t n) c h w", t=frames, n=people)
    true, made = (repeat(x, "b t c h w -> (b t n) c h w", n=people) for x in (batch.latents, predicted))
    with mixed(predicted.device.type):
        with torch.no_grad():
            true = onlooker(true, reference, boxes)
        seen = onlooker(made, reference, boxes)
    return F.smooth_l1_loss(seen.float(), true.float(), beta=SEEN_ALIKE)


def train(
    recipe: Recipe, vae: TinyVAE, onlooker: Onlooker, pools: list[Clips], held_out: list[Clips]
) -> tuple[DiT, Run]:
    """Learns from the pools; notes the errors of films of those held out whenever it saves."""
    torch.manual_seed(recipe.seed)
    dit = DiT(EMBEDDED.dit)
    start_still(dit)
    warm_start(dit, "dit", recipe.init)
    dit.to(recipe.device)
    vae.to(recipe.device).requires_grad_(False)
    onlooker.to(recipe.device)
    optimiser = muon_with_adam(dit, lr=recipe.peak, adam_share=0.08, edges=EDGES)
    run = Run(recipe, learned_from=sum(len(pool.latents) for pool in pools), fingerprint=_fingerprint(pools))
    parts = {"dit": dit, "optimiser": optimiser}
    run.resume(**parts)
    while not run.finished:
        rng = run.rng()
        optimiser.set_learning_rate(learning_rate(run.progress, recipe.peak))
        pool = pools[int(rng.random() < PAIR_SHARE) if len(pools) > 1 else 0]
        batch = pool.batch(rng, recipe.batch, STRETCH).to(recipe.device)
        sigma = choose_noise(rng, recipe.batch, STRETCH).to(recipe.device)
        x = add_noise(batch.latents, torch.randn_like(batch.latents), sigma[:, :, None, None, None])
        predicted = predict(dit, batch, x, sigma)
        per_frame = distance(predicted, batch).mean((2, 3))
        loss = per_frame.mean()
        pictures = picture_error(vae, predicted, batch, recipe.looked_at) if recipe.looked_at else loss.new_zeros(())
        impression = impression_error(onlooker, predicted, batch)
        optimiser.zero_grad()
        (loss + PICTURE_WEIGHT * pictures + IMPRESSION_WEIGHT * impression).backward()
        torch.nn.utils.clip_grad_norm_(dit.parameters(), 1.0)
        optimiser.step()
        from_noise = per_frame.detach()[sigma == 1].mean()
        errors = {"from_noise": from_noise, "pictures": pictures, "impression": impression}
        noted = {name: error.item() for name, error in errors.items()}
        if run.record(parts, loss=loss.item(), **noted) and not run.finished:
            run.note({name: error for *_, errors in films_of(dit, held_out, recipe.seed) for name, error in errors.items()})
    return dit, run


def _fingerprint(pools: list[Clips]) -> str:
    """Of what is learned from, as autoencoder and audio encoder have made it; clip by clip, for it is gigabytes."""
    return fingerprint(*(clip for pool in pools for clips in (pool.latents, pool.states) for clip in clips))


@torch.no_grad()
def films_of(dit: DiT, pools: list[Clips], seed: int) -> Iterator[tuple[Clips, Batch, Tensor, dict[str, float]]]:
    """Of each pool its clips, their films b t c h w and how far those are from the truth: errors of latents, weighted as
    the loss."""
    rng, second = np.random.default_rng(seed), round(EMBEDDED.fps / EMBEDDED.dit.frames_per_latent)
    torch.manual_seed(seed)
    for pool in pools:
        batch = pool.whole(rng, np.arange(len(pool.latents)))
        made = films(dit, batch)
        apart, still = distance(made, batch), distance(batch.reference[:, None], batch)
        errors = {
            "error of a film, its last second": apart[:, -second:],
            "error of a film, half-way": apart[:, max(0, apart.shape[1] // 2 - second) :][:, :second],
            "error of the resting picture": still[:, -second:],
        }
        yield pool, batch, made, {f"{_who(pool)}: {name}": error.mean().item() for name, error in errors.items()}


def _who(pool: Clips) -> str:
    return "two people" if pool.face.shape[1] > 1 else "one person"


@torch.inference_mode()
def score(dit: DiT, vae: TinyVAE, pools: list[Clips], folder: Path, seed: int) -> dict[str, float]:
    """Films of clips that were kept out of training, against the truth; and sheet.png, films above the truth.

    The voices are trained on: model.evaluate knows others."""
    scores, rows = {}, []
    for pool, batch, made, errors in films_of(dit, pools, seed):
        scores |= errors
        pairs = [
            [decoded(vae, latents, reference, picture) for latents in (film, true)]
            for film, true, reference, picture in zip(made, batch.latents, batch.reference, pool.still, strict=True)
        ]
        scores[f"{_who(pool)}: PSNR of a film, decoded as the truth, dB"] = float(np.mean([psnr(*both) for both in pairs]))
        rows += [frames[-1 - 8 * 9 :: 8] for both in pairs[:3] for frames in both]
    save_sheet(folder / "sheet.png", rows)
    return scores


def load_encoder(checkpoint: Path) -> AudioEncoder:
    encoder = AudioEncoder(EMBEDDED.audio).eval()
    encoder.load_state_dict(trained(checkpoint, "encoder"))
    return encoder


def main() -> None:
    recipe = from_command_line(Recipe, "transformer", __doc__)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(recipe.threads)
    encoder, vae = load_encoder(recipe.audio_encoder), load_vae(recipe.autoencoder)
    pools, held_out = load_clips(recipe.clips, encoder, recipe.variants, recipe.seed, recipe.held_out)
    dit, run = train(recipe, vae, load_onlooker(recipe.onlooker), pools, held_out)
    run.report(score(dit, vae, held_out, recipe.out, recipe.seed))


if __name__ == "__main__":
    main()
