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
from safetensors.torch import load_file
from torch import Tensor

from model.dit import Conditions, DiT, DiTConfig, StepCache
from model.sampler import euler_step, shifted_sigmas
from model.tiny_vae import TinyVAE, TinyVAEConfig

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
    names = {"timestep": "t"}
    on = Conditions(**{f.name: tensors[f"inputs/{names.get(f.name, f.name)}"] for f in dataclasses.fields(Conditions)})
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


def euler_scheduler(case: dict, tensors: Tensors, folder: Path) -> Iterator[Comparison]:
    config = case["config"]
    sigmas = shifted_sigmas(config["num_inference_steps"], config["shift"])
    yield Comparison(sigmas, tensors["sigmas"], Limits(1e-5))
    yield Comparison(sigmas[:-1] * config["num_train_timesteps"], tensors["timesteps"], Limits(1e-2))
    for step in case["steps"]:
        sample, velocity = tensors[f"step{step}/sample"], tensors[f"step{step}/model_output"]
        made = euler_step(sample, velocity, float(sigmas[step]), float(sigmas[step + 1]))
        yield Comparison(made, tensors[f"step{step}/prev_sample"], Limits(1e-5))


COVERED: dict[str, Callable[[dict, Tensors, Path], Iterator[Comparison]]] = {
    "dit forward": dit_forward,
    "tiny streaming autoencoder (TAEHV, base variant)": tiny_vae,
    "flow-match Euler scheduler": euler_scheduler,
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
