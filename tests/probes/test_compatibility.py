"""The table of docs/project/compatibility.md: each tick against float64 numbers, to 1e-6;
each cross is one line when the probes are made, or in the row's reason."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

from gradflow.core.errors import GradflowError
from gradflow.networks import build_network
from gradflow.probes import Probes
from tests.support.measured import cross_entropy, frames, measure

NORMS = ("input_grad_norm", "skip_grad_norm", "branch_grad_norm", "skip_share", "input_rms")
CIFAR = {"image_shape": (1, 8, 8), "depth": 14, "width": 4}


def images(count=8):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 1, 8, 8, generator=generator, dtype=torch.float64)


def reference():
    network = build_network("cifar_resnet", **CIFAR).double()
    return network, measure(network, lambda: cross_entropy(network, images()))


def agree(found, expected, rtol=1e-6):
    np.testing.assert_allclose(found["layers"].grad_norm, expected["layers"].grad_norm, rtol=rtol)
    for name in NORMS:
        one, other = found["blocks"][name], expected["blocks"][name]
        np.testing.assert_allclose(one, other, rtol=rtol, err_msg=name)


def test_channels_last():
    network, expected = reference()
    network.zero_grad()
    network.to(memory_format=torch.channels_last)
    batch = images().contiguous(memory_format=torch.channels_last)
    agree(measure(network, lambda: cross_entropy(network, batch)), expected)


def test_checkpointing_without_reentry():
    _, expected = reference()
    network = build_network("cifar_resnet", **CIFAR, checkpoint=True).double()
    agree(measure(network, lambda: cross_entropy(network, images())), expected)


@pytest.mark.parametrize("blocks", ["auto", "blocks.*"])
def test_names_and_no_names_agree(blocks):
    """A network of ours under a name that the probes do not know, found in the graph alone."""
    network, expected = reference()
    network.zero_grad()
    whole = nn.Sequential(network)
    options = {} if blocks == "auto" else {"blocks": "0.blocks.*", "branch": "branch"}
    if blocks != "auto":
        options["shortcut"] = "shortcut"
    agree(measure(whole, lambda: cross_entropy(whole, images()), **options), expected)


def test_float32_and_scaling():
    network, expected = reference()
    network.zero_grad()
    network.float()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with Probes(network, scaler=scaler) as probes:
        probes.arm(0)
        scaler.scale(cross_entropy(network, images().float())).backward()
    agree(frames(probes), expected, rtol=1e-4)  # float32's own rounding through 14 layers


def test_several_probes_at_once():
    network, expected = reference()
    network.zero_grad()
    with Probes(network) as one, Probes(network) as two, Probes(network, blocks=None) as three:
        for probes in (one, two, three):
            probes.arm(0, details=probes is two)
        cross_entropy(network, images()).backward()
    agree(frames(one), expected)
    agree(frames(two), expected)
    assert frames(three)["layers"].grad_norm.tolist() == expected["layers"].grad_norm.tolist()


def layers_agree(network, loss_of):
    """The probes' norms of all matrices against autograd.grad's."""
    weights = [p for p in network.parameters() if p.ndim > 1]
    grads = torch.autograd.grad(
        loss_of(), [w for w in weights if w.requires_grad], allow_unused=True
    )
    by_weight = dict(zip([id(w) for w in weights if w.requires_grad], grads, strict=True))
    found = measure(network, loss_of)["layers"].grad_norm.tolist()
    for weight, norm in zip(weights, found, strict=True):
        gradient = by_weight.get(id(weight))
        if gradient is None:
            assert np.isnan(norm)
        else:
            size = gradient.to_dense().abs().square().sum().sqrt()
            assert norm == pytest.approx(float(size), rel=1e-10)


class Lora(nn.Module):
    def __init__(self):
        super().__init__()
        self.base = nn.Linear(4, 4).requires_grad_(False)
        self.lora_a, self.lora_b = nn.Linear(4, 2, bias=False), nn.Linear(2, 4, bias=False)

    def forward(self, x):
        return self.base(x) + 0.5 * self.lora_b(self.lora_a(x))


class Fourier(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.randn(4, 3, dtype=torch.cdouble))

    def forward(self, x):
        return torch.fft.irfft(torch.fft.rfft(x) * self.weights[0], n=4)


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 4, num_layers=2, batch_first=True)

    def forward(self, x):
        return self.lstm(x[:, None])[0][:, 0]


class Words(nn.Module):
    def __init__(self, sparse):
        super().__init__()
        self.words = nn.Embedding(5, 4, sparse=sparse)

    def forward(self, x):
        return x + self.words(torch.tensor([1, 2, 1, 3, 1]))


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4, dtype=torch.uint8), requires_grad=False)

    def forward(self, x):
        return x @ self.weight.double()


def tied():
    network = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    network[2].weight = network[0].weight
    return network


PARTS = {
    "weight_norm": lambda: weight_norm(nn.Linear(4, 4)),
    "spectral_norm": lambda: spectral_norm(nn.Linear(4, 4)).eval(),
    "orthogonal": lambda: orthogonal(nn.Linear(4, 4)),
    "lora": Lora,
    "complex": Fourier,
    "lstm": Lstm,
    "sparse": lambda: Words(True),
    "dense": lambda: Words(False),
    "tied": tied,
    "frozen": lambda: nn.Linear(4, 4).requires_grad_(False),
    "quantized": Packed,
}


@pytest.mark.parametrize("part", PARTS)
def test_layers_of_every_kind(part):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), PARTS[part](), nn.Linear(4, 2)).double()
    if part == "complex":
        network[1].weights.data = torch.randn(4, 3, dtype=torch.cdouble)
    if part == "quantized":
        network[1].weight.data = torch.ones(4, 4, dtype=torch.uint8)
    x = torch.randn(5, 4, dtype=torch.float64)
    layers_agree(network, lambda: network(x).square().mean())


def test_names_of_parametrized_and_quantized_layers():
    network = nn.Sequential(weight_norm(nn.Linear(4, 4)), Packed())
    probes = Probes(network)
    names = [layer.name for layer in probes.layers]
    weight = "0.parametrizations.weight.original"
    assert names == [f"{weight}0", f"{weight}1", "1"]
    with probes:
        probes.arm(0)
        network[0](torch.randn(5, 4)).square().mean().backward()
    assert probes.tables()["layers"]["weight_norm"].to_pylist()[2] is None


def test_a_module_that_is_shared_by_several_blocks():
    torch.manual_seed(0)

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.f = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            h = self.stem(x)
            for _ in range(3):
                h = h + torch.tanh(self.f(h))
            return h

    network, x = Shared().double(), torch.randn(5, 4, dtype=torch.float64)
    h, expected = network.stem(x), []
    for _ in range(3):
        skip = h * 1
        expected.append((h, skip))
        h = skip + torch.tanh(network.f(h))
    flat = [tensor for pair in expected for tensor in pair]
    gradients = torch.autograd.grad(h.square().mean(), flat)
    rows = measure(network, lambda: network(x).square().mean())["blocks"]
    norms = [float(gradient.norm()) for gradient in gradients]
    assert rows.input_grad_norm[:3].tolist() == pytest.approx(norms[::2])
    assert rows.skip_grad_norm[:3].tolist() == pytest.approx(norms[1::2])
    assert rows.block_name[:3].tolist() == [":1", ":2", ":3"]


def test_branches_that_are_named_and_are_not_there():
    network = build_network("mlp", image_shape=(1, 2, 2), depth=4, width=4)
    with pytest.raises(GradflowError, match="blocks.0: has no module branch='conv'"):
        Probes(network, blocks="blocks.*", branch="conv")


def test_the_smallest_float64_gradients_are_recorded():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1)).double()
    rows = measure(network, lambda: network(torch.ones(2, 3).double()).sum() * 1e-80)["layers"]
    assert (rows.grad_norm > 0).all()
    from gradflow.records import SCHEMAS

    assert str(SCHEMAS["layers"].field("grad_norm").type) == "double"


def test_weights_that_are_flattened_and_sharded_are_refused():
    """FullyShardedDataParallel itself cannot be built without a GPU."""

    class FullyShardedDataParallel(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    whole = nn.Sequential(nn.Linear(3, 3), FullyShardedDataParallel(nn.Linear(3, 3)))
    with pytest.raises(GradflowError, match="Sequential: its weights are flattened"):
        Probes(whole)
