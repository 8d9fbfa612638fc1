"""Training steps per second: two one-thread processes of ours against one of the usual loop.

All sides record the gradient norm of every layer at every fifth step, ours with all its other
records, data augmentation (32x32) and files; the usual loop uses PyTorch's default threads.
"""

from collections.abc import Iterator

from benchmarks.cases import CASES, Case
from benchmarks.turns import Side, ratio, take_turns
from gradflow.analysis.tables import Cell, Table

LIMITS = {"cifar-20": 2.0, "cifar-56": 2.0, "digits-56": 1.5}
DESIGNS = {  # ours in other ways, one case each
    "cifar-20": {"ours, NCHW": ["--layout", "nchw"], "ours, bfloat16": ["--dtype", "bfloat16"]},
}
WORKERS = 2


def usual(case: Case, *, every: int = 5) -> Side:
    """One process of the usual loop, with a log every `every` steps (0: without)."""
    data = "digits" if case.image[0] == 1 else "random"
    command = ["benchmarks/usual_loop.py", "--turns", "--data", data, "--every", str(every)]
    for name in ("depth", "width", "batch"):
        command += [f"--{name}", str(getattr(case, name))]
    return Side(command, case.turn)


def ours(name: str, *options: str) -> Side:
    """Two processes of our loop, with other options of `benchmarks.our_loop`."""
    command = ["-m", "benchmarks.our_loop", "--case", name, *options]
    return Side(command, CASES[name].turn, WORKERS)


def measure(rounds: int) -> Iterator[tuple[str, Table]]:
    """One row per case and loop: steps per second, and their ratio to the usual loop's."""
    rows: list[dict[str, Cell]] = []
    for name, limit in LIMITS.items():
        case = CASES[name]
        sides = {
            "usual": usual(case),
            "usual, without its log": usual(case, every=0),
            "ours": ours(name),
        }
        for design, options in DESIGNS.get(name, {}).items():
            sides[design] = ours(name, *options)
        speeds = take_turns(sides, rounds)
        for side, speed in speeds.items():
            rows.append(
                {
                    "network": name,
                    "loop": side,
                    "steps per second, median": float(sorted(speed)[len(speed) // 2]),
                    "ratio to the usual loop, median (95 % interval)": ratio(speed, speeds["usual"])
                    if side != "usual"
                    else None,
                    "wanted": limit if side == "ours" else None,
                }
            )
    formats = {
        "steps per second, median": ".2f",
        "ratio to the usual loop, median (95 % interval)": ".2f",
    }
    yield "steps", Table(rows, formats, note=f"{rounds} rounds in changing order.")
