"""The training loop: forward, backward, record, step."""

import time
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradflow.checkpoint import Checkpoints
from gradflow.config import RunConfig
from gradflow.data import Dataset, Normalizer, evaluation_batches, training_batches
from gradflow.graph import GraphedStep, side_stream
from gradflow.learning_rate import learning_rate
from gradflow.networks.layers import StochasticDepth
from gradflow.optimizers import build_optimizer, set_learning_rate
from gradflow.probes import Probes, between_examples, fires
from gradflow.progress import Progress, Reporter
from gradflow.recorder import Recorder
from gradflow.records import RecordWriter, cut_back
from gradflow.runtime import derive_seed, seeded, weights_dtype
from gradflow.search import Judge, Pruned
from gradflow.step import EagerStep, Step
from gradflow.stopping import Interrupted, asked_to_stop
from gradflow.tasks import Task, draws_noise, in_precision, task_of

FLUSH_STEPS = 25  # steps between copies to the host; a divergence is noticed then
EVALUATION_BATCH = 256
EXAMPLES = 8  # the first so many training images, whose gradients are compared


@dataclass(frozen=True)
class Outcome:
    """How a training ended; losses and errors are the task's (see gradflow.tasks)."""

    steps_done: int
    diverged_at: int | None
    recording_share: float  # of the training's time
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
    judge: Judge | None = None,
) -> Outcome:
    """Train `network` in place as `config` says and record every measurement.

    It goes on from the checkpoint in the writer's folder where there is one. A loss that is
    Inf or NaN ends the training; that is an outcome, not an error.

    Raises:
        Interrupted: it was asked to stop, and has left a checkpoint.
        Pruned: so did `judge`, who is shown each evaluation.
    """
    normalize = Normalizer(dataset.train_images, weights_dtype(config))
    task = in_precision(task_of(config.network, config.task), config)
    optimizer = build_optimizer(config.optimizer, network)
    masked = any(isinstance(m, nn.Dropout | StochasticDepth) for m in network.modules())
    if config.graph and (masked or draws_noise(config.network, config.task)):
        config.refuse("graph", "what a step draws at random cannot be captured; use graph=false")
    checkpoints = Checkpoints(writer.folder, config.checkpoint_seconds)
    first_step = checkpoints.restore(network, optimizer)
    cut_back(writer.folder, first_step)
    batches = training_batches(
        dataset,
        normalize,
        batch_size=config.data.batch_size,
        augment=config.data.augment,
        seed=config.seed,
        first_step=first_step,
        steps=config.steps,
    )
    final: dict[str, tuple[float, float]] = {}
    started = time.perf_counter()
    network.train()
    with side_stream() if config.graph else nullcontext(), Probes(network) as probes:
        recorder = Recorder(writer, probes)
        eager = EagerStep(network, task, optimizer, recorder, config.optimizer.clip_norm)
        take_step: Step = GraphedStep(eager) if config.graph else eager
        for step, epoch, images, labels in batches:
            rate = learning_rate(
                config.schedule, config.optimizer.learning_rate, step, config.steps
            )
            set_learning_rate(optimizer, rate)
            details = fires(config.details, step, config.steps)
            if details:
                with recorder.account():
                    recorder.examples(step, compare_examples(network, task, dataset, normalize))
            if details or fires(config.probe, step, config.steps):
                probes.arm(step, details=details)

            if masked:  # dropout draws from torch's global stream, so the step seeds it
                torch.manual_seed(derive_seed(config.seed, "masks", step))
            values = take_step(images, labels, seeded(config.seed, "noise", step))
            recorder.step(step, epoch, rate, values)

            done = step + 1
            evaluated = done % config.evaluation.every == 0 or done == config.steps
            stop = asked_to_stop()
            saved = done < config.steps and (stop or checkpoints.due())
            if evaluated or saved or done % FLUSH_STEPS == 0:
                recorder.flush()
                report(Progress(label, done, config.steps, recorder.last_loss))
                if recorder.diverged_at is not None:
                    share = recorder.seconds / (time.perf_counter() - started)
                    return Outcome(recorder.diverged_at + 1, recorder.diverged_at, share)
            if evaluated:
                final = evaluate_splits(network, task, dataset, normalize, config.evaluation.images)
                for split, (split_loss, split_error) in final.items():
                    recorder.evaluation(done, split, split_loss, split_error)
            pruned = evaluated and done < config.steps and judge is not None and judge(done, final)
            if saved or pruned:
                writer.flush()
                checkpoints.save(network, optimizer, done)
                if pruned:
                    raise Pruned(f"after step {done} of {config.steps}")
                if stop:
                    raise Interrupted(f"after step {done} of {config.steps}")
    return Outcome(
        steps_done=config.steps,
        diverged_at=None,
        recording_share=recorder.seconds / (time.perf_counter() - started),
        final_train_error=final["train"][1],
        final_test_error=final["test"][1],
        final_train_loss=final["train"][0],
    )


def compare_examples(
    network: nn.Module, task: Task, dataset: Dataset, normalize: Normalizer
) -> Tensor:
    """`between_examples` of the first training images, with the same noise at every step."""
    images = normalize(dataset.train_images[:EXAMPLES])
    labels = dataset.train_labels[:EXAMPLES]

    def losses() -> Tensor:
        torch.manual_seed(0)  # of dropout masks; the stream is put back after
        return task(network, images, labels, seeded(0, "examples"), each=True)[0]

    return between_examples(network, losses)


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
