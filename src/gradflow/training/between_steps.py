"""What is done between two steps of a training: flush, evaluate, report, save, stop."""

from dataclasses import dataclass, field

import torch

from gradflow.config import RunConfig
from gradflow.core.interrupts import Interrupted, asked_to_stop
from gradflow.core.progress import Progress, Reporter
from gradflow.training.checkpoint import Checkpoints
from gradflow.training.evaluation import Evaluation, Subject, evaluate_splits
from gradflow.training.pruning import Judge, Pruned
from gradflow.training.recorder import Recorder

FLUSH_STEPS = 25  # steps between copies to the host; a divergence is noticed then


@dataclass
class BetweenSteps:
    """Called after every step of a run.

    Attributes:
        final: split -> the last evaluation.
    """

    config: RunConfig
    label: str
    optimizer: torch.optim.Optimizer
    subject: Subject
    recorder: Recorder
    checkpoints: Checkpoints
    report: Reporter
    judge: Judge | None
    final: dict[str, Evaluation] = field(default_factory=dict)

    def after(self, done: int) -> bool:
        """Do what is due after `done` steps; whether the training is over.

        Raises:
            Interrupted: it was asked to stop, and has left a checkpoint.
            Pruned: so did `judge`.
        """
        last = done == self.config.steps
        evaluated = last or done % self.config.evaluation.every == 0
        stop = asked_to_stop()
        saved = not last and (stop or self.checkpoints.due())
        if evaluated or saved or done % FLUSH_STEPS == 0:
            self.recorder.flush()
            self.report(Progress(self.label, done, self.config.steps, self.recorder.last_loss))
            if self.recorder.diverged_at is not None:
                return True
        pruned = False
        if evaluated:
            asked = self.config.evaluation
            images = None if last and asked.all_at_end else asked.images
            size = self.config.data.batch_size
            self.final = evaluate_splits(self.subject, images, size)
            for split, evaluated_split in self.final.items():
                self.recorder.evaluation(done, split, evaluated_split)
            pruned = not last and self.judge is not None and self.judge(done, self.final)
        if saved or pruned:
            self.recorder.writer.flush()
            self.checkpoints.save(self.subject.network, self.optimizer, done)
            if pruned or stop:
                ended = Pruned if pruned else Interrupted
                raise ended(f"after step {done} of {self.config.steps}")
        return last
