"""diffusers' HunyuanVideo transformer with our weights: which of their parameters is which of ours. Times nothing.

diffusers keeps queries, keys and values apart where the released files, and so ours, hold them in one matrix, and puts
scale before shift in the last layer's modulation. Their transformer knows neither reference nor sound nor motion.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.dit import DiT, DiTConfig

Weights = dict[str, Tensor]

# Ours -> theirs; a tuple takes as many rows each as a hidden width holds, the last one the rest.
ATTENTION = ("attn.to_q", "attn.to_k", "attn.to_v")
DOUBLE = {
    "img_mod.linear": "norm1.linear",
    "txt_mod.linear": "norm1_context.linear",
    "img_attn_qkv": ATTENTION,
    "img_attn_q_norm": "attn.norm_q",
    "img_attn_k_norm": "attn.norm_k",
    "img_attn_proj": "attn.to_out.0",
    "img_mlp.fc1": "ff.net.0.proj",
    "img_mlp.fc2": "ff.net.2",
    "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "txt_attn_q_norm": "attn.norm_added_q",
    "txt_attn_k_norm": "attn.norm_added_k",
    "txt_attn_proj": "attn.to_add_out",
    "txt_mlp.fc1": "ff_context.net.0.proj",
    "txt_mlp.fc2": "ff_context.net.2",
}
SINGLE = {
    "modulation.linear": "norm.linear",
    "linear1": (*ATTENTION, "proj_mlp"),
    "linear2": "proj_out",
    "q_norm": "attn.norm_q",
    "k_norm": "attn.norm_k",
}
REFINER = {
    "norm1": "norm1",
    "self_attn_qkv": ATTENTION,
    "self_attn_proj": "attn.to_out.0",
    "norm2": "norm2",
    "mlp.fc1": "ff.net.0.proj",
    "mlp.fc2": "ff.net.2",
    "adaLN_modulation.1": "norm_out.linear",
}
AROUND = {
    "img_in.proj": "x_embedder.proj",
    "time_in.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "time_in.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "txt_in.input_embedder": "context_embedder.proj_in",
    "txt_in.t_embedder.mlp.0": "context_embedder.time_text_embed.timestep_embedder.linear_1",
    "txt_in.t_embedder.mlp.2": "context_embedder.time_text_embed.timestep_embedder.linear_2",
    "txt_in.c_embedder.linear_1": "context_embedder.time_text_embed.text_embedder.linear_1",
    "txt_in.c_embedder.linear_2": "context_embedder.time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
}


def double_block(ours: nn.Module) -> nn.Module:
    """Their double block with the weights of one of ours."""
    return _block("HunyuanVideoTransformerBlock", ours, DOUBLE, ours.img_attn_proj.weight)


def single_block(ours: nn.Module) -> nn.Module:
    return _block("HunyuanVideoSingleTransformerBlock", ours, SINGLE, ours.linear2.weight)


def transformer(ours: DiT) -> nn.Module:
    """Their whole transformer, with those of our weights that it has a place for."""
    c: DiTConfig = ours.config
    if c.patch_size[1] != c.patch_size[2]:
        raise ValueError(f"diffusers knows square patches only, got patch_size {c.patch_size}")
    like = ours.before_proj.weight
    with torch.device(like.device):
        theirs = _theirs("HunyuanVideoTransformer3DModel")(
            in_channels=c.in_channels, out_channels=c.out_channels, num_attention_heads=c.num_heads,
            attention_head_dim=c.head_width, num_layers=c.depth_double_blocks, num_single_layers=c.depth_single_blocks,
            num_refiner_layers=c.refiner_depth, mlp_ratio=c.mlp_width_ratio, patch_size=c.patch_size[1],
            guidance_embeds=False, text_embed_dim=c.text_states_dim, pooled_projection_dim=c.text_states_dim_2,
            rope_theta=c.rope_theta, rope_axes_dim=c.rope_dim_list,
        ).to(like.dtype)  # fmt: skip
    weights = renamed(ours.state_dict(), AROUND, c.hidden_size)
    for kind, names, place in (
        ("double_blocks", DOUBLE, "transformer_blocks"),
        ("single_blocks", SINGLE, "single_transformer_blocks"),
        ("txt_in.individual_token_refiner.blocks", REFINER, "context_embedder.token_refiner.refiner_blocks"),
    ):
        for number, block in enumerate(ours.get_submodule(kind)):
            found = renamed(block.state_dict(), names, c.hidden_size)
            weights |= {f"{place}.{number}.{name}": value for name, value in found.items()}
    for end in ("weight", "bias"):
        shift, scale = ours.final_layer.adaLN_modulation[1].state_dict()[end].chunk(2)
        weights[f"norm_out.linear.{end}"] = torch.cat((scale, shift))
    theirs.load_state_dict(weights)
    return theirs.eval()


def renamed(weights: Weights, names: dict[str, str | tuple[str, ...]], width: int) -> Weights:
    """Our weights by their names; those without a place there are left out."""
    found = {}
    for ours, theirs in names.items():
        for end in ("weight", "bias"):
            value = weights.get(f"{ours}.{end}")
            if value is None:
                continue
            places = (theirs,) if isinstance(theirs, str) else theirs
            rows = [width] * (len(places) - 1)
            parts = value.split([*rows, len(value) - sum(rows)])
            found |= {f"{place}.{end}": part for place, part in zip(places, parts, strict=True)}
    return found


def _block(kind: str, ours: nn.Module, names: dict, like: Tensor) -> nn.Module:
    width, hidden = like.shape[0], names is SINGLE and like.shape[1] - like.shape[0] or ours.img_mlp.fc1.out_features
    with torch.device(like.device):
        theirs = _theirs(kind)(ours.heads, width // ours.heads, mlp_ratio=hidden / width).to(like.dtype)
    theirs.load_state_dict(renamed(ours.state_dict(), names, width))
    return theirs.eval()


def _theirs(kind: str) -> type[nn.Module]:
    try:
        from diffusers.models.transformers import transformer_hunyuan_video
    except ImportError as error:
        raise RuntimeError("the comparison needs diffusers: pip install -e '.[dev]'") from error
    return getattr(transformer_hunyuan_video, kind)
