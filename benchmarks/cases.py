"""The networks that are timed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A cifar_resnet, its images [channels, height, width] and its batch size."""

    depth: int
    width: int
    image: tuple[int, int, int]
    batch: int
    turn: int = 25  # steps of a turn, see benchmarks/turns.py


CASES = {
    "cifar-20": Case(20, 16, (3, 32, 32), 128, turn=5),
    "cifar-56": Case(56, 16, (3, 32, 32), 128, turn=3),
    "digits-56": Case(56, 8, (1, 8, 8), 64, turn=60),
    "digits-110": Case(110, 8, (1, 8, 8), 64),
}
