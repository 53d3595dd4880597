"""Does this code compute what the original computed? Runs every golden case of a folder that it covers.

    python -m model.parity DIR

A case is NAME.json (kind, configuration, tensors) beside NAME.safetensors. One line per case: name, largest absolute
error, relative L2 error, verdict. Sizes and seeds come from the case. Exit status 1 if a case fails.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor
from transformers.models.whisper.configuration_whisper import WhisperConfig

from model.adapter import mask_per_token
from model.dit import Conditions, DiT, DiTConfig, StepCache
from model.masks import latent_masks, pixel_masks
from model.offline import Clip, Prompt, SamplingConfig, latent_frames, plan, sample, windows
from model.offline_audio import AS_RELEASED, RecordingEncoder, cut_prompts, frame_count, padded
from model.sampler import euler_step, shifted_sigmas
from model.tiny_vae import TinyVAE, TinyVAEConfig
from model.vae import VAE, VAEConfig

Tensors = dict[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Limits:
    max_abs: float
    relative_l2: float = float("inf")


@dataclasses.dataclass(frozen=True)
class Comparison:
    made: Tensor
    true: Tensor
    limits: Limits

    @property
    def max_abs(self) -> float:
        return float((self.made.double() - self.true.double()).abs().max())

    @property
    def relative_l2(self) -> float:
        return float((self.made.double() - self.true.double()).norm() / self.true.double().norm())

    @property
    def passed(self) -> bool:
        same_shape = self.made.shape == self.true.shape
        return same_shape and self.max_abs <= self.limits.max_abs and self.relative_l2 <= self.limits.relative_l2


def dit_forward(case: dict, tensors: Tensors, folder: Path) -> Iterator[Comparison]:
    limits = Limits(1e-4, 1e-5)
    dit = DiT(_config(DiTConfig, case["config"])).eval()
    dit.load_state_dict(load_file(folder / case["weights_file"]))
    x = tensors["inputs/x"]
    names = {field.name: f"inputs/{field.name}" for field in dataclasses.fields(Conditions)} | {"timestep": "inputs/t"}
    on = Conditions(**{field: tensors[name] for field, name in names.items() if name in tensors})
    _, ph, pw = dit.config.patch_size
    per_frame = (x.shape[3] // ph) * (x.shape[4] // pw)
    image_tokens = (x.shape[2] + 1) * per_frame

    cached = None
    if case["forward"]["is_cache"]:
        stored = tensors["inputs/cache_out"]
        cached = StepCache(stored[:, :image_tokens].unflatten(1, (-1, per_frame)), stored[:, image_tokens:])
    made, kept = dit(x, on, cached)
    yield Comparison(made, tensors["output"], limits)
    if cached is None:
        if "cache_out" in tensors:
            yield Comparison(torch.cat((kept.image.flatten(1, 2), kept.text), 1), tensors["cache_out"], limits)
        cosine, sine = dit.rope(torch.arange(-1, x.shape[2]), x.shape[3] // ph, x.shape[4] // pw, x.device)
        yield Comparison(cosine, tensors["inputs/freqs_cos"], limits)
        yield Comparison(sine, tensors["inputs/freqs_sin"], limits)
        yield Comparison(dit.audio_proj(on.audio_prompts), tensors["intermediates/audio_proj"], limits)


def tiny_vae(case: dict, tensors: Tensors, folder: Path) -> Iterator[Comparison]:
    limits = Limits(1e-5)
    vae = TinyVAE(_config(TinyVAEConfig, case["config"])).eval()
    vae.load_state_dict({name[8:]: tensor for name, tensor in tensors.items() if name.startswith("weights/")})
    yield Comparison(vae.encode(tensors["inputs/video"])[0], tensors["latents"], limits)
    latents, memory, parts = tensors["inputs/latents"], None, []
    yield Comparison(vae.decode_video(latents), tensors["decoded"], limits)
    for latent in latents.split(1, 1):
        frames, memory = vae.decode(latent, memory)
        parts.append(frames)
    streamed = torch.cat(parts, 1)
    yield Comparison(streamed, tensors["decoded_before_trim_and_clamp"], limits)
    yield Comparison(streamed[:, vae.config.frames_to_trim :].clamp(0, 1), tensors["decoded"], limits)


def causal_vae(case: dict, tensors: Tensors, folder: Path) -> Iterator[Comparison]:
    limits, within = Limits(5e-5), Limits(1e-4, 1e-5)
    # In one piece the original's middle attention sees every latent before, however many there are.
    vae = VAE(dataclasses.replace(VAEConfig.published(case["config"]), attention_past=None)).eval()
    vae.load_state_dict({name[8:]: tensor for name, tensor in tensors.items() if name.startswith("weights/")})
    inner = {name[14:]: tensor for name, tensor in tensors.items() if name.startswith("intermediates/")}
    made, latents = {}, tensors["inputs/latent"]
    hooks = [
        vae.get_submodule(name).register_forward_hook(lambda _module, _given, out, name=name: made.update({name: out}))
        for name in inner
    ]
    posterior, (whole, memory) = vae.encode(tensors["inputs/video"]), vae.decode(latents)
    for hook in hooks:
        hook.remove()
    yield Comparison(posterior.mean, tensors["mean"], limits)
    yield Comparison(posterior.logvar, tensors["logvar"], limits)
    yield Comparison(whole, tensors["decoded"], limits)
    for name, true in inner.items():  # the original's attention hands over tokens, b (t h w) c
        yield Comparison(rearrange(made[name], "b c t h w -> b (t h w) c") if true.ndim == 3 else made[name], true, within)
    if vae.config.mid_block_causal_attn:
        memory, parts = memory.restarted(), []
        for latent in latents.split(1, 2):
            frames, memory = vae.decode(latent, memory)
            parts.append(frames)
        yield Comparison(torch.cat(parts, 2), tensors["decoded"], limits)
    if "inputs/tiled_video" in tensors:
        posterior = vae.tiled_encode(tensors["inputs/tiled_video"])
        yield Comparison(posterior.mean, tensors["tiled_mean"], limits)
        yield Comparison(posterior.logvar, tensors["tiled_logvar"], limits)
    if "inputs/tiled_latent" in tensors:
        yield Comparison(vae.tiled_decode(tensors["inputs/tiled_latent"]), tensors["tiled_decoded"], limits)


def euler_scheduler(case: dict, tensors: Tensors, folder: Path) -> Iterator[Comparison]:
    config = case["config"]
    sigmas = shifted_sigmas(config["num_inference_steps"], config["shift"])
    yield Comparison(sigmas, tensors["sigmas"], Limits(1e-5))
    yield Comparison(sigmas[:-1] * config["num_train_timesteps"], tensors["timesteps"], Limits(1e-2))
    for step in case["steps"]:
        sample, velocity = tensors[f"step{step}/sample"], tensors[f"step{step}/model_output"]
        made = euler_step(sample, velocity, float(sigmas[step]), float(sigmas[step + 1]))
        yield Comparison(made, tensors[f"step{step}/prev_sample"], Limits(1e-5))


def audio_pipeline(case: dict, tensors: Tensors, folder: Path) -> Iterator[Comparison]:
    encoder = RecordingEncoder(WhisperConfig(**case["whisper_config"])).eval()
    encoder.load_state_dict({name[8:]: tensor for name, tensor in tensors.items() if name.startswith("weights/")})
    pcm, fps, mel = tensors["inputs/waveform"], case["fps"], tensors["intermediates/log_mel"]
    yield Comparison(rearrange(encoder.mel_pieces(pcm), "n m t -> 1 m (n t)"), mel, Limits(1e-4))
    # From here on as the golden case was made: from the stored log-mel, of which the first piece is heard.
    limits, states = Limits(5e-5), encoder.states(mel[..., : 2 * encoder.positions])
    some = tensors["intermediates/hidden_states"]
    yield Comparison(rearrange(states, "1 p s c -> s p c")[:, : some.shape[1]], some, limits)
    prompts = cut_prompts(states, frame_count(pcm, fps, AS_RELEASED), fps)
    yield Comparison(prompts, tensors["audio_prompts"], limits)
    behind = padded(prompts)
    counts = [case["num_prompt_frames"], case["padded_prompt_frames"]]
    yield Comparison(torch.tensor([prompts.shape[1], behind.shape[1]]), torch.tensor(counts), Limits(0))
    if "audio_prompts_padded_tail" in tensors:
        last = prompts.shape[1] - 1
        yield Comparison(behind[:, last : last + 2], tensors["audio_prompts_padded_tail"], limits)


def face_mask(case: dict, tensors: Tensors, folder: Path) -> Iterator[Comparison]:
    config = case["config"]
    for face in config["cases"]:
        pixel, latent, tokens = (tensors[f"{face['key']}/{name}"] for name in ("pixel", "latent", "tokens"))
        boxes = [face["box_xywh"]] if face["box_xywh"] else []
        made = pixel_masks(boxes, config["image_height"], config["image_width"], face["area"])
        yield Comparison(made[0], pixel, Limits(0))
        made = latent_masks(made, *latent.shape[-2:])
        yield Comparison(made, latent, Limits(1e-6))
        frames, rows, columns = tokens.shape[2:]
        made = rearrange(mask_per_token(made, frames, rows, columns), "b n t (h w) 1 -> b n t h w", h=rows)
        yield Comparison(made, tokens, Limits(1e-6))


def sampling_loop(case: dict, tensors: Tensors, folder: Path) -> Iterator[Comparison]:
    """The whole loop around a denoiser in closed form, in float32 and with latents rounded to bfloat16 at every step."""
    config, given = case["config"], {name[7:]: tensor for name, tensor in tensors.items() if name.startswith("inputs/")}
    settings = SamplingConfig(
        steps=config["steps"], flow_shift=config["shift"], guidance_scale=config["guidance_scale_start"],
        window=config["window"], bfloat16_steps=False,
    )  # fmt: skip
    prompt, negative = (
        Prompt(*(given[prefix + name] for name in ("text_states", "text_mask", "text_states_2"))) for prefix in ("", "neg_")
    )
    shared = ("ref_latents", "audio_prompts", "face_mask", "motion_exp", "motion_pose", "fps")
    clip = Clip(prompt=prompt, negative=negative, **{name: given[name] for name in shared})

    steps, exact = plan(settings), Limits(1e-6)
    yield Comparison(torch.tensor([s.guidance for s in steps]), tensors["guidance_scale_per_step"], Limits(1e-5))
    yield Comparison(torch.tensor([s.mask_scale for s in steps]), tensors["mask_scale_per_step"], exact)
    yield Comparison(torch.tensor([not s.cached for s in steps]), ~tensors["is_cached_per_step"], exact)
    made, _ = latent_frames(config["audio_frames"], settings)
    count = len(windows(made, steps[0].shift, settings))
    yield Comparison(torch.tensor(count), torch.tensor(config["windows_per_step"]), exact)
    yield Comparison(sample(_closed_form, clip, given["latents"], settings), tensors["final_latents"], Limits(1e-4))
    # Another processor's order of summation may turn over a single rounding, by up to 2^-6 here; a wrong place to round
    # turns over many (0.0011 in relative L2 if windows were averaged first).
    rounded = sample(_closed_form, clip, given["latents"], dataclasses.replace(settings, bfloat16_steps=True))
    yield Comparison(rounded, tensors["final_latents_bfloat16_steps"], Limits(0.05, 5e-4))


def _closed_form(x: Tensor, on: Conditions, cached: StepCache | None) -> tuple[Tensor, StepCache]:
    """The denoiser that a "sampling loop" case describes. Its tokens have one feature."""

    def per_row(values: Tensor) -> Tensor:
        return values.float().flatten(1).mean(1)[:, None, None, None, None]

    def patches(values: Tensor) -> Tensor:  # b t h w -> b t p 1
        return torch.nn.functional.avg_pool2d(values, 2).flatten(2)[..., None]

    if cached is not None:
        rows, columns = x.shape[3] // 2, x.shape[4] // 2
        image = cached.image[:, 1:, :, 0].unflatten(2, (rows, columns)).repeat_interleave(2, 2).repeat_interleave(2, 3)
        return 0.3 * x + image[:, None] + 0.1 * (per_row(cached.image[:, :1]) + per_row(cached.text)), cached
    level = on.audio_prompts.flatten(2).mean(2)
    level = torch.cat((level[:, :1].expand(-1, 3), level), 1).unflatten(1, (-1, 4)).mean(2)  # b t
    condition = 0.2 * on.ref_latents + on.face_mask * level[:, None, :, None, None] + 0.5 * per_row(on.text_states)
    condition = condition + 0.25 * per_row(on.text_states_2) + 0.05 * per_row(on.timestep[:, None]) / 1000
    condition = condition + 0.001 * (per_row(on.motion_exp) + per_row(on.motion_pose) + per_row(on.fps[:, None]))
    condition = condition + 0.01 * per_row(on.text_mask)
    image = torch.cat((patches(on.ref_latents[:, :, 0].mean(1)[:, None]), patches(condition.mean(1))), 1)
    return 0.3 * x + condition, StepCache(image, on.text_states.mean(2, keepdim=True))


COVERED: dict[str, Callable[[dict, Tensors, Path], Iterator[Comparison]]] = {
    "dit forward": dit_forward,
    "tiny streaming autoencoder (TAEHV, base variant)": tiny_vae,
    "causal 3D VAE": causal_vae,
    "flow-match Euler scheduler": euler_scheduler,
    "sampling loop with an analytic denoiser": sampling_loop,
    "audio pipeline": audio_pipeline,
    "face mask": face_mask,
}


def check(folder: Path) -> dict[str, list[Comparison] | None]:
    """All cases of a folder; None for a case that this code does not cover. Files that only hold weights are no cases."""
    results: dict[str, list[Comparison] | None] = {}
    for path in sorted(folder.glob("*.json")):
        case = json.loads(path.read_text())
        data = path.with_suffix(".safetensors")
        if case.get("kind", "").endswith("weights") or not data.exists():
            continue
        run = COVERED.get(case["kind"])
        with torch.inference_mode():
            results[path.stem] = list(run(case, load_file(data), folder)) if run else None
    return results


def _config(cls: type, values: dict):
    names = {field.name for field in dataclasses.fields(cls)}
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in names})


def main(folder: Path) -> int:
    if not folder.is_dir():
        print(f"{folder} is not a folder; give one that holds golden cases (NAME.json beside NAME.safetensors)")
        return 2
    results = check(folder)
    if not results:
        print(f"no golden cases in {folder}")
        return 2
    for name, comparisons in results.items():
        if comparisons is None:
            print(f"{name:24} {'not covered':>36}")
            continue
        largest = max(c.max_abs for c in comparisons)
        relative = max(c.relative_l2 for c in comparisons)
        verdict = "pass" if all(c.passed for c in comparisons) else "FAIL"
        print(f"{name:24} max abs {largest:.2e}  rel L2 {relative:.2e}  {verdict}")
    return int(any(not c.passed for cs in results.values() if cs for c in cs))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m model.parity DIR")
    sys.exit(main(Path(sys.argv[1])))
