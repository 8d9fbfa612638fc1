"""The training loop: forward, backward, record, step."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradflow.config import RunConfig
from gradflow.config.schema import AdamWConfig, OptimizerConfig, SGDConfig
from gradflow.data import Dataset, Normalizer, evaluation_batches, training_batches
from gradflow.learning_rate import learning_rate
from gradflow.networks.layers import StochasticDepth
from gradflow.probes import GradientProbe, fires
from gradflow.progress import Progress, Reporter
from gradflow.recorder import Recorder
from gradflow.records import RecordWriter
from gradflow.runtime import derive_seed, seeded
from gradflow.tasks import Task, task_of

FLUSH_STEPS = 25  # steps between copies to the host; a divergence is noticed then
FLUSH_SECONDS = 10.0  # between part files
EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Outcome:
    """How a training ended; losses and errors are the task's (see gradflow.tasks)."""

    steps_done: int
    diverged_at: int | None
    final_train_error: float | None = None
    final_test_error: float | None = None
    final_train_loss: float | None = None


def train(
    config: RunConfig,
    network: nn.Module,
    dataset: Dataset,
    writer: RecordWriter,
    report: Reporter,
    label: str,
) -> Outcome:
    """Train `network` in place as `config` says and record every measurement.

    A loss that is Inf or NaN ends the training; that is an outcome, not an error.
    """
    normalize = Normalizer(dataset.train_images, getattr(torch, config.dtype))
    task = task_of(config.network)
    optimizer = build_optimizer(config.optimizer, network)
    masked = any(isinstance(m, nn.Dropout | StochasticDepth) for m in network.modules())
    parameters = [p for p in network.parameters() if p.requires_grad]
    batches = training_batches(
        dataset,
        normalize,
        batch_size=config.data.batch_size,
        augment=config.data.augment,
        seed=config.seed,
        first_step=0,
        steps=config.steps,
    )
    final: dict[str, tuple[float, float]] = {}
    written = time.monotonic()
    network.train()
    with GradientProbe(network) as probe:
        recorder = Recorder(writer, probe.layers)
        for step, epoch, images, labels in batches:
            rate = learning_rate(
                config.schedule, config.optimizer.learning_rate, step, config.steps
            )
            for group in optimizer.param_groups:
                group["lr"] = rate
            measured = fires(config.probe, step, config.steps)
            if measured:
                probe.arm()

            if masked:  # dropout draws from torch's global stream, so the step seeds it
                torch.manual_seed(derive_seed(config.seed, "masks", step))
            loss, error = task(network, images, labels, seeded(config.seed, "noise", step))
            loss.backward()
            if measured:
                recorder.gradients(step, probe.read())
            grad_norm = torch.nn.utils.get_total_norm(
                [p.grad for p in parameters if p.grad is not None]
            )
            recorder.step(step, epoch, rate, loss, error, grad_norm)
            optimizer.step()
            optimizer.zero_grad()

            done = step + 1
            evaluated = done % config.evaluation.every == 0 or done == config.steps
            if evaluated or done % FLUSH_STEPS == 0:
                recorder.flush()
                report(Progress(label, done, config.steps, recorder.last_loss))
                if recorder.diverged_at is not None:
                    return Outcome(recorder.diverged_at + 1, recorder.diverged_at)
            if evaluated:
                final = evaluate_splits(network, task, dataset, normalize, config.evaluation.images)
                for split, (split_loss, split_error) in final.items():
                    recorder.evaluation(done, split, split_loss, split_error)
            if time.monotonic() - written > FLUSH_SECONDS:
                writer.flush()
                written = time.monotonic()
    return Outcome(
        steps_done=config.steps,
        diverged_at=None,
        final_train_error=final["train"][1],
        final_test_error=final["test"][1],
        final_train_loss=final["train"][0],
    )


def build_optimizer(config: OptimizerConfig, network: nn.Module) -> torch.optim.Optimizer:
    """The optimiser that `config` describes, over all parameters, fused."""
    match config:
        case SGDConfig():
            return torch.optim.SGD(
                network.parameters(),
                lr=config.learning_rate,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
                fused=True,
            )
        case AdamWConfig():
            return torch.optim.AdamW(
                network.parameters(),
                lr=config.learning_rate,
                betas=(config.beta1, config.beta2),
                weight_decay=config.weight_decay,
                fused=True,
            )
    raise TypeError(f"no optimiser for {config!r}")


def evaluate_splits(
    network: nn.Module, task: Task, dataset: Dataset, normalize: Normalizer, images: int | None
) -> dict[str, tuple[float, float]]:
    """(loss, error) on the first `images` of each split, or on all of it, by split.

    In evaluation mode, without augmentation; the network is back in training mode after.
    """
    part = slice(None, images)
    splits = {
        "train": (dataset.train_images[part], dataset.train_labels[part]),
        "test": (dataset.test_images[part], dataset.test_labels[part]),
    }
    return {name: evaluate(network, task, *split, normalize) for name, split in splits.items()}


@torch.no_grad()
def evaluate(
    network: nn.Module, task: Task, images: Tensor, labels: Tensor, normalize: Normalizer
) -> tuple[float, float]:
    """Mean loss and error of the task over all images; its noise is the same for every run."""
    network.eval()
    loss = torch.zeros((), dtype=torch.float64, device=images.device)
    error = loss.clone()
    generator = seeded(0, "evaluation noise", 0)
    for inputs, targets in evaluation_batches(images, labels, normalize, EVALUATION_BATCH):
        batch_loss, batch_error = task(network, inputs, targets, generator)
        loss += batch_loss.double() * len(targets)
        error += batch_error.double() * len(targets)
    network.train()
    return float(loss) / len(labels), float(error) / len(labels)
