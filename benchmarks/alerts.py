"""How often alerts are wrong: false alarms in healthy trainings, power on planted faults.

    python -m benchmarks --sections alerts
    python -m benchmarks.alerts outputs/degradation      # the recorded runs of a study

A healthy training is one of this project's networks, or a hand-written GPT, as it is usually
trained; each seed draws its weights and its batches. A fault is planted in the same trainings.
"""

import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from sklearn.datasets import load_digits
from torch import Tensor, nn

from benchmarks.gpt import GPT
from gradflow import build_network
from gradflow.analysis.frames import groups
from gradflow.analysis.study import load_study
from gradflow.analysis.tables import Cell, Table
from gradflow.core.door import one_line
from gradflow.records.reader import read_table
from gradflow.watching import RULES, Watch, watch
from gradflow.watching.alerts import Alarms, Alert
from gradflow.watching.seen import seen_of

EVERY = 5
FRESH = 1000  # the first seed: thresholds were chosen on seeds 0 to 2
Losses = Callable[[nn.Module, int], Tensor]
"""A network and a step to the loss of the step's batch."""


@dataclass(frozen=True)
class Training:
    """What is trained, and how: everything but the seed."""

    name: str
    network: Callable[[int], nn.Module]
    task: Callable[[int], Losses]
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    steps: int = 80


def digits(seed: int) -> Losses:
    """Cross entropy on batches of scikit-learn's handwritten digits."""
    found = load_digits()
    images = torch.tensor(found.images, dtype=torch.float32)[:, None] / 8 - 1
    labels = torch.tensor(found.target)
    generator = torch.Generator().manual_seed(seed)

    def loss(network: nn.Module, step: int) -> Tensor:
        chosen = torch.randint(len(labels), (64,), generator=generator)
        return F.cross_entropy(network(images[chosen]), labels[chosen])

    return loss


def text(seed: int) -> Losses:
    """Next-token loss on sequences of a random Markov chain over 32 tokens."""
    generator = torch.Generator().manual_seed(seed)
    chain = torch.rand(32, 32, generator=generator).pow(6)

    def loss(network: nn.Module, step: int) -> Tensor:
        tokens = torch.randint(32, (16, 1), generator=generator)
        for _ in range(16):
            following = torch.multinomial(chain[tokens[:, -1]], 1, generator=generator)
            tokens = torch.cat([tokens, following], 1)
        return F.cross_entropy(network(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())

    return loss


def sgd(rate: float) -> Callable[[nn.Module], torch.optim.Optimizer]:
    """SGD with momentum 0.9 and weight decay 1e-4."""
    return lambda n: torch.optim.SGD(n.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4)


def adamw(rate: float) -> Callable[[nn.Module], torch.optim.Optimizer]:
    """AdamW with torch's defaults."""
    return lambda network: torch.optim.AdamW(network.parameters(), lr=rate)


def family(name: str, **options: Any) -> Callable[[int], nn.Module]:
    """A network of this project for the digits."""
    return lambda seed: build_network(name, image_shape=(1, 8, 8), seed=seed, **options)


def gpt(layers: int, *, zero: bool = False) -> Callable[[int], nn.Module]:
    """A pre-norm GPT, initialized as GPT-2; `zero`: each branch ends with weights of 0."""

    def made(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        network = GPT(layers=layers, width=32, tokens=32, context=16)
        for name, weight in network.named_parameters():
            if zero and name.endswith(("proj.weight", "down.weight")):
                nn.init.zeros_(weight)
        return network

    return made


HEALTHY = (
    Training("mlp, 10", family("mlp", depth=10, width=32), digits, sgd(0.05)),
    Training("resnet, 14", family("cifar_resnet", depth=14, width=4), digits, sgd(0.1)),
    Training("plain, 8", family("cifar_resnet", depth=8, width=4, skip=False), digits, sgd(0.05)),
    Training("resnet, 20, Adam", family("cifar_resnet", depth=20, width=4), digits, adamw(1e-3)),
    Training("transformer, 18", family("transformer", depth=18, width=16), digits, adamw(1e-3)),
    Training("GPT, 6 blocks", gpt(6), text, adamw(1e-3)),
    Training("GPT, 12 blocks", gpt(12), text, adamw(3e-4)),
    Training("GPT, 6 blocks, SGD", gpt(6), text, sgd(0.1)),
    Training("GPT, 6 blocks from 0", gpt(6, zero=True), text, adamw(1e-3)),
)
"""Trainings that learn, as people train such networks."""


def fast_layer(training: Training) -> Training:
    """One layer, in the middle, learns at 100 times the rate of the others."""

    def optimizer(network: nn.Module) -> torch.optim.Optimizer:
        made = training.optimizer(network)
        weights = [p for p in network.parameters() if p.ndim > 1]
        own = weights[len(weights) // 2]
        [group] = made.param_groups
        group["params"] = [p for p in group["params"] if p is not own]
        made.add_param_group({"params": [own], "lr": 100 * group["lr"]})
        return made

    return _but(training, "one layer at 100 times the rate", optimizer=optimizer)


def missing_skip(training: Training) -> Training:
    """One block in the middle lacks its skip."""

    def network(seed: int) -> nn.Module:
        made = training.network(seed)
        blocks = getattr(made, "blocks", None)
        assert isinstance(blocks, nn.Sequential | nn.ModuleList)
        setattr(blocks[len(blocks) // 2], "skip", False)  # noqa: B010  # a module's, to mypy a tensor
        return made

    return _but(training, "a missing skip", network=network)


def wrong_initialization(training: Training) -> Training:
    """The weights of one block are drawn 100 times too large."""

    def network(seed: int) -> nn.Module:
        made = training.network(seed)
        blocks = getattr(made, "blocks", None)
        assert isinstance(blocks, nn.Sequential | nn.ModuleList)
        with torch.no_grad():
            for weight in blocks[len(blocks) // 2].parameters():
                if weight.ndim > 1:
                    weight.mul_(100)
        return made

    return _but(training, "one block drawn 100 times too large", network=network)


def overflow(training: Training) -> Training:
    """Half precision without a scaler: gradients times 1e6 pass 65504, float16's largest."""

    def task(seed: int) -> Losses:
        losses = training.task(seed)

        def loss(network: nn.Module, step: int) -> Tensor:
            found = losses(network, step)
            if step >= 20:  # the scale is too large from here on
                found.register_hook(lambda gradient: (gradient * 1e6).half().to(gradient.dtype))
            return found

        return loss

    return _but(training, "fp16 overflow", task=task)


def high_rate(training: Training) -> Training:
    """All layers learn at 100 times the rate."""

    def optimizer(network: nn.Module) -> torch.optim.Optimizer:
        made = training.optimizer(network)
        for group in made.param_groups:
            group["lr"] *= 100
        return made

    return _but(training, "100 times the rate", optimizer=optimizer)


FAULTS = (fast_layer, missing_skip, wrong_initialization, overflow, high_rate)


def _but(training: Training, name: str, **changes: Any) -> Training:
    return Training(**{**vars(training), **changes, "name": f"{training.name}; {name}"})


def trained(training: Training, seed: int) -> tuple[list[Alert], list[float]]:
    """The alerts and the losses of one training, which ends where its loss is not finite."""
    network = training.network(seed)
    losses_of, optimizer = training.task(seed), training.optimizer(network)
    losses = []
    with TemporaryDirectory() as folder, watch(network, Path(folder), every=EVERY) as watching:
        for step in range(training.steps):
            losses.append(one_step(network, losses_of, optimizer, watching, step))
            if not abs(losses[-1]) < float("inf"):
                break
    return watching.alerts, losses


def one_step(
    network: nn.Module, losses: Losses, optimizer: torch.optim.Optimizer, watching: Watch, step: int
) -> float:
    """The loss."""
    loss = losses(network, step)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    watching.step(loss)
    return float(loss.detach())


def recorded(run: Path) -> list[Alert]:
    """The alerts that a recorded run of this project would have had."""
    names = ("layers", "blocks", "block_details")
    tables = {name: read_table(run, name) for name in names if (run / name).is_dir()}
    steps = read_table(run, "steps", columns=["step", "loss"]).to_pandas().set_index("step").loss
    alarms, alerts = Alarms(), []
    for step in sorted(tables["layers"]["step"].unique().to_pylist()):
        parts = {n: t.filter([s == step for s in t["step"].to_pylist()]) for n, t in tables.items()}
        there = {name: part for name, part in parts.items() if part.num_rows}
        alerts += alarms.see(seen_of(there, step, float(steps[step])))
    return alerts


def measure(seeds: int = 10) -> Iterator[tuple[str, Table]]:
    """False alarms of healthy trainings, and the power on each fault, as tables."""
    drawn = range(FRESH, FRESH + seeds)
    healthy = {(t.name, s): trained(t, s)[0] for t in HEALTHY for s in drawn}
    yield "alerts_healthy", false_alarms({f"{n} {s}": a for (n, s), a in healthy.items()})
    rows: list[dict[str, Cell]] = []
    for fault in FAULTS:
        found = [trained(fault(t), s)[0] for t in HEALTHY if fits(fault, t) for s in drawn[:2]]
        rows.append(power_row(fault, found))
    yield "alerts_power", Table(rows)


def fits(fault: Callable[[Training], Training], training: Training) -> bool:
    """Whether a network has what the fault takes away."""
    return fault is not missing_skip or not training.name.startswith("plain")


def power_row(fault: Callable[[Training], Training], found: list[list[Alert]]) -> dict[str, Cell]:
    """How many of the trainings with a fault had an alert, when, and of which kinds."""
    first = sorted(alerts[0].step for alerts in found if alerts)
    kinds = {alert.kind for alerts in found for alert in alerts}
    return {
        "fault": (fault.__doc__ or "").partition(".")[0],
        "runs": len(found),
        "with an alert": sum(map(bool, found)),
        "first alert, median step": first[len(first) // 2] if first else None,
        "kinds": ", ".join(dict.fromkeys(rule.kind for rule in RULES if rule.kind in kinds)),
    }


def false_alarms(found: dict[str, list[Alert]]) -> Table:
    """A row per kind of alert and one for any: healthy runs that had one."""
    rows: list[dict[str, Cell]] = []
    for kind in dict.fromkeys([*(rule.kind for rule in RULES), "any"]):
        wrong = [n for n, a in found.items() if any(kind in ("any", x.kind) for x in a)]
        low, high = binomtest(len(wrong), len(found)).proportion_ci()  # Clopper and Pearson
        rows.append(
            {
                "alert": kind,
                "healthy runs": len(found),
                "with a false alarm": len(wrong),
                "95 % interval": f"{100 * low:.1f} ... {100 * high:.1f} %",
                "in": ", ".join(wrong[:3]) or "-",
            }
        )
    return Table(rows)


def by_network(study: Path) -> Table:
    """A row per depth and twin of a study: its ended runs that would have had an alert."""
    runs = load_study(study).runs
    rows: list[dict[str, Cell]] = []
    for (depth, twin), own in groups(runs, ["depth", "twin"]):
        found = [recorded(study / name) for name in own.run_id]
        kinds = {alert.kind for alerts in found for alert in alerts}
        rows.append(
            {
                "depth": int(depth),
                "network": str(twin),
                "training error, mean %": 100 * float(own.final_train_error.mean()),
                "runs": len(found),
                "with an alert": sum(map(bool, found)),
                "kinds": ", ".join(dict.fromkeys(r.kind for r in RULES if r.kind in kinds)) or "-",
            }
        )
    return Table(rows)


@one_line()
def main() -> None:
    """Of the recorded runs of studies: how many would have had an alert."""
    for study in map(Path, sys.argv[1:]):
        print(by_network(study))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
