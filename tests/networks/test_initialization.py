"""Initial values against their definitions; and nothing that saves memory changes a number."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from gradflow.config.networks import INITIALIZATIONS
from gradflow.core.errors import GradflowError
from gradflow.networks import build_network

pytestmark = pytest.mark.numeric


def conv_network(**options):
    options = {"depth": 8, "width": 32, "norm": "none", **options}
    return build_network("cifar_resnet", image_shape=(3, 16, 16), **options)


def weights(network):
    return {
        name: module.weight.detach().double()
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


@pytest.mark.parametrize(
    ("initialization", "variance"),
    [
        ("he_fan_out", lambda i, o: 2 / o),
        ("he_fan_in", lambda i, o: 2 / i),
        ("default", lambda i, o: 1 / (3 * i)),
        ("xavier", lambda i, o: 2 / (i + o)),
        ("gaussian", lambda i, o: 1.7 / i),
    ],
)
def test_variances(initialization, variance):
    """Within five standard errors of a Gaussian, more than those of a uniform variable."""
    drawn = {"weight_variance": 1.7} if initialization == "gaussian" else {}
    network = conv_network(initialization=initialization, **drawn)
    for name, weight in weights(network).items():
        if name.startswith("head."):
            continue
        area = weight[0, 0].numel()
        expected = variance(weight.shape[1] * area, weight.shape[0] * area)
        assert abs(weight.var().item() / expected - 1) < 5 * math.sqrt(2 / weight.numel()), name


def test_gaussian_biases():
    network = build_network("mlp", initialization="gaussian", bias_variance=0.3, width=400, depth=6)
    bias = torch.cat([m.bias for m in network.blocks.modules() if isinstance(m, nn.Linear)])
    assert abs(bias.var().item() / 0.3 - 1) < 5 * math.sqrt(2 / bias.numel())


@pytest.mark.parametrize("initialization", ["orthogonal", "delta_orthogonal"])
def test_orthogonal_weights(initialization):
    for name, weight in weights(conv_network(initialization=initialization)).items():
        matrix = weight.flatten(1) if initialization == "orthogonal" else weight
        if matrix.ndim == 4:
            centre = matrix[:, :, 1, 1]
            assert matrix.square().sum() == pytest.approx(centre.square().sum().item()), name
            matrix = centre
        gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
        torch.testing.assert_close(gram, torch.eye(len(gram)).double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("depth", [3, 22])
def test_looks_linear_starts_as_an_isometry(depth):
    """Balduzzi et al. 2017: the ReLU network is a linear map, orthogonal where it is square."""
    network = build_network(
        "mlp",
        image_shape=(1, 1, 12),
        outputs=12,
        depth=depth,
        width=24,
        layers=1,
        skip=False,
        initialization="looks_linear",
    ).double()
    jacobian = torch.stack([network(e[None, None, None])[0] for e in torch.eye(12).double()]).T
    x = torch.randn(5, 1, 1, 12, dtype=torch.float64)
    torch.testing.assert_close(network(x), x.flatten(1) @ jacobian.T, rtol=1e-5, atol=1e-6)
    singular = np.linalg.svd(jacobian.detach().numpy(), compute_uv=False)
    np.testing.assert_allclose(singular, 1, atol=1e-4)


def test_fixup():
    """Branch layers He * L^(-1/2) for two layers, L = 3; the last and the head 0."""
    he = weights(conv_network(initialization="he_fan_in"))
    network = conv_network(initialization="fixup")
    for name, weight in weights(network).items():
        if name.endswith("conv2") or name.startswith("head."):
            assert not weight.any(), name
        elif ".branch." in name:
            torch.testing.assert_close(weight, he[name] * 3**-0.5, rtol=1e-5, atol=0)
    scalars = [n for n, p in network.named_parameters() if p.ndim == 0]
    assert len(scalars) == 3 * 5  # four biases and a multiplier a block
    assert not network(torch.randn(2, 3, 16, 16)).any()


@pytest.mark.parametrize("family", ["cifar_resnet", "mlp", "transformer", "unet", "diffusion_unet"])
def test_zero_last_makes_every_branch_zero(family):
    network = build_network(family, image_shape=(1, 8, 8), zero_last=True)
    outputs = []
    for block in network.blocks:
        block.branch.register_forward_hook(lambda _, __, y: outputs.append(y))
    times = [torch.rand(2)] if family == "diffusion_unet" else []
    network(torch.randn(2, 1, 8, 8), *times)
    assert len(outputs) == len(network.blocks)
    assert not any(y.any() for y in outputs)


@pytest.mark.parametrize("initialization", INITIALIZATIONS)
def test_values_depend_on_seed_and_name_alone(initialization):
    torch.manual_seed(3)
    one = conv_network(initialization=initialization, shortcut="A")
    torch.manual_seed(4)
    two = conv_network(initialization=initialization, shortcut="B")
    ours, theirs = one.state_dict(), two.state_dict()
    assert set(ours) < set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    other = conv_network(initialization=initialization, seed=1).state_dict()
    assert not torch.equal(other["stem.conv1.weight"], ours["stem.conv1.weight"])


def test_delta_orthogonal_names_the_layer_that_shrinks():
    with pytest.raises(GradflowError, match="stem.conv1: delta_orthogonal needs outputs >= inputs"):
        conv_network(initialization="delta_orthogonal", width=2)


NORMED = [
    ("batch", {}),
    ("group", {}),
    ("batch", {"survival": 0.5}),
    ("none", {"shortcut": "dropout"}),
]


@pytest.mark.parametrize(("norm", "options"), NORMED)
@pytest.mark.parametrize("family", ["cifar_resnet", "diffusion_unet"])
def test_checkpointing_changes_no_number(family, norm, options):
    """Output, gradients and batch norm's running averages are equal bit for bit."""
    results = []
    for checkpoint in (False, True):
        network = build_network(
            family, image_shape=(1, 8, 8), norm=norm, checkpoint=checkpoint, **options
        )
        torch.manual_seed(0)
        images = torch.randn(4, 1, 8, 8)
        times = [torch.rand(4)] if family == "diffusion_unet" else []
        output = network(images, *times)
        output.square().sum().backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        results.append([output, *gradients, *network.buffers()])
    assert len(results[0]) == len(results[1])
    assert all(map(torch.equal, *results))


@pytest.mark.slow
def test_1202_layers_fit_in_6_gb():
    """One step at depth 1202, batch 128, 32x32, in a process of its own; peak resident memory."""
    import subprocess
    import sys

    code = (
        "import resource, sys, torch, gradflow\n"
        "network = gradflow.build_network('cifar_resnet', depth=1202, checkpoint=True)\n"
        "network(torch.randn(128, 3, 32, 32)).logsumexp(1).sum().backward()\n"
        "unit = 1 if sys.platform == 'darwin' else 1024\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 6e9
