"""Small instances of networks that other people wrote, random weights, nothing downloaded."""

import importlib
from collections.abc import Callable
from typing import Any

# ruff: noqa: E501
import torch
from torch import Tensor, nn

Made = tuple[nn.Module, Callable[[nn.Module], Tensor]]
"""A network, and what computes a loss with it."""

TEXT: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 40, "n_positions": 16},
    "gpt_neox": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 40},
    "gptj": {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 40, "n_positions": 16, "rotary_dim": 4},
    "opt": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 24, "vocab_size": 40, "word_embed_proj_dim": 16, "max_position_embeddings": 16},
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2, "vocab_size": 40},
    "llama": {},
    "mistral": {},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "gemma": {"head_dim": 8},
    "gemma2": {"head_dim": 8},
    "phi": {},
    "olmo2": {},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "bert": {},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "vocab_size": 40, "max_position_embeddings": 16},
    "albert": {"embedding_size": 8},
    "electra": {"embedding_size": 16},
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "vocab_size": 40},
    "mamba": {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, "vocab_size": 40, "residual_in_fp32": False},
}  # fmt: skip
PLAIN = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 24, "vocab_size": 40, "max_position_embeddings": 32,
}  # fmt: skip

IMAGES: dict[str, dict[str, Any]] = {
    "vit": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "image_size": 16, "patch_size": 4},
    "deit": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "image_size": 16, "patch_size": 4},
    "beit": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "image_size": 16, "patch_size": 4},
    "dinov2": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2, "image_size": 16, "patch_size": 4},
    "swin": {"image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4},
    "convnext": {"hidden_sizes": [8, 12], "depths": [1, 2], "num_stages": 2},
    "convnextv2": {"hidden_sizes": [8, 12], "depths": [1, 2], "num_stages": 2},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [2, 2], "layer_type": "basic"},
    "regnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [2, 2], "groups_width": 4},
    "efficientnet": {"image_size": 32, "width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320},
    "mobilenet_v2": {"image_size": 32, "depth_multiplier": 0.25},
    "poolformer": {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 8, 8]},
    "segformer": {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 8, 8], "num_attention_heads": [1, 1, 1, 1]},
}  # fmt: skip
TIMM: dict[str, dict[str, Any]] = {
    "resnet10t": {},
    "resnet18": {"act_layer": lambda inplace: nn.ReLU(), "channels": (8, 8, 12, 12)},
    "resnext26ts": {},
    "densenet121": {"growth_rate": 4, "block_config": (2, 2)},
    "mobilenetv3_small_050": {},
    "test_nfnet": {},
    "vit_tiny_patch16_224": {"img_size": 32, "depth": 2, "embed_dim": 16, "num_heads": 2},
    "swin_tiny_patch4_window7_224": {
        "img_size": 32,
        "embed_dim": 8,
        "depths": (2, 2),
        "num_heads": (1, 2),
        "window_size": 4,
    },
    "convnext_atto": {"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 8)},
    "efficientnet_lite0": {},
    "mixer_s32_224": {"img_size": 32},
    "resmlp_12_224": {"img_size": 32},
}


def from_transformers(name: str) -> Made:
    """A model without a head of transformers by its `model_type`."""
    has_torchvision()  # what is there but cannot be imported is an error in transformers
    from transformers import AutoConfig, AutoModel

    options = TEXT[name] if name in TEXT else IMAGES[name]
    if name in TEXT and not {"n_embd", "hidden_size", "d_model", "dim"} & options.keys():
        options = {**PLAIN, **options}
    torch.manual_seed(0)
    config = AutoConfig.for_model(name, **options)
    more = {"experts_implementation": "eager"} if name == "mixtral" else {}
    network: Any = AutoModel.from_config(config, attn_implementation="eager", **more).double()
    shaken(network)
    ids = torch.randint(40, (2, 6), generator=torch.Generator().manual_seed(0))
    side = options.get("image_size", 32)
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0)).double()

    def loss(model: nn.Module) -> Tensor:
        if name in TEXT:
            more = {"decoder_input_ids": ids.flip(0)} if name == "t5" else {}
            return model(input_ids=ids, **more).last_hidden_state.square().mean()
        return model(pixel_values=images).last_hidden_state.square().mean()

    return network, loss


def wav2vec2() -> Made:
    has_torchvision()
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        conv_dim=(8, 8), conv_stride=(4, 4), conv_kernel=(8, 4), num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2, layerdrop=0.0, mask_time_prob=0.0,
    )  # fmt: skip
    network = Wav2Vec2Model(config).double()
    shaken(network)
    sound = torch.randn(2, 400, generator=torch.Generator().manual_seed(0)).double()
    return network, lambda model: model(sound).last_hidden_state.square().mean()


def from_timm(name: str) -> Made:
    """A model of timm."""
    has_torchvision()
    import timm

    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=5, **TIMM[name]).double()
    shaken(network)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    return network, lambda model: model(images).square().mean()


def unet() -> Made:
    """The U-Net of diffusers: residual blocks and attention, whose inputs take long skips too."""
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    made: Any = UNet2DModel  # whose stubs lack what a module has
    network = made(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), norm_num_groups=4, attention_head_dim=4,
    ).double()  # fmt: skip
    shaken(network)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    return network, lambda model: model(images, torch.tensor([1, 5])).sample.square().mean()


def has_torchvision() -> bool:
    """Whether timm and diffusers can import torchvision. The wheel on PyPI is built for CUDA:
    beside a torch for CPUs its operators do not load, and it fails where it describes two of
    them. They are declared then; no network calls one."""
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return False
    except RuntimeError:
        for name in ("nms", "qnms"):
            DECLARED.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")
    return True


DECLARED = torch.library.Library("torchvision", "FRAGMENT")


def shaken(network: nn.Module) -> None:
    """No parameter keeps an initial value such as 0, which would hide a path."""
    noise = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        if parameter.is_floating_point():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=noise).double()
