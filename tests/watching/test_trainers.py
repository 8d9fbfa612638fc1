"""The real packages: the same losses and weights bit for bit, and all measured steps recorded.

With accumulation over two batches, clipping and bfloat16 autocast. Skipped where a package is not
installed: pip install -e '.[trainers]'.
"""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from gradflow.records import read_records
from tests.support.watched import residual

pytestmark = pytest.mark.filterwarnings("ignore")  # of the packages themselves
STEPS = 6  # of the optimizer: 12 batches


class Data(Dataset):
    """Rows as transformers wants them."""

    def __init__(self):
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(48, 8, generator=generator)
        self.labels = torch.randint(4, (48,), generator=generator)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {"x": self.x[index], "labels": self.labels[index]}


class Task(nn.Module):
    """A network that puts out its loss, as those of transformers do."""

    def __init__(self):
        super().__init__()
        self.network = residual(4)
        self.losses: list[float] = []

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        loss = nn.functional.cross_entropy(self.network(x), labels)
        self.losses.append(loss.item())
        return {"loss": loss}


def lightning(folder, bf16):
    package = pytest.importorskip("lightning", reason="lightning is not installed")
    from gradflow.watching.trainers.lightning import WatchCallback

    class Module(package.LightningModule):
        def __init__(self):
            super().__init__()
            self.task = Task()

        def training_step(self, batch, index):
            return self.task(*batch)["loss"]

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    data = Data()
    callback = None if folder is None else WatchCallback(folder, every=2)
    trainer = package.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, accumulate_grad_batches=2,
        gradient_clip_val=0.1, precision="bf16-mixed" if bf16 else "32-true",
        callbacks=[callback] if callback else [],
    )  # fmt: skip
    module = Module()
    trainer.fit(module, DataLoader(TensorDataset(data.x, data.labels), batch_size=4))
    return module.task, callback and callback.watch


def transformers(folder, bf16):
    package = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    from gradflow.watching.trainers.transformers import WatchCallback

    task = Task()
    arguments = package.TrainingArguments(
        output_dir=str(folder or "unused"), num_train_epochs=1, per_device_train_batch_size=4,
        gradient_accumulation_steps=2, max_grad_norm=0.1, learning_rate=1e-3, use_cpu=True,
        report_to=[], save_strategy="no", disable_tqdm=True, bf16=bf16, logging_strategy="no",
        remove_unused_columns=False,
    )  # fmt: skip
    callback = None if folder is None else WatchCallback(folder, every=2)
    trainer = package.Trainer(
        task, arguments, train_dataset=Data(), callbacks=[callback] if callback else None
    )
    trainer.train()
    return task, callback and callback.watch


def accelerate(folder, bf16):
    package = pytest.importorskip("accelerate", reason="accelerate is not installed")
    from gradflow.watching.trainers.accelerate import watch_accelerated

    package.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = package.Accelerator(
        cpu=True, gradient_accumulation_steps=2, mixed_precision="bf16" if bf16 else "no"
    )
    task = Task()
    optimizer = torch.optim.AdamW(task.parameters(), lr=1e-3)
    data = Data()
    loader = DataLoader(TensorDataset(data.x, data.labels), batch_size=4)
    model, optimizer, loader = accelerator.prepare(task, optimizer, loader)
    watch = None
    if folder is not None:
        watch = watch_accelerated(accelerator, model, folder, every=2).start()
    for x, labels in loader:
        with accelerator.accumulate(model):
            loss = model(x, labels)["loss"]
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            optimizer.zero_grad()
            if watch is not None:
                watch.step(loss)
    if watch is not None:
        watch.close()
    return task, watch


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("trained", [lightning, transformers, accelerate])
def test_the_loop_of_another_package(trained, bf16, tmp_path):
    alone, _ = trained(None, bf16)
    seen, watch = trained(tmp_path / "a", bf16)
    assert seen.losses == alone.losses
    assert len(alone.losses) == 2 * STEPS
    for mine, theirs in zip(seen.parameters(), alone.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    layers = read_records(watch.folder, "layers")
    assert layers.step.unique().tolist() == [0, 2, 4]
    assert layers.update_norm.notna().all()
    assert (layers.update_norm > 0).all()
    blocks = read_records(watch.folder, "blocks")
    assert blocks.step.unique().tolist() == [0, 2, 4]
    assert blocks.reason.isna().all()
    steps = read_records(watch.folder, "steps")
    assert steps.step.tolist() == list(range(STEPS))
    assert steps.loss.tolist() == pytest.approx(alone.losses[1::2], rel=1e-6)  # the last part's
    assert read_records(watch.folder, "runs").status.tolist() == ["finished"]
