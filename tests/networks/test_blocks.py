"""Every placement and shortcut against functional forms written from the papers, float64."""

import math

import pytest
import torch
import torch.nn.functional as F

from gradflow.config.blocks import PLACEMENTS
from gradflow.core.errors import GradflowError
from gradflow.networks import build_network
from gradflow.networks.blocks import Block, make_block
from gradflow.networks.families.cifar_resnet import CifarResNetConfig
from gradflow.networks.families.diffusion_unet import DiffusionUNetConfig
from gradflow.networks.layers import Weighted
from gradflow.networks.resnet import block_layers
from gradflow.networks.shortcuts import Gate
from gradflow.networks.unet import TimedBranch

pytestmark = pytest.mark.numeric

relu = F.relu


def randomise(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 2
    return module.double()


def made(in_size=4, size=6, stride=2, index=1, **options):
    config = CifarResNetConfig(**options)
    layers = block_layers(config.block, size, stride)
    return randomise(make_block(config, in_size, layers, index=index, total=4, dims=2))


def image(channels=4, side=6, batch=3):
    generator = torch.Generator().manual_seed(7)
    return torch.randn(batch, channels, side, side, generator=generator, dtype=torch.float64)


def conv(block, name, x, stride=1):
    layer = block.get_submodule(name)
    return F.conv2d(x, layer.weight, layer.bias, stride, layer.weight.shape[-1] // 2)


def bn(block, name, x):
    layer = block.get_submodule(name)
    mean = x.mean((0, 2, 3), keepdim=True)
    var = (x - mean).square().mean((0, 2, 3), keepdim=True)
    unit = (x - mean) / (var + 1e-5).sqrt()
    return unit * layer.weight[:, None, None] + layer.bias[:, None, None]


def option_a(x, channels, stride):
    y = x.new_zeros(len(x), channels, -(-x.shape[2] // stride), -(-x.shape[3] // stride))
    y[:, : x.shape[1]] = x[:, :, ::stride, ::stride]
    return y


def by_hand(block, placement, kind, x, stride, skip):
    """y from the figures: He et al. 2015, fig. 5, and 2016, fig. 4 a to e."""

    def c(number, h):
        strided = number == (1 if kind == "basic" else 2)
        return conv(block, f"branch.conv{number}", h, stride if strided else 1)

    def n(number, h):
        return bn(block, f"branch.norm{number}", h)

    last = 2 if kind == "basic" else 3
    h = x
    for number in range(1, last + 1):
        match placement:
            case "full_preactivation":
                h = c(number, relu(n(number, h)))
            case "activation_only_preactivation":
                h = n(number, c(number, relu(h)))
            case "norm_after_addition" if number == last:
                h = c(number, h)
            case "original" if number == last:
                h = n(number, c(number, h))
            case _:
                h = relu(n(number, c(number, h)))
    if skip:
        h = h + option_a(x, h.shape[1], stride)
    if placement == "original":
        return relu(h)
    if placement == "norm_after_addition":
        return relu(bn(block, "after.norm1", h))
    return h


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("stride", [1, 2])
def test_placements(placement, kind, stride, skip):
    block = made(block=kind, placement=placement, stride=stride, skip=skip)
    x = image()
    expected = by_hand(block, placement, kind, x, stride, skip)
    torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("shortcut", ["A", "B", "C", "exclusive_gate", "shortcut_gate"])
@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_gradients_against_finite_differences(placement, shortcut, kind):
    block = made(2, 3, block=kind, placement=placement, shortcut=shortcut, activation="tanh")
    x = image(2, 4, 2).requires_grad_()
    assert torch.autograd.gradcheck(block, x, eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("stride", [1, 2])
def test_projections(stride):
    """B projects where shapes change, C everywhere; a norm follows in original blocks."""
    x = image()
    for shortcut, size, projected in (("B", 4, stride > 1), ("B", 6, True), ("C", 4, True)):
        block = made(size=size, stride=stride, shortcut=shortcut)
        branch = bn(
            block,
            "branch.norm2",
            conv(
                block,
                "branch.conv2",
                relu(bn(block, "branch.norm1", conv(block, "branch.conv1", x, stride))),
            ),
        )
        carried = x
        if projected:
            weight = block.shortcut.conv.weight
            carried = bn(
                block,
                "shortcut.norm",
                torch.einsum("oc,bchw->bohw", weight[:, :, 0, 0], x[:, :, ::stride, ::stride]),
            )
        torch.testing.assert_close(block(x), relu(branch + carried), rtol=1e-12, atol=1e-12)
    pre = made(stride=stride, shortcut="B", placement="full_preactivation")
    assert isinstance(pre.shortcut, torch.nn.Conv2d)


@pytest.mark.parametrize(
    ("shortcut", "exclusive"), [("exclusive_gate", True), ("shortcut_gate", False)]
)
def test_gates(shortcut, exclusive):
    """He et al. 2016, section 3.1."""
    block = made(shortcut=shortcut, placement="full_preactivation")
    x = image()
    gate = torch.sigmoid(F.conv2d(x, block.gate.conv.weight, block.gate.conv.bias, 2))
    branch, carried = block.branch(x), option_a(x, 6, 2)
    expected = (1 - gate) * carried + (gate * branch if exclusive else branch)
    torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-12)


def test_gate_bias_is_set():
    network = build_network("cifar_resnet", depth=8, shortcut="exclusive_gate", gate_bias=-5.0)
    assert network.blocks[0].gate.conv.bias.unique().tolist() == [-5]


def test_constant_scales():
    x = image()
    plain = made(placement="full_preactivation", stride=2)
    scaled = made(placement="full_preactivation", stride=2, shortcut_scale=0.5, branch_scale=0.25)
    expected = 0.5 * option_a(x, 6, 2) + 0.25 * plain.branch(x)
    torch.testing.assert_close(scaled(x), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("scaling", "factor"),
    [
        ("constant", 0.3),
        ("inverse_sqrt", 0.3 / 2),
        ("inverse", 0.3 / 4),
        ("rezero", 0),
        ("layer_scale", 0.3e-4),
    ],
)
def test_branch_scaling(scaling, factor):
    """Four blocks: 1/sqrt(L) = 1/2, 1/L = 1/4."""
    given = {} if scaling == "rezero" else {"branch_scale": 0.3}
    config = CifarResNetConfig(scaling=scaling, placement="full_preactivation", **given)
    block = make_block(config, 4, [Weighted(4)] * 2, index=1, total=4, dims=2)
    assert block.branch.scale.factor.unique().tolist() == pytest.approx([factor])
    assert isinstance(block.branch.scale.factor, torch.nn.Parameter) == (
        scaling in ("rezero", "layer_scale")
    )


def test_dropout_on_the_shortcut():
    """Half of the carried values vanish in training, the others double; none in evaluation."""
    block = made(shortcut="dropout", placement="full_preactivation", stride=1, size=4)
    x = image(4, 16)
    carried = block.shortcut(x) / x
    assert set(carried.round(decimals=9).unique().tolist()) == {0.0, 2.0}
    assert abs((carried == 0).double().mean().item() - 0.5) < 5 * 0.5 / math.sqrt(x.numel())
    assert torch.equal(block.eval().shortcut(x), x)


def test_stochastic_depth():
    """Linear decay (Huang et al. 2016, eq. 4): block 2 of 4 at survival 0.2 survives with 0.6."""
    block = made(survival=0.2, placement="full_preactivation", stride=1, size=4)
    x = image()
    whole = made(placement="full_preactivation", stride=1, size=4)
    torch.manual_seed(0)
    outcomes = [block(x) for _ in range(400)]
    dropped = sum(torch.equal(y, x) for y in outcomes)
    kept = [y for y in outcomes if not torch.equal(y, x)]
    torch.testing.assert_close(kept[0], whole(x))
    assert abs(dropped / 400 - 0.4) < 5 * math.sqrt(0.24 / 400)
    whole.load_state_dict(block.state_dict())  # with the running averages of all its batches
    branch = whole.eval().branch(x)
    torch.testing.assert_close(block.eval()(x), x + 0.6 * branch)


def test_basic_block_with_biases():
    """systems.md row 5: shape preserving, and six channels at half the side."""
    x = torch.randn(1, 3, 224, 224)
    config = CifarResNetConfig(bias=True, shortcut="B")
    same = make_block(config, 3, block_layers("basic", 3, 1), index=1, total=2, dims=2)
    halved = make_block(config, 3, block_layers("basic", 6, 2), index=1, total=2, dims=2)
    assert same(x).shape == (1, 3, 224, 224)
    assert halved(x).shape == (1, 6, 112, 112)
    assert same.branch.conv1.bias is not None
    assert halved.shortcut.conv.weight.shape == (6, 3, 1, 1)


def test_bottleneck_weights():
    """C = 256: 17/16 C^2 = 69,632 convolution weights, the basic block's 18 C^2."""

    def weights(layers):
        config = CifarResNetConfig()
        block = make_block(config, 256, layers, index=1, total=2, dims=2)
        return sum(m.weight.numel() for m in block.modules() if isinstance(m, torch.nn.Conv2d))

    assert weights(block_layers("bottleneck", 64, 1)) == 69_632 == 17 * 256**2 // 16
    assert weights(block_layers("basic", 256, 1)) == 18 * 256**2


def attention_by_hand(layer, x):
    """softmax(q k^T / sqrt(d)) v, head by head, with a loop."""
    size = x.shape[-1]
    d = size // layer.heads
    qkv = x @ layer.query_key_value.weight.T + layer.query_key_value.bias
    q, k, v = qkv.split(size, dim=-1)
    mixed = []
    for head in range(layer.heads):
        part = slice(head * d, (head + 1) * d)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(d)
        mixed.append(scores.softmax(-1) @ v[..., part])
    return torch.cat(mixed, -1) @ layer.output.weight.T + layer.output.bias


def layer_norm(layer, x):
    mean = x.mean(-1, keepdim=True)
    unit = (x - mean) / ((x - mean).square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return unit * layer.weight + layer.bias


@pytest.mark.parametrize("placement", ["pre_norm", "post_norm"])
@pytest.mark.parametrize("skip", [True, False])
def test_transformer_blocks(placement, skip):
    network = randomise(
        build_network(
            "transformer", image_shape=(1, 8, 8), width=8, heads=2, placement=placement, skip=skip
        )
    )
    attention, mlp = network.blocks[:2]
    x = torch.randn(3, 5, 8, dtype=torch.float64)

    def f(block, h):
        if block is attention:
            return attention_by_hand(block.branch.attention, h)
        first, second = block.branch.linear1, block.branch.linear2
        hidden = h @ first.weight.T + first.bias
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        return hidden @ second.weight.T + second.bias

    for block in (attention, mlp):
        if placement == "pre_norm":
            expected = f(block, layer_norm(block.branch.norm1, x)) + (x if skip else 0)
        else:
            expected = layer_norm(block.after.norm1, f(block, x) + (x if skip else 0))
        torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-12)
        inputs = x[:1, :3].clone().requires_grad_()
        assert torch.autograd.gradcheck(block, inputs, eps=1e-6, atol=1e-7)


def test_diffusion_block():
    """The time's projection is added to every pixel after the first convolution."""
    config = DiffusionUNetConfig()
    block = make_block(config, 8, block_layers("basic", 16, 2), index=1, total=5, dims=2)
    block.branch = TimedBranch(block.branch, 12)
    randomise(block)
    x, time = image(8), torch.randn(3, 12, dtype=torch.float64)

    def group(layer, h):
        split = h.reshape(len(h), 8, -1)
        mean = split.mean(-1, keepdim=True)
        unit = (split - mean) / ((split - mean).square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return unit.reshape(h.shape) * layer.weight[:, None, None] + layer.bias[:, None, None]

    def silu(h):
        return h / (1 + torch.exp(-h))

    branch = block.branch
    h = conv(block, "branch.before.conv1", silu(group(branch.before.norm1, x)), 2)
    h = h + (time @ branch.time.weight.T + branch.time.bias)[:, :, None, None]
    h = conv(block, "branch.after.conv2", silu(group(branch.after.norm2, h)))
    carried = F.conv2d(x, block.shortcut.weight, None, 2)
    torch.testing.assert_close(block(x, time), h + carried, rtol=1e-12, atol=1e-12)
    small = (image(8, 4, 1).requires_grad_(), time[:1].clone().requires_grad_())
    assert torch.autograd.gradcheck(block, small, eps=1e-6, atol=1e-7)


def test_a_shortcut_of_the_wrong_shape_is_told():
    """systems.md row 24: torch would have broadcast [1, 1, 1] in silence."""
    nn = torch.nn
    block = Block(nn.Conv2d(4, 8, 3, 2, 1), nn.Conv2d(4, 8, 1), nn.ReLU(), True, name="blocks.3")
    told = r"blocks.3: the shortcut gives \(8, 6, 6\) and the branch \(8, 3, 3\); give the shortcut"
    with pytest.raises(GradflowError, match=told):
        block(torch.randn(2, 4, 6, 6))
    with pytest.raises(GradflowError, match=told):  # at construction, where it can be known
        Block(block.branch, block.shortcut, nn.ReLU(), True, name="blocks.3", in_shape=(4, 6, 6))
    fits = nn.Conv2d(4, 8, 1, 2)
    good = Block(block.branch, fits, nn.ReLU(), True, in_shape=(4, 6, 6))
    assert good(torch.randn(2, 4, 6, 6)).shape == (2, 8, 3, 3)
    broadcast = Block(nn.Conv2d(4, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Identity(), True)
    with pytest.raises(GradflowError, match=r"gives \(4, 1, 1\) and the branch \(8, 4, 4\)"):
        broadcast(torch.randn(2, 4, 6, 6))


def test_a_plain_block_has_the_gate_and_does_not_call_it():
    nn = torch.nn
    gate = Gate(4, 4, 1, exclusive=True, bias=0.0, dims=1)
    block = Block(nn.Linear(4, 4), nn.Identity(), nn.ReLU(), False, gate=gate)
    x = torch.randn(3, 4)
    assert torch.equal(block(x), block.branch(x).relu())
    block.skip = True
    share = torch.sigmoid(gate.linear(x))
    torch.testing.assert_close(block(x), ((1 - share) * x + share * block.branch(x)).relu())
