"""A U-Net that predicts the noise in an image at a time of the diffusion (Ho et al. 2020).

The network of gradflow.networks.families.unet; each block adds a projection of the time's
embedding inside its branch (appendix B).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gradflow.config.blocks import PLACEMENTS
from gradflow.config.networks import ACTIVATIONS, NORMS
from gradflow.config.registry import register
from gradflow.config.validation import choice
from gradflow.networks.families.unet import UNetConfig

if TYPE_CHECKING:
    from gradflow.networks.unet import UNet


@dataclass(frozen=True)
class DiffusionUNetConfig(UNetConfig):
    """A U-Net whose blocks depend on the time of the diffusion (Ho et al. 2020)."""

    TASK: ClassVar[str] = "predict_noise"

    name: str = choice("diffusion_unet")
    norm: str = choice("group", table=NORMS)
    activation: str = choice("silu", table=ACTIVATIONS)
    placement: str = choice("full_preactivation", table=PLACEMENTS)

    def __post_init__(self) -> None:
        super().__post_init__()
        ends_bare = self.norm == "none" or "n" not in self.placed().last.partition("c")[2]
        starts_at_zero = self.zero_last or self.initialization == "fixup"
        if self.block == "single" and ends_bare and starts_at_zero:
            self.refuse_new(
                "block",
                "ends in two layers, of image and time; use basic to start at 0",
            )


@register(DiffusionUNetConfig)
def build(config: DiffusionUNetConfig, image_shape: tuple[int, int, int], outputs: int) -> UNet:
    """([B, C, H, W], times [B]) -> [B, C, H, W]; `outputs` are of no use to it."""
    from gradflow.networks.unet import unet

    return unet(config, image_shape, timed=True)
