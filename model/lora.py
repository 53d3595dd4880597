"""A LoRA file merged into a transformer when it is loaded: each weight becomes W + alpha / rank * up @ down.

So a step-distilled or styled model costs nothing while it runs. Files name layers in three ways, and all are read: the
released names behind a prefix (peft's lora_A and lora_B), the same with underscores for dots (kohya's lora_down and
lora_up), and those of diffusers, which keeps queries, keys and values apart. A file fits wholly, or it is refused.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

PREFIXES = ("base_model.model.", "diffusion_model.", "transformer.", "lora_unet_", "lora_transformer_")
ENDS = {
    "lora_A.weight": "down", "lora_A.default.weight": "down", "lora_down.weight": "down",
    "lora_B.weight": "up", "lora_B.default.weight": "up", "lora_up.weight": "up",
    "alpha": "alpha",
}  # fmt: skip

# diffusers' layers of a block -> ours, and which hidden width's worth of its rows.
QKV = ("to_q", "to_k", "to_v")
DOUBLE = {f"attn.{part}": ("img_attn_qkv", n) for n, part in enumerate(QKV)} | {
    "attn.add_q_proj": ("txt_attn_qkv", 0), "attn.add_k_proj": ("txt_attn_qkv", 1), "attn.add_v_proj": ("txt_attn_qkv", 2),
    "attn.to_out.0": ("img_attn_proj", None), "attn.to_add_out": ("txt_attn_proj", None),
    "norm1.linear": ("img_mod.linear", None), "norm1_context.linear": ("txt_mod.linear", None),
    "ff.net.0.proj": ("img_mlp.fc1", None), "ff.net.2": ("img_mlp.fc2", None),
    "ff_context.net.0.proj": ("txt_mlp.fc1", None), "ff_context.net.2": ("txt_mlp.fc2", None),
}  # fmt: skip
SINGLE = {f"attn.{part}": ("linear1", n) for n, part in enumerate(QKV)} | {
    "proj_mlp": ("linear1", 3), "proj_out": ("linear2", None), "norm.linear": ("modulation.linear", None),
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    layer: nn.Linear
    rows: slice

    @property
    def weight(self) -> Tensor:
        return self.layer.weight.data[self.rows]


@dataclass(frozen=True)
class Update:
    """down r i, up o r, and what alpha / rank says."""

    down: Tensor
    up: Tensor
    scale: float

    def difference(self, device: torch.device | str = "cpu") -> Tensor:
        return self.scale * (self.up.to(device).float() @ self.down.to(device).float())


def merge(transformer: nn.Module, path: Path) -> int:
    """Adds the file's updates to the transformer's weights, in float32, and returns how many layers have changed.

    Raises ValueError, before anything is changed, with all that does not fit in one message."""
    tensors, alpha = _read(path)
    known = places(transformer)
    parts: dict[str, dict[str, Tensor]] = {}
    unknown, unmatched = [], []
    for key, tensor in tensors.items():
        layer, part = _parse(key)
        if part is None:
            unknown.append(key)
        elif layer not in known:
            unmatched.append(layer)
        else:
            parts.setdefault(layer, {})[part] = tensor
    halves = [layer for layer, part in parts.items() if not {"down", "up"} <= part.keys()]
    updates = {layer: _update(part, alpha) for layer, part in parts.items() if layer not in halves}
    shapes = [
        f"{layer} updates {o}x{i} by rank {r} and {q}, the layer is {'x'.join(map(str, known[layer].weight.shape))}"
        for layer, update in updates.items()
        for (q, i), (o, r) in [(update.down.shape, update.up.shape)]
        if (o, i) != tuple(known[layer].weight.shape) or q != r
    ]
    problems = [
        *_listed("keys of no known kind", unknown),
        *_listed("layers that this transformer does not have", unmatched),
        *_listed("layers with one half of an update", halves),
        *_listed("sizes that do not fit", shapes),
        *([] if tensors else ["it is empty"]),
    ]
    if problems:
        raise ValueError(f"LoRA {path} does not fit: " + "; ".join(problems))
    with torch.no_grad():
        for layer, update in updates.items():
            weight = known[layer].weight
            weight.copy_(weight.float() + update.difference(weight.device))
    return len(updates)


def places(transformer: nn.Module) -> dict[str, Place]:
    """Every linear layer, or a part of one, by each name that files have for it."""
    layers = {name: layer for name, layer in transformer.named_modules() if isinstance(layer, nn.Linear)}
    found = {name: Place(layer, slice(None)) for name, layer in layers.items()}
    for ours, theirs, table in (
        ("double_blocks", "transformer_blocks", DOUBLE), ("single_blocks", "single_transformer_blocks", SINGLE),
    ):  # fmt: skip
        for number in range(len(getattr(transformer, ours))):
            for name, (layer, part) in table.items():
                linear = layers[f"{ours}.{number}.{layer}"]
                found[f"{theirs}.{number}.{name}"] = Place(linear, _rows(part, transformer.config.hidden_size))
    return found | {name.replace(".", "_"): place for name, place in found.items()}


def _rows(part: int | None, width: int) -> slice:
    if part is None:
        return slice(None)
    return slice(part * width, (part + 1) * width if part < len(QKV) else None)


def _parse(key: str) -> tuple[str, str | None]:
    """A file's key -> name of the layer, and which part of its update; None for a key of another kind."""
    for end, part in ENDS.items():
        if key.endswith("." + end):
            name = key.removesuffix("." + end)
            for prefix in PREFIXES:
                name = name.removeprefix(prefix)
            return name, part
    return key, None


def _update(parts: dict[str, Tensor], alpha: float | None) -> Update:
    rank = parts["down"].shape[0]
    own = parts["alpha"].item() if "alpha" in parts else alpha
    return Update(parts["down"].flatten(1), parts["up"].flatten(1), 1.0 if own is None else own / rank)


def _read(path: Path) -> tuple[dict[str, Tensor], float | None]:
    """The tensors, and the alpha of all layers where it is said once: in the file's header, as diffusers writes it, or in
    the adapter_config.json that peft puts beside it."""
    try:
        with safe_open(path, "pt") as file:
            told = json.loads((file.metadata() or {}).get("lora_adapter_metadata", "{}"))
            if (beside := path.parent / "adapter_config.json").is_file():
                told |= json.loads(beside.read_text())
            alphas = [value for name, value in told.items() if name.rpartition(".")[2] == "lora_alpha"]
            return {key: file.get_tensor(key) for key in file.keys()}, alphas[0] if alphas else None  # noqa: SIM118
    except (OSError, ValueError, SafetensorError) as problem:
        raise ValueError(f"LoRA {path} cannot be read: {problem}") from problem


def _listed(word: str, names: Iterable[str]) -> list[str]:
    names = sorted(set(names))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return [f"{word}: {', '.join(names[:5])}{more}"] if names else []
