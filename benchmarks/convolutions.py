"""How fast a step could be: the 3x3 convolutions of a CIFAR ResNet, each alone, in every way
that this machine has.

A training step is three convolutions per layer: forward, the gradient by the input, the gradient
by the weight. One thread, float32, batch 128, best of several. The floor of a step is what its
convolutions take when each is done the fastest way found.

    oneDNN, channels_last    what gradflow uses
    oneDNN, NCHW             what the usual loop uses
    NNPACK                   Winograd's algorithm, 2.25 times fewer multiplications (forward only)
    matrix product           of patches that lie ready; to make them is not counted
"""

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from gradflow.analysis.tables import Cell, Table

LAYERS = ((16, 32), (32, 16), (64, 8))  # channels and pixels per side of the three stages
BATCH = 128
REPEATS = 9


def measure() -> Iterator[tuple[str, Table]]:
    """One row per layer and way: GFLOP/s of the three convolutions of a step."""
    torch.set_num_threads(1)
    rows: list[dict[str, Cell]] = []
    for channels, side in LAYERS:
        operations = 2 * BATCH * channels**2 * 9 * side**2
        for name, works in _ways(channels, side).items():
            rates = {what: operations / _best(work) / 1e9 for what, work in works.items()}
            rows.append(
                {"layer": f"{channels} channels, {side}x{side}", "way": name}
                | {f"{what}, GFLOP/s": rates.get(what) for what in ("forward", "input", "weight")}
            )
    product = torch.ones(2048, 2048)
    peak = 2 * 2048**3 / _best(lambda: product @ product) / 1e9
    note = f"A 2048 x 2048 matrix product reaches {peak:.0f} GFLOP/s on the same thread."
    formats = {f"{what}, GFLOP/s": ".0f" for what in ("forward", "input", "weight")}
    yield "convolutions", Table(rows, formats, note=note)


def _ways(channels: int, side: int) -> dict[str, dict[str, Callable[[], Tensor]]]:
    x, g = (torch.randn(BATCH, channels, side, side) for _ in range(2))
    w = torch.randn(channels, channels, 3, 3)
    patches = torch.randn(BATCH * side**2, 9 * channels)
    rows, weights = torch.randn(BATCH * side**2, channels), torch.randn(9 * channels, channels)

    def backward(layout: torch.memory_format, *, by_input: bool) -> Callable[[], Tensor]:
        tensors = [t.contiguous(memory_format=layout) for t in (g, x, w)]
        mask = [by_input, not by_input, False]
        return lambda: torch.ops.aten.convolution_backward(
            *tensors, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, mask
        )

    def forward(layout: torch.memory_format) -> Callable[[], Tensor]:
        inputs, weight = (t.contiguous(memory_format=layout) for t in (x, w))
        return lambda: torch.conv2d(inputs, weight, padding=1)

    found: dict[str, dict[str, Callable[[], Tensor]]] = {
        name: {
            "forward": forward(layout),
            "input": backward(layout, by_input=True),
            "weight": backward(layout, by_input=False),
        }
        for name, layout in (
            ("oneDNN, channels_last", torch.channels_last),
            ("oneDNN, NCHW", torch.contiguous_format),
        )
    }
    if torch.backends.nnpack.is_available():
        found["NNPACK"] = {"forward": lambda: torch._nnpack_spatial_convolution(x, w, None, [1, 1])}
    found["matrix product"] = {
        "forward": lambda: patches @ weights,
        "weight": lambda: patches.T @ rows,
    }
    return found


def _best(work: Callable[[], Tensor]) -> float:
    """Seconds."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
