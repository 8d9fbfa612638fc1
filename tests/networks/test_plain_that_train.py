"""Plain networks that train: each against a functional form from its paper, float64."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import bisect
from torch import nn

from gradflow.core.errors import GradflowError
from gradflow.networks import build_network
from gradflow.networks.layers import TailoredReLU
from gradflow.networks.reparametrized import DiracConv, RepVGGConv, folded
from gradflow.probes import Probes

pytestmark = pytest.mark.numeric

DESIGNS = {
    "tailored": {
        "activation": "tailored_relu",
        "norm": "none",
        "initialization": "delta_orthogonal",
    },
    "critical": {
        "activation": "tanh",
        "norm": "none",
        "initialization": "critical",
        "bias_variance": 2e-5,
    },
    "dirac": {"block": "dirac"},
    "repvgg": {"block": "repvgg"},
    "linear": {"activation": "identity", "initialization": "orthogonal"},
}


def drawn(design, *, depth=20, width=4, skip=False, **options):
    options = {**DESIGNS[design], **options}
    network = build_network(
        "cifar_resnet", image_shape=(1, 8, 8), depth=depth, width=width, skip=skip, **options
    )
    return network.double()


def images(batch=3, channels=1, side=8):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, channels, side, side, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("design", DESIGNS)
def test_each_has_its_twin_and_is_measured(design):
    plain, residual = drawn(design), drawn(design, skip=True)
    ours, theirs = plain.state_dict(), residual.state_dict()
    assert list(ours) == list(theirs)
    assert all(map(torch.equal, ours.values(), theirs.values()))
    assert not torch.equal(plain(images()), residual(images()))
    with Probes(plain) as probes:
        probes.arm(0, details=True)
        plain(images()).square().sum().backward()
    blocks = probes.tables()["blocks"].to_pandas()
    assert np.isfinite(blocks.input_grad_norm).all()
    assert (blocks.input_grad_norm > 0).all()


@pytest.mark.parametrize("depth", [20, 56])
def test_a_tailored_rectifier_of_its_depth(depth):
    """Zhang et al. 2022: the correlation of orthogonal inputs ends at 0.9, the variance at 1."""

    def end(slope):
        c = 0.0
        for _ in range(depth - 1):
            arc = (np.sqrt(1 - c * c) + c * (np.pi - np.arccos(c))) / np.pi
            c = ((1 - slope) ** 2 * arc + 2 * slope * c) / (1 + slope**2)
        return c - 0.9

    slope = bisect(end, 0, 1, xtol=1e-14)
    network = drawn("tailored", depth=depth)
    acts = [m for m in network.modules() if isinstance(m, TailoredReLU)]
    assert len(acts) == depth - 1
    x = images()
    expected = (2 / (1 + slope**2)) ** 0.5 * torch.where(x > 0, x, slope * x)
    for act in acts:
        torch.testing.assert_close(act(x), expected, rtol=1e-10, atol=0)


def test_critical_weights_of_tanh():
    """Xiao et al. 2018: kernels of sigma_w times an orthogonal center, biases of the variance."""
    network = drawn("critical", width=16, bias_variance=0.05)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    for conv in convolutions:
        center = conv.weight[:, :, 1, 1].detach()
        assert conv.weight.square().sum().item() == pytest.approx(center.square().sum().item())
        gram = center.T @ center / 1.7609546396068387  # where chi_1 is 1 for this bias variance
        torch.testing.assert_close(gram, torch.eye(len(gram)).double(), rtol=0, atol=1e-5)
    biases = torch.cat([conv.bias.detach() for conv in convolutions])
    assert abs(biases.var().item() / 0.05 - 1) < 5 * (2 / len(biases)) ** 0.5


@pytest.mark.parametrize(
    ("initialization", "factor"),
    [("gaussian", 2), ("critical", 1), ("orthogonal", 1), ("xavier", 1)],
)
@torch.no_grad()
def test_which_weights_fit_a_tailored_rectifier(initialization, factor):
    """What is refused doubles the mean square (gaussian draws as he_fan_in by default), and what is
    named in its place keeps it: W phi(x) of 512 features, ten layers, 64 images."""
    network = build_network(
        "mlp",
        image_shape=(8, 8, 8),
        **{"depth": 12, "width": 512, "layers": 1, "skip": False},
        **{"activation": "tailored_relu", "initialization": initialization},
    )
    signal = network.double().stem(images(64, 8))
    before = signal.square().mean()
    for block in network.blocks:
        signal = block(signal)
    growth = float((signal.square().mean() / before) ** (1 / len(network.blocks)))
    # Over L layers the log of the mean square varies by at most sqrt(5 L / width) = 0.3, as with
    # ReLU (Hanin 2018), so by 0.03 per layer.
    assert abs(growth / factor - 1) < 5 * 0.03


def test_critical_without_biases_is_delta_orthogonal():
    ours = drawn("critical", bias_variance=0.0).state_dict()
    theirs = drawn("critical", bias_variance=0.0, initialization="delta_orthogonal").state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def by_dirac(layer, x):
    """Zagoruyko and Komodakis 2017: (diag(a) I + diag(b) W_norm) * x."""
    norms = layer.weight.square().sum((1, 2, 3), keepdim=True).sqrt()
    copied = torch.stack([x[:, o % x.shape[1]] for o in range(len(layer.weight))], dim=1)
    copied = copied[:, :, :: layer.stride[0], :: layer.stride[1]]
    convolved = F.conv2d(x, layer.weight / norms, None, layer.stride, layer.padding)
    return layer.a[:, None, None] * copied + layer.b[:, None, None] * convolved


@pytest.mark.parametrize(("in_size", "size", "stride"), [(4, 4, 1), (4, 8, 2), (3, 8, 1)])
def test_a_dirac_convolution(in_size, size, stride):
    layer = DiracConv(in_size, size, 3, stride, bias=False).double()
    assert (layer.a == 1).all()
    assert torch.allclose(layer.b, torch.tensor(0.1, dtype=torch.float64))
    with torch.no_grad():
        layer.a.normal_()
        layer.b.normal_()
    x = images(channels=in_size)
    torch.testing.assert_close(layer(x), by_dirac(layer, x), rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(layer.folded()(x), layer(x), rtol=1e-12, atol=1e-12)


def by_repvgg(layer, x, stride):
    """Ding et al. 2021, fig. 2, in training mode."""

    def norm(of, y):
        mean, var = y.mean((0, 2, 3)), y.var((0, 2, 3), unbiased=False)
        unit = (y - mean[:, None, None]) / (var + 1e-5).sqrt()[:, None, None]
        return unit * of.weight[:, None, None] + of.bias[:, None, None]

    y = norm(layer.norm3, F.conv2d(x, layer.conv3.weight, None, stride, 1))
    y = y + norm(layer.norm1, F.conv2d(x, layer.conv1.weight, None, stride))
    return y + norm(layer.norm0, x) if layer.norm0 is not None else y


@pytest.mark.parametrize(("size", "stride"), [(4, 1), (8, 1), (4, 2)])
def test_a_repvgg_convolution(size, stride):
    layer = RepVGGConv(4, size, stride).double()
    assert (layer.norm0 is not None) is (size == 4 and stride == 1)
    for parameter in layer.parameters():
        parameter.data.normal_()
    x = images(channels=4)
    torch.testing.assert_close(layer(x), by_repvgg(layer, x, stride), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("design", ["dirac", "repvgg"])
@pytest.mark.parametrize("skip", [False, True])
def test_a_folded_network_computes_the_same(design, skip):
    network = drawn(design, skip=skip)
    for _ in range(3):
        network(2 + 3 * images())  # running averages that are neither 0 nor 1
    network.eval()
    before = copy.deepcopy(network.state_dict())
    inference = folded(network)
    torch.testing.assert_close(inference(images()), network(images()), rtol=1e-10, atol=1e-12)
    assert not any(isinstance(m, DiracConv | RepVGGConv) for m in inference.modules())
    assert all(map(torch.equal, before.values(), network.state_dict().values()))
    kinds = {type(m) for m in inference.blocks.modules() if list(m.parameters(recurse=False))}
    assert kinds == ({nn.Conv2d} if design == "repvgg" else {nn.Conv2d, nn.BatchNorm2d})


@pytest.mark.parametrize(
    ("family", "options", "told"),
    [
        ("transformer", {"activation": "tailored_relu"}, "not defined for network=transformer"),
        ("unet", {"activation": "tailored_relu"}, "not defined for network=unet"),
        (
            "cifar_resnet",
            {"activation": "tailored_relu", "norm": "none"},
            "=he_fan_out: doubles the mean square per layer with activation=tailored_relu",
        ),
        ("mlp", {"activation": "tailored_relu"}, "use critical, orthogonal or xavier"),
        ("transformer", {"initialization": "critical", "activation": "tanh"}, "use xavier"),
        ("mlp", {"initialization": "critical", "activation": "gelu"}, "needs activation=tanh"),
        (
            "mlp",
            {"initialization": "critical", "bias_variance": 0.1},
            "bias_variance=0.1: activation=relu is critical with 0 alone",
        ),
        ("cifar_resnet", {"block": "dirac", "zero_last": True}, "cannot start at zero"),
        ("cifar_resnet", {"block": "repvgg", "norm": "none"}, "use batch"),
        ("cifar_resnet", {"block": "repvgg", "placement": "full_preactivation"}, "for original"),
        ("unet", {"block": "repvgg"}, "channels never shrink; use basic"),
    ],
)
def test_what_cannot_be_is_refused(family, options, told):
    with pytest.raises(GradflowError, match=told):
        build_network(family, image_shape=(1, 8, 8), **options)
