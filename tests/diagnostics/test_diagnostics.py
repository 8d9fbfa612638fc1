"""Each diagnostic against an exact small case: NumPy, enumeration, autograd's full matrices."""

import contextlib
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, jacrev

from gradflow.core.errors import GradflowError
from gradflow.diagnostics import jacobian, landscape, lesion, paths, shattering
from gradflow.diagnostics.curvature import CurvatureConfig, diagnose_curvature, layer_groups
from gradflow.diagnostics.identity import IdentityConfig, diagnose_identity
from gradflow.diagnostics.landscape import LandscapeConfig
from gradflow.diagnostics.lesion import LesionConfig
from gradflow.diagnostics.paths import PathsConfig
from gradflow.diagnostics.shattering import ShatteringConfig
from gradflow.networks import build_network
from gradflow.training.frozen import Frozen, batch_statistics, block_inputs, settle_norms
from gradflow.training.tasks import classify, denoise

pytestmark = pytest.mark.numeric


def frozen(family="mlp", *, images=6, settled=True, task=classify, seed=3, **options):
    """A random network in float64 with random 8x8 images and labels."""
    options = {"depth": 8, "width": 6} | options
    network = build_network(family, image_shape=(1, 8, 8), seed=seed, **options).double().eval()
    generator = torch.Generator().manual_seed(7)
    pictures = torch.randn(images, 1, 8, 8, dtype=torch.float64, generator=generator)
    labels = torch.randint(10, (images,), generator=generator)
    found = Frozen(network, task, pictures, labels, seed)
    if settled:
        settle_norms(network, found.loss_and_error)
    return found


RESNET = {"family": "cifar_resnet", "depth": 14, "width": 2}


def test_settled_norms_compute_what_training_mode_does():
    found = frozen(**RESNET)
    frozen_output = found.network(found.images)
    found.network.train()
    torch.testing.assert_close(frozen_output, found.network(found.images), rtol=0, atol=1e-11)


def test_batch_statistics_leave_no_trace():
    found = frozen(**RESNET)
    before = {k: v.clone() for k, v in found.network.state_dict().items()}
    with batch_statistics(found.network):
        inside = found.network(found.images[:3])
    assert not found.network.training
    assert all(torch.equal(before[k], v) for k, v in found.network.state_dict().items())
    found.network.train()
    torch.testing.assert_close(inside, found.network(found.images[:3]), rtol=0, atol=1e-12)


# Jacobian


def test_jacobian_of_a_linear_network_is_the_product_of_its_matrices():
    found = frozen(activation="identity", layers=1, placement="full_preactivation", skip=False,
                   depth=5, norm="none")  # fmt: skip
    weights = [p.detach().numpy() for n, p in found.network.named_parameters() if p.ndim == 2]
    expected = np.linalg.multi_dot(weights[::-1])
    x = found.images[0]
    np.testing.assert_allclose(jacobian.jacobian(found.network, x), expected, atol=1e-13)
    values = jacobian.spectrum(found.network, x).values
    np.testing.assert_allclose(values, np.linalg.svd(expected)[1], atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [RESNET, {"norm": "batch"}, {"family": "transformer", "depth": 6, "width": 8, "heads": 2}],
)
def test_jacobian_of_any_network_agrees_with_finite_differences(options):
    found = frozen(**options)
    x, step = found.images[0], 1e-5
    with torch.no_grad():
        columns = []
        for moved in torch.eye(64, dtype=torch.float64).reshape(64, 1, 8, 8) * step:
            plus, minus = found.network((x + moved)[None]), found.network((x - moved)[None])
            columns.append(((plus - minus) / (2 * step))[0].numpy())
    expected = np.stack(columns, axis=1)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(jacobian.jacobian(found.network, x), expected, atol=1e-5 * scale)


def test_the_largest_values_found_by_iteration_are_within_their_bounds():
    found = frozen(**RESNET)
    [x, *_] = block_inputs(found.network, found.images)
    block = found.network.blocks[0]
    exact = jacobian.spectrum(block, x[0].detach())
    some = jacobian.spectrum(block, x[0].detach(), exact_up_to=8, values=5)
    assert exact.is_whole
    assert not some.is_whole
    assert len(exact.values) == 128
    distance = np.abs(exact.values[:, None] - some.values).min(axis=0)
    assert (distance <= some.errors + 1e-12).all()
    np.testing.assert_allclose(some.values, exact.values[:5], rtol=1e-6)


def test_orthogonal_linear_blocks_are_an_isometry():
    found = frozen(activation="identity", initialization="orthogonal", layers=1, skip=False,
                   placement="full_preactivation", norm="none")  # fmt: skip
    rows = jacobian.diagnose_jacobian(found, jacobian.JacobianConfig())["singular_values"]
    whole = [v for v, part in zip(rows["value"], rows["part"], strict=True) if part == "blocks"]
    np.testing.assert_allclose(whole, 1, rtol=2e-6)  # the weights were drawn in float32
    assert rows["part"].count("block") == 2 * 6 * 6


# Paths


def branch_and_shortcut_matrices(found):
    """For each block and example: d y / d x through the branch, and over the shortcut."""
    inputs = block_inputs(found.network, found.images)
    matrices = []
    for block, batch in zip(found.network.blocks, inputs, strict=False):
        of_block = []
        for x in batch.detach():

            def through(v, block=block, x=x):
                return block.after(block.shortcut(x[None]) + block.branch(v[None])).flatten()

            def over(v, block=block, x=x):
                return block.after(block.shortcut(v[None]) + block.branch(x[None])).flatten()

            of_block.append(tuple(jacrev(f)(x).flatten(1).detach() for f in (over, through)))
        matrices.append(of_block)
    return matrices


@pytest.mark.parametrize("options", [{"depth": 14}, {**RESNET, "norm": "batch"}])
def test_all_paths_add_up_to_the_gradient_length_by_length(options):
    """2^6 paths, each a product of matrices."""
    found = frozen(**options)
    matrices = branch_and_shortcut_matrices(found)
    blocks, inputs, gradient = paths._passes(found)
    count = len(blocks)
    assert count == 6
    expected = {}
    norms = {}
    for path in itertools.product((0, 1), repeat=count):
        rows = []
        for example, back in enumerate(gradient):
            along = back.flatten()
            for block in reversed(range(count)):
                along = along @ matrices[block][example][path[block]]
            rows.append(along)
        one = torch.stack(rows)
        expected[sum(path)] = expected.get(sum(path), 0) + one
        norms[path] = float(one.norm())
    sums = paths.gradients_by_length(blocks, inputs, gradient)
    for length, total in expected.items():
        torch.testing.assert_close(sums[length].flatten(1), total, rtol=1e-9, atol=1e-12)
    chosen = list(norms)[::7]
    single = paths.path_norms(blocks, inputs, gradient, torch.tensor(chosen).bool())
    np.testing.assert_allclose(single, [norms[path] for path in chosen], rtol=1e-9)

    first = block_inputs(found.network, found.images)[0].detach().requires_grad_()
    x = first
    for block in found.network.blocks:
        x = block(x)
    loss = F.cross_entropy(found.network.head(x), found.labels)
    [whole] = torch.autograd.grad(loss, first)
    torch.testing.assert_close(sum(sums.values()), whole, rtol=1e-9, atol=1e-13)


def test_a_plain_network_has_one_path():
    found = frozen(skip=False, depth=14)
    rows = paths.diagnose_paths(found, PathsConfig())["paths"]
    assert (rows["length"], rows["n_paths"], rows["samples"]) == ([6], [1.0], [1])
    assert rows["path_grad_norm"] == pytest.approx(rows["total_grad_norm"], rel=1e-12)


def test_gates_and_long_skips_have_no_paths():
    gated = frozen(**RESNET, shortcut="exclusive_gate")
    with pytest.raises(GradflowError, match="gate weighs both paths"):
        paths.diagnose_paths(gated, PathsConfig())
    unet = frozen("unet", depth=12, width=4, task=denoise)
    with pytest.raises(GradflowError, match="blocks are not a chain"):
        paths.diagnose_paths(unet, PathsConfig())


# Lesion


def test_deleting_a_branch_that_is_zero_changes_nothing():
    found = frozen(**RESNET, zero_last=True)
    with torch.no_grad():
        whole = found.network(found.images)
        for index in range(6):
            with lesion.lesioned(found.network, deleted=[index]):
                assert torch.equal(found.network(found.images), whole)


@pytest.mark.parametrize("skip", [True, False])
def test_lesions_by_hand(skip):
    found = frozen(**RESNET, skip=skip)
    network = found.network
    with torch.no_grad():
        x = network.stem(found.images)
        for index in (0, 5, 2, 3, 4, 1):  # 1 and 5 have changed places: not of one shape
            if index in (0, 2, 3, 4):
                x = network.blocks[index](x)
            elif index == 5:
                x = network.blocks[1].shortcut(x)  # 1 deleted
            else:
                x = network.blocks[5].shortcut(x)
        expected = network.head(x.relu())
        with lesion.lesioned(network, deleted=[1, 5]):
            found_output = network(found.images)
    torch.testing.assert_close(found_output, expected, rtol=0, atol=1e-12)


def test_a_network_is_whole_again_after_a_lesion_that_raised():
    found = frozen(**RESNET)
    blocks = list(found.network.blocks)
    with (
        contextlib.suppress(RuntimeError),
        lesion.lesioned(found.network, order=[1, 0, 2, 3, 4, 5]),
    ):
        assert found.network.blocks[0] is blocks[1]
        raise RuntimeError
    assert list(found.network.blocks) == blocks


UNET = {"family": "unet", "depth": 12, "width": 4, "task": denoise}


@pytest.mark.parametrize("family", [RESNET, UNET])
def test_lesion_rows(family):
    found = frozen(**family)
    rows = lesion.diagnose_lesion(found, LesionConfig(samples=2))["lesions"]
    n = len(found.network.blocks)
    assert rows["lesion"].count("none") == 1
    assert [b for b, c in zip(rows["blocks"], rows["count"], strict=True) if c == 1][:n] == [
        [index] for index in range(n)
    ]
    with torch.no_grad():
        assert rows["loss"][0] == float(found.loss_and_error()[0])
    swaps = [i for i, kind in enumerate(rows["lesion"]) if kind == "swap"]
    if family is RESNET:  # the U-Net has a block a stage, so none that may change places
        assert swaps
        assert all(rows["kendall_tau"][i] < 1 or not rows["blocks"][i] for i in swaps)
    else:
        assert not swaps


# Landscape


def test_the_centre_of_the_landscape_is_the_network_itself():
    found = frozen(**RESNET)
    before = [p.clone() for p in found.network.parameters()]
    config = LandscapeConfig(line=5, plane=3)
    saved = [part["landscape"] for part in landscape.diagnose_landscape(found, config, set())]
    centres = [
        loss
        for rows in saved
        for x, y, loss in zip(rows["x"], rows["y"], rows["loss"], strict=True)
        if x == y == 0
    ]
    assert all(torch.equal(a, b) for a, b in zip(before, found.network.parameters(), strict=True))
    found.network.train()
    expected = float(F.cross_entropy(found.network(found.images), found.labels).detach())
    assert centres == pytest.approx([expected, expected], rel=1e-12)


def test_a_point_of_the_landscape_by_hand():
    found = frozen(depth=6, norm="none")
    directions = [landscape.filter_normalized(found.network, axis, 0) for axis in "xy"]
    weights = dict(found.network.named_parameters())
    for (name, weight), step in zip(weights.items(), directions[0], strict=True):
        if weight.ndim == 1:
            assert not step.any(), name
        else:
            np.testing.assert_allclose(step.norm(dim=1), weight.detach().norm(dim=1), rtol=1e-12)
    moved = {
        name: weight + 0.5 * one - 0.25 * other
        for (name, weight), one, other in zip(weights.items(), *directions, strict=True)
    }
    output = functional_call(found.network, moved, found.images)
    loss, error = landscape.loss_at(found, directions, (0.5, -0.25))
    assert loss == pytest.approx(F.cross_entropy(output, found.labels).item(), rel=1e-12)
    assert error == float((output.argmax(1) != found.labels).double().mean())


# Curvature


@pytest.mark.parametrize("options", [{"depth": 6, "width": 3, "norm": "batch"}, RESNET])
def test_curvature_agrees_with_the_full_hessian(options):
    """Columns of the full matrix are central differences of the gradient, of order 1e-9 off."""
    found = frozen(activation="tanh", images=12, **options)
    groups = layer_groups(found.network)
    rows = diagnose_curvature(found, CurvatureConfig(vectors=16))["curvature"]
    assert rows["layers"] == list(groups)
    for group in ("stem", "head") if options is RESNET else groups:
        index = rows["layers"].index(group)
        parameters = groups[group]

        def gradient(parameters=parameters):
            with batch_statistics(found.network):
                loss = F.cross_entropy(found.network(found.images), found.labels)
            parts = torch.autograd.grad(loss, parameters)
            return torch.cat([part.flatten() for part in parts]).numpy()

        columns = []
        for parameter in parameters:
            flat = parameter.data.view(-1)
            for entry in range(len(flat)):
                ends = []
                for step in (1e-5, -2e-5):
                    flat[entry] += step
                    ends.append(gradient())
                flat[entry] += 1e-5
                columns.append((ends[0] - ends[1]) / 2e-5)
        full = np.stack(columns, axis=1)
        assert rows["n_parameters"][index] == len(full)
        assert rows["largest"][index] == pytest.approx(np.linalg.eigvalsh(full)[-1], rel=1e-3)
        assert abs(rows["trace"][index] - np.trace(full)) < 4.5 * rows["trace_error"][index]


# Shattering


def test_signals_and_gradients_of_a_linear_network_by_hand():
    found = frozen(activation="identity", skip=False, norm="none", depth=6)
    places = shattering.signals_and_gradients(found.network, found.images, seed=1)
    weights = [p.detach() for n, p in found.network.named_parameters() if p.ndim == 2]
    signal = found.images.flatten(1) @ weights[0].T
    torch.testing.assert_close(places[1][0], signal, rtol=0, atol=1e-12)
    for _, gradient in places:  # a linear map has one gradient for all inputs
        np.testing.assert_allclose(shattering.cosines(gradient), 1, atol=1e-12)
    back = places[-1][1]
    for weight in reversed(weights[:-1]):
        back = back @ weight
    torch.testing.assert_close(places[0][1], back, rtol=0, atol=1e-12)
    tables = shattering.diagnose_shattering(found, ShatteringConfig(points=16))
    assert tables["shattering"]["block_index"] == [None, 0, 1, 2]
    assert tables["shattering"]["whiteness"] == [0.0] * 4
    pairs = tables["pairs"]
    assert len(pairs["one"]) == 4 * 15
    at = next(i for i, pair in enumerate(zip(pairs["one"], pairs["other"], strict=True))
              if pair == (2, 5))  # fmt: skip
    x, y = found.images[2].flatten(), found.images[5].flatten()
    expected = float(x @ y / x.norm() / y.norm())
    assert pairs["signal_cosine"][at] == pytest.approx(expected, rel=1e-12)


def test_cosines_and_autocorrelation_by_hand():
    rows = np.random.default_rng(0).normal(size=(7, 4)) + 0.5
    expected = [
        [one @ other / np.linalg.norm(one) / np.linalg.norm(other) for other in rows]
        for one in rows
    ]
    np.testing.assert_allclose(shattering.cosines(torch.tensor(rows)), expected, rtol=1e-12)
    lagged = sum(rows[t] @ rows[t + 2] for t in range(5))
    scale = np.sqrt((rows[:5] ** 2).sum() * (rows[2:] ** 2).sum())
    found = shattering.autocorrelation(torch.tensor(rows), 2)
    assert found == pytest.approx(lagged / scale, rel=1e-12)


def test_whiteness_of_noise_and_of_a_smooth_curve():
    """Of D independent series the spectrum is chi^2 with 2 D degrees of freedom, over its mean:
    E log = digamma(D) - log(D), -0.0050 for D = 100 (Abramowitz and Stegun 6.3.18)."""
    noise = torch.randn(256, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert shattering.whiteness(noise) == pytest.approx(np.exp(-0.0050), abs=0.005)
    curve = torch.linspace(0, 1, 256, dtype=torch.float64)[:, None] ** torch.arange(1.0, 4)
    assert shattering.whiteness(curve) < 0.05


# Identity


def test_identity_by_hand():
    found = frozen(depth=8, norm="none")
    rows = diagnose_identity(found, IdentityConfig())["identity"]
    weights = {n: p.detach().numpy() for n, p in found.network.named_parameters()}
    x = np.maximum(found.images.flatten(1).numpy() @ weights["stem.linear1.weight"].T, 0)
    entered = x
    for index in range(3):
        one, two = (weights[f"blocks.{index}.branch.linear{i}.weight"] for i in (1, 2))
        branch = np.maximum(x @ one.T, 0) @ two.T
        y = np.maximum(x + branch, 0)
        norm = np.linalg.norm
        assert rows["branch_share"][index] == pytest.approx(norm(branch) / norm(x), rel=1e-10)
        assert rows["distance"][index] == pytest.approx(norm(y - x) / norm(x), rel=1e-10)
        expected = norm(y - entered) / norm(entered)
        assert rows["stack_distance"][index] == pytest.approx(expected, rel=1e-10)
        x = y


def test_a_block_that_changes_the_shape_is_no_identity():
    found = frozen("transformer", depth=6, width=8, heads=2, connection="dense")
    with pytest.raises(GradflowError, match="use another connection than dense"):
        diagnose_identity(found, IdentityConfig())


def test_zero_branches_are_the_identity():
    rows = diagnose_identity(frozen(zero_last=True, norm="none"), IdentityConfig())["identity"]
    assert rows["branch_share"] == rows["distance"] == rows["stack_distance"] == [0.0] * 3
