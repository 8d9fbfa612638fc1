"""inspect(): against closed forms, and the model is left as it was."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gradflow
from gradflow.cli import main
from gradflow.core.errors import GradflowError
from tests.support.watched import residual


class Sum(nn.Module):
    """x + b W ReLU(x), He."""

    def __init__(self, width: int, scale: float):
        super().__init__()
        self.linear = nn.Linear(width, width, bias=False)
        self.act = nn.ReLU()
        nn.init.normal_(self.linear.weight, std=scale * math.sqrt(2 / width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.linear(self.act(x))


def made(blocks=10, width=256, scale=0.5):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, width), *(Sum(width, scale) for _ in range(blocks)))
    model.append(nn.Linear(width, 4))
    return model, (torch.randn(32, 16), torch.randint(4, (32,))), F.cross_entropy


def test_the_ratio_is_that_of_theory_and_of_the_prediction():
    found = gradflow.inspect(*made())
    theory = math.sqrt(gradflow_ratio(10, 0.5))
    assert found.ratio == pytest.approx(theory, rel=0.1)  # 256 wide: 10 * 5 / 256 in log, shared
    assert found.predicted == pytest.approx(theory, rel=0.1)
    assert found.growth == pytest.approx(math.sqrt(gradflow_ratio(9, 0.5)), rel=0.1)
    assert found.alerts == ()
    assert f"receives {found.ratio:.3g} times" in str(found)
    assert "Nothing is out of range." in str(found)


def gradflow_ratio(blocks, scale):
    from gradflow.theory.depth import residual_ratio

    return residual_ratio(blocks, 1, scale)


def test_the_cosine_is_that_of_gradients_taken_one_by_one():
    model, (x, y), loss = made(blocks=3, width=16)
    gradients = []
    for place in range(8):
        model.zero_grad()
        loss(model(x[[place]]), y[[place]]).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]).double())
    model.zero_grad()
    unit = torch.stack([g / g.norm() for g in gradients])
    expected = ((unit @ unit.T).sum() - 8) / 56
    assert gradflow.inspect(model, (x, y), loss).cosine == pytest.approx(expected.item(), rel=1e-4)


def test_the_model_is_left_as_it_was():
    model, batch, loss = made(blocks=3, width=16)
    model.insert(1, nn.BatchNorm1d(16))
    model.append(nn.Dropout(0.5))
    loss(model(batch[0]), batch[1]).backward()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    gradients = [p.grad.clone() for p in model.parameters()]
    torch.manual_seed(3)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    gradflow.inspect(model, batch, loss)
    assert torch.equal(torch.rand(1), drawn)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_what_is_wrong_is_said_in_words():
    model, batch, loss = made(blocks=30, scale=3.0)
    found = gradflow.inspect(model, batch, loss)
    assert {"exploding", "stream"} <= {alert.kind for alert in found.alerts}
    assert "exploding: the gradient grows" in str(found)
    lacking = gradflow.inspect(residual(without_skip=2), (torch.randn(8, 8), torch.zeros(8).long()),
                               F.cross_entropy)  # fmt: skip
    assert [alert.place for alert in lacking.alerts] == ["3"]


def test_a_gradient_that_is_not_a_number_is_one_and_begins_where_it_was_planted():
    model = residual()
    model[3].up.weight.data[0, 0] = float("nan")
    found = gradflow.inspect(model, (torch.randn(8, 8), torch.zeros(8).long()), F.cross_entropy)
    assert "14 of 14 layers have a gradient; the loss is nan" in str(found)
    assert [(alert.kind, alert.place) for alert in found.alerts] == [("non_finite", "3")]


def test_a_network_without_sums():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    found = gradflow.inspect(model, (torch.randn(3, 4), torch.randn(3, 2)), F.mse_loss)
    assert found.ratio is found.predicted is found.growth is None
    assert "No residual sum was found." in str(found)
    assert np.isfinite(found.cosine)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"model": 1}, "model=1: must be a torch.nn.Module"),
        ({"loss": "mse"}, "loss=mse: must be a function"),
        ({"batch": torch.ones(2, 4)}, "batch: with a loss it must be \\(inputs, targets\\)"),
        ({"batch": torch.ones(2, 4), "loss": None}, "batch: without a loss it must be a dict"),
        ({"batch": (torch.ones(2, 5), torch.ones(2, 4))}, "Linear: RuntimeError: mat1 and mat2"),
        ({"loss": lambda output, target: output}, "its loss must be one number"),
    ],
)
def test_typed_values_at_the_door(change, line):
    options = {
        "model": nn.Linear(4, 4),
        "batch": (torch.ones(2, 4), torch.ones(2, 4)),
        "loss": F.mse_loss,
    }
    with pytest.raises(GradflowError, match=line):
        gradflow.inspect(**(options | change))


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = "from tests.watching.test_inspection import made\nnothing = 1\n"
    (tmp_path / "my_training.py").write_text(source)
    main(["inspect", "my_training:made"])
    out = capsys.readouterr().out
    assert "Sequential: 12 of 12 layers have a gradient" in out
    assert "end of 10" in out
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "other_training.py").write_text(source + "def fails():\n    1 / 0\n")
    main(["inspect", "./below/other_training.py:made"])
    assert capsys.readouterr().out == out
    for given, line in (
        ("my_training", "my_training: must be module:function"),
        ("my_training:nothing", "my_training has no function nothing"),
        ("nowhere:make", "No module named 'nowhere'"),
        ("below/other_training.py:fails", "ZeroDivisionError: division by zero"),
        ("os:getcwd", "must return \\(model, batch, loss\\)"),
    ):
        with pytest.raises(SystemExit, match=f"error: .*{line}"):
            main(["inspect", given])
