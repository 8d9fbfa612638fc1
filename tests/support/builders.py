"""Builders of networks that nobody here wrote blocks for: `network.builder=tests...:name`."""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Shape = tuple[int, int, int]
Add = Callable[[Tensor, Tensor, bool], Tensor]


def _in_place(x: Tensor, f: Tensor, skip: bool) -> Tensor:
    if skip:
        f += x
    return f


def _into_x(x: Tensor, f: Tensor, skip: bool) -> Tensor:
    if not skip:
        return f
    x = x.clone()
    x += f
    return x


def _unreturned(x: Tensor, f: Tensor, skip: bool) -> Tensor:
    if not skip:
        return f
    x = x * 1
    x.add_(f)
    return x


ADDS: dict[str, Add] = {
    "x + f": lambda x, f, skip: x + f if skip else f,
    "f + x": lambda x, f, skip: f + x if skip else f,
    "f += x": _in_place,
    "x += f": _into_x,
    "x.add_(f)": _unreturned,
    "x - f": lambda x, f, skip: x - f if skip else -f,
    "f - x": lambda x, f, skip: f - x if skip else f,
    "add alpha": lambda x, f, skip: torch.add(x, f, alpha=0.5) if skip else 0.5 * f,
    "add other": lambda x, f, skip: torch.add(input=f, other=x) if skip else f,
    "scaled x": lambda x, f, skip: 0.5 * x + f if skip else f,
    "three": lambda x, f, skip: x + f.relu() + f if skip else f.relu() + f,
}
"""How x and F(x) are added, and what is left of it in the twin."""


class AddingBlock(nn.Module):
    def __init__(self, size: int, add: str, skip: bool, dropout: float):
        super().__init__()
        self.first = nn.Conv2d(size, size, 3, padding=1)
        self.norm = nn.BatchNorm2d(size)
        self.drop = nn.Dropout(dropout)
        self.last = nn.Conv2d(size, size, 3, padding=1)
        self.add, self.skip = add, skip

    def forward(self, x: Tensor) -> Tensor:
        f = self.last(self.drop(self.norm(self.first(x)).relu()))
        return ADDS[self.add](x, f, self.skip)


def _net(
    image_shape: Shape, outputs: int, add: str, skip: bool, depth: int, dropout: float
) -> nn.Sequential:
    blocks = [AddingBlock(4, add, skip, dropout) for _ in range((depth - 2) // 2)]
    stem = nn.Conv2d(image_shape[0], 4, 3, padding=1)
    return nn.Sequential(
        stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, outputs)
    )


def outside(
    image_shape: Shape, outputs: int, depth: int, add: str = "x + f", dropout: float = 0.0
) -> nn.Module:
    return _net(image_shape, outputs, add, True, depth, dropout)


def own(
    image_shape: Shape,
    outputs: int,
    depth: int,
    skip: bool,
    add: str = "x + f",
    dropout: float = 0.0,
) -> nn.Module:
    return _net(image_shape, outputs, add, skip, depth, dropout)


def no_module(image_shape: Shape) -> int:
    return prod(image_shape)


def raises(image_shape: Shape) -> nn.Module:
    raise ValueError("no\nsuch net")


def unread(image_shape: Shape, outputs: int, heads: int = 2) -> nn.Module:
    return outside(image_shape, outputs, 4)


def unread_skip(image_shape: Shape, outputs: int, skip: bool) -> nn.Module:
    return outside(image_shape, outputs, 4 if skip is not None else 6)


def other_tensors(image_shape: Shape, outputs: int, skip: bool) -> nn.Module:
    torch.rand(int(skip))
    return own(image_shape, outputs, 4, skip)


class _Other(nn.Module):
    """Without skip it has another activation, or one more norm, too."""

    def __init__(self, what: str, skip: bool):
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.what, self.skip = what, skip

    def forward(self, x: Tensor) -> Tensor:
        f: Tensor = self.linear(x)
        if self.skip:
            return x + f.relu()
        return f.tanh() if self.what == "activation" else self.norm(f.relu())


def other_activation(image_shape: Shape, outputs: int, skip: bool) -> nn.Module:
    stem = nn.Linear(prod(image_shape), 4)
    return nn.Sequential(nn.Flatten(), stem, _Other("activation", skip), nn.Linear(4, outputs))


def other_norm(image_shape: Shape, outputs: int, skip: bool) -> nn.Module:
    stem = nn.Linear(prod(image_shape), 4)
    return nn.Sequential(nn.Flatten(), stem, _Other("norm", skip), nn.Linear(4, outputs))


def other_dropout(image_shape: Shape, outputs: int, skip: bool) -> nn.Module:
    return own(image_shape, outputs, 6, skip, dropout=0.1 if skip else 0.2)


def other_epsilon(image_shape: Shape, outputs: int, skip: bool) -> nn.Module:
    network = own(image_shape, outputs, 6, skip)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and not skip:
            module.eps = 1e-3
    return network


def other_average(image_shape: Shape, outputs: int, skip: bool) -> nn.Module:
    """A flag of torch's own module, which is no skip."""
    network = _net(image_shape, outputs, "x + f", skip, 4, 0.0)
    network.append(nn.Sequential(nn.Unflatten(1, (1, outputs)), nn.AvgPool1d(3, 1, 1, False, skip)))
    return network.append(nn.Flatten())


class _Scaled(AddingBlock):
    """Its own words for the skip."""

    def __init__(self, skip: bool, strength: float):
        super().__init__(4, "x + f", skip, 0.0)
        self.plain, self.factor, self.strength = not skip, float(skip), strength


def own_words(image_shape: Shape, outputs: int, skip: bool) -> nn.Module:
    network = _net(image_shape, outputs, "x + f", skip, 4, 0.0)
    network[1] = _Scaled(skip, strength=2.0)
    return network


def other_strength(image_shape: Shape, outputs: int, skip: bool) -> nn.Module:
    network = _net(image_shape, outputs, "x + f", skip, 4, 0.0)
    network[1] = _Scaled(skip, strength=2.0 if skip else 0.5)
    return network


def swallowing(image_shape: Shape, outputs: int, **options: Any) -> nn.Module:
    depth = options.pop("layers", 4)
    return outside(image_shape, outputs, depth if "deep" in options else options["depths"])


def handing_on(image_shape: Shape, outputs: int, **options: Any) -> nn.Module:
    return outside(image_shape, outputs, **options)


def taking(image_shape: Shape, outputs: int, **options: Any) -> nn.Module:
    return outside(image_shape, outputs, 4)


def plain(image_shape: Shape, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(image_shape), outputs))


def too_wide(image_shape: Shape, outputs: int) -> nn.Module:
    return plain(image_shape, outputs + 1)


def other_images(image_shape: Shape, outputs: int) -> nn.Module:
    return plain((7, 7, 7), outputs)


def lazy(image_shape: Shape, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(outputs))


class Recomputing(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = checkpoint(super().forward, x, use_reentrant=False)
        return y


def recomputing(image_shape: Shape, outputs: int, depth: int) -> nn.Module:
    """The blocks are computed again in the backward pass, where no sum would be off."""
    stem, *blocks, pool, flatten, head = _net(image_shape, outputs, "x + f", True, depth, 0.0)
    return nn.Sequential(stem, Recomputing(*blocks), pool, flatten, head)


class OnImages(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.branch = nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        f: Tensor = self.branch(x)
        return x + f.relu()


def on_images(image_shape: Shape, outputs: int) -> nn.Module:
    """Its only sum is of the images themselves and a branch."""
    size = prod(image_shape)
    return nn.Sequential(OnImages(size), nn.Linear(size, outputs))


class Reversible(nn.Module):
    """y1 = x1 + F(x2), y2 = x2 + G(y1): a branch reads another stream than it is added to."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.g = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    def forward(self, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        one, other = x
        one = one + self.f(other)
        return one, other + self.g(one)


class Forked(nn.Module):
    def __init__(self, size: int, outputs: int):
        super().__init__()
        self.one, self.other = nn.Linear(size, 4), nn.Linear(size, 4)
        self.reversible = nn.Sequential(*(Reversible() for _ in range(3)))
        self.out = nn.Linear(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        y: Tensor = self.out(torch.cat(self.reversible((self.one(x), self.other(x))), dim=1))
        return y


def reversible(image_shape: Shape, outputs: int) -> nn.Module:
    return Forked(prod(image_shape), outputs)


class Multiplying(AddingBlock):
    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(x, self.first(x), self.last(x))


def multiplying(image_shape: Shape, outputs: int) -> nn.Module:
    network = _net(image_shape, outputs, "x + f", True, 4, 0.0)
    network[1] = Multiplying(4, "x + f", True, 0.0)
    return network


class _Logits(nn.Module):
    """A model of transformers for images, whose output is an object."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        return self.model(pixel_values=x)


def vit(image_shape: Shape, outputs: int) -> nn.Module:
    from tests.support.real_networks import has_torchvision

    has_torchvision()
    from transformers import ViTConfig, ViTForImageClassification

    made: Any = ViTConfig  # whose stubs lack what each config has
    config = made(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        image_size=image_shape[1], patch_size=2, num_channels=image_shape[0], num_labels=outputs,
        attn_implementation="eager",
    )  # fmt: skip
    return _Logits(ViTForImageClassification(config))


def resnet(image_shape: Shape, outputs: int) -> nn.Module:
    from tests.support.real_networks import has_torchvision

    has_torchvision()
    from transformers import ResNetConfig, ResNetForImageClassification

    made: Any = ResNetConfig  # whose stubs lack what each config has
    config = made(
        num_channels=image_shape[0], embedding_size=8, hidden_sizes=[8, 12], depths=[2, 2],
        layer_type="basic", num_labels=outputs,
    )  # fmt: skip
    return _Logits(ResNetForImageClassification(config))
