"""Second derivatives of every kind of network, and maps through which nothing comes.

Oracles: differences of gradients, NumPy's full matrices.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.sparse.linalg import aslinearoperator

from gradflow.core.errors import GradflowError
from gradflow.diagnostics import jacobian
from gradflow.diagnostics.curvature import (
    CurvatureConfig,
    diagnose_curvature,
    hessian,
    largest_eigenvalue,
    layer_groups,
)
from gradflow.diagnostics.identity import IdentityConfig, diagnose_identity
from gradflow.training.frozen import batch_statistics, block_inputs
from tests.diagnostics.test_diagnostics import RESNET, frozen

pytestmark = pytest.mark.numeric

TRANSFORMER = {"family": "transformer", "depth": 6, "width": 8, "heads": 2}


def gradient_of(found, parameters):
    def gradient():
        with batch_statistics(found.network):
            loss = F.cross_entropy(found.network(found.images), found.labels)
        parts = torch.autograd.grad(loss, parameters, allow_unused=True)
        filled = zip(parameters, parts, strict=True)
        return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in filled])

    return gradient


@pytest.mark.parametrize(
    "options",
    [
        TRANSFORMER,
        TRANSFORMER | {"skip": False},
        RESNET | {"skip": False, "shortcut": "B"},
        RESNET | {"skip": False, "shortcut": "C"},
        RESNET | {"norm": "none", "initialization": "fixup"},
    ],
)
def test_second_derivatives_of_every_network_agree_with_differences(options):
    """H v against a central difference of the gradient along v."""
    found = frozen(activation="tanh", **options)
    for name, parameters in layer_groups(found.network).items():
        operator = hessian(found, parameters)
        v = np.random.default_rng(0).standard_normal(operator.shape[0])
        product = operator.matvec(v)
        gradient, ends = gradient_of(found, parameters), []
        here = torch.nn.utils.parameters_to_vector(parameters).detach()
        for step in (1e-6, -1e-6, 0.0):
            torch.nn.utils.vector_to_parameters(here + step * torch.from_numpy(v), parameters)
            ends.append(gradient().numpy())
        expected = (ends[0] - ends[1]) / 2e-6
        scale = max(np.abs(expected).max(), 1e-3)
        np.testing.assert_allclose(product, expected, atol=1e-6 * scale, err_msg=name)


def test_the_largest_singular_values_of_attention():
    found = frozen(**TRANSFORMER)
    [x, *_] = block_inputs(found.network, found.images)
    block, x = found.network.blocks[0], x[0].detach()
    exact = np.linalg.svd(jacobian.jacobian(block, x), compute_uv=False)
    some = jacobian.spectrum(block, x, exact_up_to=8, values=5)
    np.testing.assert_allclose(some.values, exact[:5], rtol=1e-9)


def test_zero_maps_are_a_result():
    """Fixup's head is 0: the blocks change no loss, and nothing comes back through the network."""
    found = frozen(**RESNET, norm="none", initialization="fixup")
    rows = diagnose_curvature(found, CurvatureConfig(vectors=4))["curvature"]
    of = {
        name: dict(zip(rows["layers"], rows[name], strict=True))
        for name in ("largest", "trace", "trace_error")
    }
    for group in ("stem", "first blocks", "middle blocks", "last blocks"):
        assert [of[column][group] for column in of] == [0, 0, 0]
    assert of["largest"]["head"] > 0
    config = jacobian.JacobianConfig(exact_up_to=4, values=3, examples=1)
    rows = jacobian.diagnose_jacobian(found, config)["singular_values"]
    whole = [i for i, part in enumerate(rows["part"]) if part == "network"]
    assert [(rows["value"][i], rows["error"][i]) for i in whole] == [(0, 0)] * 3


@pytest.mark.parametrize("size", [1.0, 1e-13, 1e-30, 1e-300, 1e200])
def test_eigenvalues_and_singular_values_of_any_size(size):
    """Below 1e-11 ARPACK by itself takes anything for converged."""
    draw = np.random.default_rng(1)
    matrix = draw.standard_normal((60, 60))
    symmetric = size * (matrix + matrix.T)
    found = largest_eigenvalue(aslinearoperator(symmetric), draw.standard_normal(60))
    assert found == pytest.approx(np.linalg.eigvalsh(symmetric)[-1], rel=1e-4)
    scaled = torch.from_numpy(size * matrix)
    some = jacobian.spectrum(
        lambda x: x @ scaled.T, torch.ones(60).double(), exact_up_to=4, values=4
    )
    np.testing.assert_allclose(some.values, size * np.linalg.svd(matrix)[1][:4], rtol=1e-10)
    assert (some.errors <= 1e-10 * some.values).all()


@pytest.mark.parametrize(
    "diagonal", [[3.0], [-2.0], [0.0], [3.0, -5.0], [0.0, 0.0, -4.0], [1.0, *[0.0] * 30]]
)
def test_the_largest_eigenvalue_of_small_and_of_singular_maps(diagonal):
    start = np.random.default_rng(2).standard_normal(len(diagonal))
    found = largest_eigenvalue(aslinearoperator(np.diag(diagonal)), start)
    assert found == pytest.approx(max(diagonal), abs=1e-9)


def test_what_is_not_finite_is_refused():
    found = frozen()
    with torch.no_grad():
        for parameter in found.network.parameters():
            parameter.mul_(torch.nan)
    with pytest.raises(GradflowError, match="a second derivative of the loss is Inf or NaN"):
        diagnose_curvature(found, CurvatureConfig(vectors=2))
    with pytest.raises(GradflowError, match="a derivative of the network is Inf or NaN"):
        jacobian.diagnose_jacobian(found, jacobian.JacobianConfig())


def test_identities_over_a_shortcut_that_carries_nothing():
    found = frozen(skip=False, norm="none")
    with torch.no_grad():
        for parameter in found.network.stem.parameters():
            parameter.zero_()
    rows = diagnose_identity(found, IdentityConfig())["identity"]
    assert rows["block_index"] == list(range(len(found.network.blocks)))
    assert all(np.isnan(value) or np.isinf(value) for value in rows["distance"])
