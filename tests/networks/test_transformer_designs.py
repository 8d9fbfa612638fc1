"""Every placement and connection of transformers against forms written from the papers.

A form is a function of a network's state by name and of its input, in float64: it calls no module
of the package. Compared are the output and the gradient of every parameter.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from gradflow.config.transformers import CONNECTIONS, PLACEMENTS
from gradflow.core.errors import GradflowError
from gradflow.networks import build_network
from gradflow.networks.families.language_model import LanguageModelConfig
from gradflow.networks.streams import doubly_stochastic, gains, mixing_matrices

pytestmark = pytest.mark.numeric

WIDTH, HEADS, KINDS, TOKENS, LAYERS, STREAMS = 8, 2, 7, 5, 3, 3
DEPTH = 4 * LAYERS + 2
EXACT = {"rtol": 1e-9, "atol": 1e-11}
ROUNDED = {"rtol": 1e-5, "atol": 1e-7}  # the factors of these two placements are float32
BETWEEN = [name for name, row in PLACEMENTS.items() if not row.after_attention]


def built(seed=0, **options):
    """A small causal network in float64, none of whose weights is at a special value."""
    counted = {"streams": STREAMS} if "hyper" in options.get("connection", "") else {}
    network = build_network(
        "language_model",
        image_shape=(1, 1, TOKENS),
        outputs=KINDS,
        **{"depth": DEPTH, "width": WIDTH, "heads": HEADS, **counted, **options},
    ).double()
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data += 0.3 * torch.randn(
            parameter.shape, generator=generator, dtype=torch.float64
        )
    return network


def tokens(batch=2, seed=1):
    return torch.randint(KINDS, (batch, TOKENS), generator=torch.Generator().manual_seed(seed))


class Form:
    """The formulas, of tensors by name."""

    def __init__(self, state, norm="layer", normed="", skip=True):
        self.p, self.norm_kind, self.normed, self.skip = state, norm, normed, float(skip)

    def norm(self, name, x):
        if self.norm_kind == "dyt":
            return (
                self.p[f"{name}.weight"] * torch.tanh(self.p[f"{name}.alpha"] * x)
                + self.p[f"{name}.bias"]
            )
        if self.norm_kind == "rms":
            return x / (x.square().mean(-1, True) + 1e-5).sqrt() * self.p[f"{name}.weight"]
        return self.layer_norm(name, x)

    def layer_norm(self, name, x):
        x = x - x.mean(-1, True)
        unit = x / (x.square().mean(-1, True) + 1e-5).sqrt()
        return unit * self.p[f"{name}.weight"] + self.p[f"{name}.bias"]

    def linear(self, name, x):
        return x @ self.p[f"{name}.weight"].T + self.p[f"{name}.bias"]

    def values(self, block, x):
        return self.linear(f"{block}.attention.query_key_value", x)[..., 2 * WIDTH :]

    def attention(self, block, x, first=None):
        """softmax(q k^T / sqrt(d) + mask) v, head by head."""
        name, d = f"{block}.attention", WIDTH // HEADS
        q, k, v = self.linear(f"{name}.query_key_value", x).split(WIDTH, -1)
        if first is not None:
            v = 0.5 * v + 0.5 * first
        mask = torch.full((TOKENS, TOKENS), -math.inf, dtype=torch.float64).triu(1)
        heads = []
        for head in range(HEADS):
            part = {"q": q, "k": k, "v": v}
            part = {key: each[..., head * d : (head + 1) * d] for key, each in part.items()}
            for key in self.normed:
                part[key] = self.norm(f"{name}.norms.{key}", part[key])
            scores = part["q"] @ part["k"].transpose(1, 2) / math.sqrt(d) + mask
            heads.append(scores.softmax(-1) @ part["v"])
        return self.linear(f"{name}.output", torch.cat(heads, -1))

    def mlp(self, block, x):
        x = self.linear(f"{block}.linear1", x)
        return self.linear(f"{block}.linear2", x * 0.5 * (1 + torch.erf(x / math.sqrt(2))))

    def inner(self, index, x):
        """A or M of a block."""
        block = f"blocks.{index}.branch"
        return self.mlp(block, x) if index % 2 else self.attention(block, x)

    def branch(self, index, x):
        """A(n(x)) or M(n(x)), of a pre-norm network."""
        return self.inner(index, self.norm(f"blocks.{index}.branch.norm1", x))

    def embed(self, x):
        return self.p["stem.embedding.weight"][x] + self.p["stem.position"]

    def head(self, x, norm=True):
        x = self.norm("head.norm1", x) if norm else x
        return self.linear(f"head.{int(norm)}", x)


def pre_norm(f, x):
    x = f.embed(x)
    for i in range(2 * LAYERS):
        x = f.skip * x + f.branch(i, x)
    return f.head(x)


def post_norm(f, x):
    x = f.embed(x)
    for i in range(2 * LAYERS):
        x = f.norm(f"blocks.{i}.after.norm1", f.skip * x + f.inner(i, x))
    return f.head(x, norm=False)


def sandwich(f, x):
    x = f.embed(x)
    for i in range(2 * LAYERS):
        x = f.skip * x + f.norm(f"blocks.{i}.branch.norm2", f.branch(i, x))
    return f.head(x)


def peri_norm(f, x):
    x = f.norm("stem.then.0", f.embed(x))
    for i in range(2 * LAYERS):
        x = f.skip * x + f.norm(f"blocks.{i}.branch.norm2", f.branch(i, x))
    return f.head(x)


def hybrid(f, x):
    f.normed = "qkv"
    x = f.embed(x)
    for i in range(0, 2 * LAYERS, 2):
        y = f.norm(f"blocks.{i}.after.norm1", f.skip * x + f.inner(i, x))
        x = f.skip * y + f.inner(i + 1, y)
    return f.head(x)


def layer_norm_scaling(f, x):
    x = f.embed(x)
    for layer in range(1, LAYERS + 1):
        for i in (2 * layer - 2, 2 * layer - 1):
            scaled = f.norm(f"blocks.{i}.branch.norm1", x) / math.sqrt(layer)
            x = f.skip * x + f.inner(i, scaled)
    return f.head(x)


def deep_norm(f, x):
    alpha = (2 * LAYERS) ** 0.25
    x = f.embed(x)
    for i in range(2 * LAYERS):
        x = f.norm(f"blocks.{i}.after.norm1", f.skip * alpha * x + f.inner(i, x))
    return f.head(x, norm=False)


def highway(f, x):
    x = f.embed(x)
    for i in range(2 * LAYERS):
        t = 1 / (1 + torch.exp(-f.linear(f"blocks.{i}.gate.linear", x)))
        x = x * (1 - t) + f.branch(i, x) * t if f.skip else f.branch(i, x)
    return f.head(x)


def value_residual(f, x):
    x, first = f.embed(x), None
    for i in range(2 * LAYERS):
        block = f"blocks.{i}.branch"
        h = f.norm(f"{block}.norm1", x)
        first = f.values(block, h) if first is None else first
        y = f.mlp(block, h) if i % 2 else f.attention(block, h, first)
        x = f.skip * x + y
    return f.head(x)


def streams_of(f, x, weights, count=STREAMS):
    """H' = M H + w F(r H), stream by stream; the sum of the last."""
    h = [f.embed(x)] * count
    for i in range(2 * LAYERS):
        r, w, m = weights(f, i, h)  # by stream; by stream; by [to][from]
        y = f.branch(i, sum(r[s][..., None] * h[s] for s in range(count)))
        h = [
            f.skip * sum(m[t][s][..., None] * h[s] for s in range(count)) + w[t][..., None] * y
            for t in range(count)
        ]
    return f.head(sum(h))


def static(f, i, h):
    n, block = STREAMS, f"blocks.{i}"
    matrix = f.p[f"{block}.shortcut.weights.values"].view(n, n)
    return f.p[f"{block}.branch.read.values"], f.p[f"{block}.branch.write.values"], matrix


def dynamic(f, i, h):
    """B = s tanh(norm(H) W_b) + B and so on; A_r[s][t] says how much of stream s goes to t."""
    n, block = STREAMS, f"blocks.{i}"

    def moved(name, s):
        projection = f.p[f"{name}.projection"].view(WIDTH, -1)
        return f.p[f"{name}.scale"] * torch.tanh(f.layer_norm(f"{name}.norm", h[s]) @ projection)

    read, write, mix = f"{block}.branch.read", f"{block}.branch.write", f"{block}.shortcut.weights"
    start = f.p[f"{mix}.values"].view(n, n)
    return (
        [f.p[f"{read}.values"][s] + moved(read, s)[..., 0] for s in range(n)],
        [f.p[f"{write}.values"][s] + moved(write, s)[..., 0] for s in range(n)],
        [[start[t, s] + moved(mix, s)[..., t] for s in range(n)] for t in range(n)],
    )


def manifold(f, i, h):
    n, block = STREAMS, f"blocks.{i}"
    x = torch.cat(h, -1)
    unit = x / (x.square().mean(-1, True) + 1e-5).sqrt()

    def free(name):
        x = unit * f.p[f"{name}.norm.weight"]
        projected = x @ f.p[f"{name}.projection"].view(n * WIDTH, -1)
        return f.p[f"{name}.scale"] * projected + f.p[f"{name}.values"]

    matrix = free(f"{block}.shortcut.weights").exp().unflatten(-1, (n, n))
    for _ in range(20):
        matrix = matrix / matrix.sum(-2, True)
        matrix = matrix / matrix.sum(-1, True)
    r = 1 / (1 + torch.exp(-free(f"{block}.branch.read")))
    w = 2 / (1 + torch.exp(-free(f"{block}.branch.write")))
    rows = [[matrix[..., t, s] for s in range(n)] for t in range(n)]
    return r.unbind(-1), w.unbind(-1), rows


def reversible(f, x):
    """y1 = x1 + F(x2), y2 = x2 + G(y1): attention, then an MLP."""
    x1 = x2 = f.embed(x)
    for i in range(0, 2 * LAYERS, 2):
        y1 = f.skip * x1 + f.branch(i, x2)
        y2 = f.skip * x2 + f.branch(i + 1, y1)
        x1, x2 = (y1, y2) if f.skip else (0 * y1, y2)
    return f.head(x1 + x2)


def attend(f, name, outputs):
    keys = [v / (v.square().mean(-1, True) + 1e-5).sqrt() for v in outputs]
    logits = [(k * f.p[f"{name}.norm.weight"]) @ f.p[f"{name}.query"] for k in keys]
    shares = torch.stack(logits).softmax(0)
    return sum(a[..., None] * v for a, v in zip(shares, outputs, strict=True))


def attention_residual(f, x):
    outputs = [f.embed(x)]
    for i in range(2 * LAYERS):
        y = f.branch(i, attend(f, f"blocks.{i}.branch.read", outputs))
        outputs = [*(f.skip * v for v in outputs), y]
    return f.head(attend(f, "head.connection0", outputs))


def dense(f, x):
    x = f.embed(x)
    ys = [x]
    for i in range(2 * LAYERS):
        ys = [*(f.skip * y for y in ys), f.skip * x + f.branch(i, x)]
        shares = f.p[f"blocks.{i}.after.shares"]
        x = sum(a * y for a, y in zip(shares, ys, strict=True))
    return f.head(x)


FORMS = {
    **{f"placement={name}": globals()[name] for name in PLACEMENTS},
    "connection=residual": pre_norm,
    "connection=highway": highway,
    "connection=value_residual": value_residual,
    "connection=hyper": lambda f, x: streams_of(f, x, static),
    "connection=dynamic_hyper": lambda f, x: streams_of(f, x, dynamic),
    "connection=manifold_hyper": lambda f, x: streams_of(f, x, manifold),
    "connection=reversible": reversible,
    "connection=attention_residual": attention_residual,
    "connection=dense": dense,
}


def compare(form, network, x, close, **options):
    output = network(x)
    state = {k: v.detach().clone().requires_grad_() for k, v in network.named_parameters()}
    expected = form(Form(state, **options), x)
    torch.testing.assert_close(output, expected, **close)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(3)).double()
    (output * weights).sum().backward()
    (expected * weights).sum().backward()
    for name, parameter in network.named_parameters():
        theirs = state[name].grad
        if parameter.grad is None or theirs is None:  # of a plain twin's shortcut, or gate
            assert not options["skip"], name
            assert all(g is None or not g.any() for g in (parameter.grad, theirs)), name
        else:
            torch.testing.assert_close(parameter.grad, theirs, **close, msg=lambda m, n=name: n + m)


def test_every_design_has_a_form():
    designs = [f"placement={p}" for p in PLACEMENTS] + [f"connection={c}" for c in CONNECTIONS]
    assert sorted(FORMS) == sorted(designs)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("design", FORMS)
def test_a_design_and_its_twin_are_what_their_paper_says(design, skip):
    key, _, value = design.partition("=")
    close = ROUNDED if value in ("layer_norm_scaling", "deep_norm") else EXACT
    network = built(**{key: value}, skip=skip)
    compare(FORMS[design], network, tokens(), close, skip=skip)


@pytest.mark.parametrize("norm", ["rms", "dyt"])
@pytest.mark.parametrize("qk_norm", [True, False])
def test_norms_and_normalized_queries_and_keys(norm, qk_norm):
    network = built(norm=norm, qk_norm=qk_norm)
    normed = "qk" if qk_norm else ""
    compare(pre_norm, network, tokens(), EXACT, norm=norm, normed=normed, skip=True)


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_a_causal_network_does_not_look_ahead(connection):
    network, x = built(connection=connection), tokens()
    before = network(x)
    changed = x.clone()
    changed[:, 3:] = (changed[:, 3:] + 1) % KINDS
    after = network(changed)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.isclose(before[:, 3:], after[:, 3:]).any()


@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize("placement", BETWEEN)
def test_designs_share_the_weights_of_their_layers(connection, placement):
    """Of one seed, so that designs too are compared pair by pair."""
    options = {"width": WIDTH, "depth": DEPTH, "heads": HEADS, "image_shape": (1, 4, 4), "seed": 5}
    base = build_network("transformer", **options).state_dict()
    made = build_network("transformer", **options, connection=connection, placement=placement)
    state = made.state_dict()
    layers = [name for name in base if "norm" not in name]
    assert len(layers) == 2 * 2 * 4 * LAYERS // 2 + 5
    for name in layers:
        assert torch.equal(base[name], state[name]), name


@pytest.mark.parametrize("connection", ["hyper", "dynamic_hyper", "manifold_hyper", "dense"])
def test_at_first_it_is_a_pre_norm_network(connection):
    """Each stream is the one stream of pre-norm, and the head's norm takes their number away."""
    options = {"image_shape": (1, 1, TOKENS), "outputs": KINDS, "depth": DEPTH, "width": WIDTH}
    x = tokens()
    plain = build_network("language_model", **options).double()
    network = build_network("language_model", **options, connection=connection).double()
    # LayerNorm's epsilon is not multiplied with the streams; M of manifold_hyper is e^-8 from 1.
    torch.testing.assert_close(network(x), plain(x), rtol=1e-2, atol=1e-3)


def test_two_streams_can_be_found_again_from_the_last():
    """RevNet, eq. 6 and 7: x2 = y2 - G(y1), x1 = y1 - F(x2)."""
    network = built(connection="reversible")
    first = x = network.stem(tokens())
    for block in network.blocks:
        x = block(x)
    for block in reversed(network.blocks):
        a, b = x.unbind(-2)
        carried = torch.stack([torch.zeros_like(a), a], -2)  # of which F reads the second
        x = torch.stack([b - block.branch(carried)[..., 1, :], a], -2)
    torch.testing.assert_close(x, first, rtol=1e-10, atol=1e-12)


def test_initial_weights_of_deep_norm():
    """Values, outputs and MLPs times (8N)^(-1/4), N = 3; all else as it was."""
    options = {"width": WIDTH, "depth": DEPTH, "image_shape": (1, 4, 4)}
    base = build_network("transformer", **options, placement="post_norm").state_dict()
    deep = build_network("transformer", **options, placement="deep_norm").state_dict()
    beta = (8 * LAYERS) ** -0.25
    for name, weight in base.items():
        expected = weight.clone()
        if name.endswith("query_key_value.weight"):
            expected[2 * WIDTH :] *= beta
        elif name.endswith(("output.weight", "linear1.weight", "linear2.weight")):
            expected *= beta
        torch.testing.assert_close(deep[name], expected)


def test_a_doubly_stochastic_matrix_of_two_streams():
    """Of exp [[a, b], [c, d]] it is [[m, 1-m], [1-m, m]] with m = 1 / (1 + e^((b+c-a-d)/2))."""
    free = torch.tensor([[0.3, -1.0], [0.5, 2.0]], dtype=torch.float64)
    m = 1 / (1 + math.exp((-1.0 + 0.5 - 0.3 - 2.0) / 2))
    expected = torch.tensor([[m, 1 - m], [1 - m, m]], dtype=torch.float64)
    torch.testing.assert_close(doubly_stochastic(free), expected)
    large = torch.randn(5, 3, 4, 4, dtype=torch.float64).mul(3)
    torch.testing.assert_close(doubly_stochastic(large).sum(-1), torch.ones(5, 3, 4).double())


def test_gains_of_a_composite():
    """[[1, a], [0, 1]]^L = [[1, L a], [0, 1]]; a diagonal's are its largest entry; both ways of
    one that is not symmetric."""
    shear = torch.tensor([[1.0, 0.5], [0.0, 1.0]])
    assert gains([shear] * 6) == (4.0, 4.0)
    assert gains([torch.diag(torch.tensor([2.0, 0.5]))] * 3) == (8.0, 8.0)
    first, last = torch.tensor([[1.0, -2.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    assert gains([first]) == (3.0, 2.0)
    assert gains([first, last]) == (9.0, 8.0)  # last @ first = [[1, -2], [3, -6]]
    assert gains([torch.stack([shear, 2 * shear])]) == (2.25, 2.25)  # the mean over tokens


@pytest.mark.parametrize("connection", ["hyper", "dynamic_hyper", "manifold_hyper"])
def test_mixing_matrices_are_those_that_blocks_use(connection):
    network, x = built(connection=connection), tokens()
    matrices = mixing_matrices(network, x)
    assert len(matrices) == 2 * LAYERS
    state = network.stem(x)
    for block, matrix in zip(network.blocks, matrices, strict=True):
        torch.testing.assert_close(block.shortcut(state), matrix @ state)
        state = block(state)
    forward, backward = gains(matrices)
    if connection == "manifold_hyper":
        assert forward == pytest.approx(1, abs=1e-9)  # rows are normalized last
        assert backward == pytest.approx(1, abs=0.01)  # columns before them, 20 times
    else:
        assert min(abs(forward - 1), abs(backward - 1)) > 0.05
    with pytest.raises(GradflowError, match="mixes no streams; use connection=hyper"):
        mixing_matrices(built(), x)


@pytest.mark.parametrize("design", FORMS)
def test_every_design_trains_in_bfloat16(design):
    """Streams of one type meet weights of another."""
    key, _, value = design.partition("=")
    network, x = built(**{key: value}).float(), tokens()
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.cross_entropy(network(x).flatten(0, 1), x.flatten())
    loss.backward()
    exact = F.cross_entropy(network(x).flatten(0, 1), x.flatten())
    torch.testing.assert_close(loss, exact, rtol=0.1, atol=0.1)  # eight bits, over six blocks
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_a_connection_of_a_placement_that_changes_the_shortcut_is_refused():
    told = "use connection=residual or placement=pre_norm or peri_norm or sandwich or layer"
    with pytest.raises(GradflowError, match=told):
        LanguageModelConfig(placement="deep_norm", connection="hyper")


def test_shorter_texts_are_fine():
    network, x = built(), tokens()
    torch.testing.assert_close(network(x[:, :3]), network(x)[:, :3], **EXACT)
    assert F.cross_entropy(network(x).flatten(0, 1), x.flatten()).isfinite()


def test_a_branch_that_ends_at_zero_has_no_bias_either():
    options = {"zero_last": True, "initialization": "default", "depth": 6}
    network = build_network("transformer", image_shape=(1, 8, 8), **options)
    x = torch.randn(2, 16, 32)
    assert all(not block.branch(x).any() for block in network.blocks)
