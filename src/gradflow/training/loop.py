"""The training loop: forward, backward, record, step."""

import time
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradflow.config import RunConfig
from gradflow.core.progress import Reporter
from gradflow.core.seeds import derive_seed, seeded
from gradflow.data.batches import Normalizer, training_batches
from gradflow.data.dataset import Dataset
from gradflow.networks.layers import StochasticDepth
from gradflow.probes import Probes, fires
from gradflow.records import RecordWriter
from gradflow.training.between_steps import BetweenSteps
from gradflow.training.checkpoint import Checkpoints, Saved, origins_of, restore
from gradflow.training.cuda_graph import GraphedStep, side_stream
from gradflow.training.evaluation import Subject, compare_examples
from gradflow.training.learning_rate import learning_rate
from gradflow.training.optimizers import build_optimizer, set_learning_rate
from gradflow.training.origin import present_origin
from gradflow.training.pruning import Judge
from gradflow.training.recorder import Recorder
from gradflow.training.step import EagerStep, Step
from gradflow.training.tasks import draws_noise, in_precision, task_of
from gradflow.training.torch_settings import weights_dtype


@dataclass(frozen=True)
class Outcome:
    """How a training ended; losses and errors are the task's (see gradflow.training.tasks)."""

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
    resumed: Saved | None = None,
) -> Outcome:
    """Train `network` in place as `config` says and record every measurement.

    It starts where `resumed` was saved, or at step 0. A loss that is Inf or NaN ends the
    training; that is an outcome, not an error.

    Raises:
        Interrupted: it was asked to stop, and has left a checkpoint.
        Pruned: so did `judge`, who is shown each evaluation.
    """
    normalize = Normalizer(dataset.train_images, weights_dtype(config))
    task = in_precision(task_of(config.network, config.task), config)
    subject = Subject(network, task, dataset, normalize)
    optimizer = build_optimizer(config.optimizer, network)
    masked = any(isinstance(m, nn.Dropout | StochasticDepth) for m in network.modules())
    if config.graph and (masked or draws_noise(config.network, config.task)):
        config.refuse("graph", "what a step draws at random cannot be captured; use graph=false")
    if config.graph and not all(isinstance(g["lr"], Tensor) for g in optimizer.param_groups):
        config.refuse(
            "graph",
            f"the rate of {config.optimizer.name} is a number, which a graph "
            "would keep from its capture on; use graph=false",
        )
    origins = origins_of(resumed, present_origin(config.device))
    checkpoints = Checkpoints(writer.folder, config.checkpoint_seconds, origins)
    if resumed is not None:
        restore(resumed, network, optimizer)
    batches = training_batches(
        dataset,
        normalize,
        batch_size=config.data.batch_size,
        augment=config.data.augment,
        seed=config.seed,
        first_step=0 if resumed is None else resumed.steps_done,
        steps=config.steps,
    )
    started = time.perf_counter()
    network.train()
    with side_stream() if config.graph else nullcontext(), Probes(network) as probes:
        recorder = Recorder(writer, probes)
        eager = EagerStep(network, task, optimizer, recorder, config.optimizer.clip_norm)
        take_step: Step = GraphedStep(eager) if config.graph else eager
        between = BetweenSteps(
            config, label, optimizer, subject, recorder, checkpoints, report, judge
        )
        for step, epoch, images, labels in batches:
            peak = config.optimizer.learning_rate
            rate = learning_rate(config.schedule, peak, step, config.steps)
            set_learning_rate(optimizer, rate)
            details = fires(config.details, step, config.steps)
            if details:
                with recorder.account():
                    recorder.examples(step, compare_examples(subject))
            if details or fires(config.probe, step, config.steps):
                probes.arm(step, details=details)
            if masked:  # dropout draws from torch's global stream, so the step seeds it
                torch.manual_seed(derive_seed(config.seed, "masks", step))
            values = take_step(images, labels, seeded(config.seed, "noise", step))
            recorder.step(step, epoch, rate, values)
            if between.after(step + 1):
                break
    share = recorder.seconds / (time.perf_counter() - started)
    if recorder.diverged_at is not None:
        return Outcome(recorder.diverged_at + 1, recorder.diverged_at, share)
    fitted, tested = between.final["train"], between.final["test"]
    return Outcome(config.steps, None, share, fitted.error, tested.error, fitted.loss)
