"""Loops of other packages: with probes the same losses bit by bit, and every armed step."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gradflow.probes import Probes

ARMED = [0, 2, 3]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f, self.g = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.g(torch.relu(self.f(x)))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), Residual(), Residual(), nn.Linear(8, 1))


def batches() -> DataLoader:
    generator = torch.Generator().manual_seed(1)
    return DataLoader(TensorDataset(torch.randn(24, 4, generator=generator)), batch_size=4)


def plain() -> list[float]:
    """The losses of the loop as it is written without any package."""
    model, losses = network(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for (x,) in batches():
        loss = model(x).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


def lightning_losses(model: nn.Module, probes: Probes | None) -> list[float]:
    lightning = pytest.importorskip("lightning", reason="lightning is not installed")
    losses = []

    class Task(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = model

        def on_train_batch_start(self, batch, index):
            if probes is not None and index in ARMED:
                probes.arm(index)

        def training_step(self, batch, index):
            loss = self.model(batch[0]).square().mean()
            losses.append(loss.item())
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Task(), batches())
    return losses


def accelerate_losses(model: nn.Module, probes: Probes | None) -> list[float]:
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    accelerate.state.AcceleratorState._reset_state(True)  # one per process, with its precision
    accelerator = accelerate.Accelerator(cpu=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    prepared, optimizer, loader = accelerator.prepare(model, optimizer, batches())
    losses = []
    for step, (x,) in enumerate(loader):
        if probes is not None and step in ARMED:
            probes.arm(step)
        loss = prepared(x).square().mean()
        losses.append(loss.item())
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    return losses


@pytest.mark.filterwarnings("ignore")  # of the packages themselves
@pytest.mark.parametrize("losses_of", [lightning_losses, accelerate_losses])
def test_the_loop_of_another_package(losses_of):
    assert losses_of(network(), None) == plain()
    model = network()
    with Probes(model) as probes:
        assert losses_of(model, probes) == plain()
    tables = {name: table.to_pandas() for name, table in probes.tables().items()}
    layers, blocks = tables["layers"], tables["blocks"]
    assert layers.step.unique().tolist() == blocks.step.unique().tolist() == ARMED
    assert blocks.reason.isna().all()
    assert layers.update_norm.tolist() == pytest.approx((0.1 * layers.grad_norm).tolist(), rel=1e-4)
