"""How much memory a run needs, estimated from its config in about a tenth of a second."""

import math

import torch
from torch import Tensor, nn

from gradflow.config import RunConfig
from gradflow.config.data import CLASSES, IMAGES, NUMBERS, TOKENS, VECTORS, kind_of
from gradflow.core.seeds import seeded
from gradflow.data.arrays import Shapes, shapes
from gradflow.networks.describe import zeros
from gradflow.runs.planning import cache_of
from gradflow.training.evaluation import EXAMPLES
from gradflow.training.optimizers.adamw import AdamWConfig
from gradflow.training.tasks import in_precision, network_of, task_of
from gradflow.training.torch_settings import weights_dtype

PROCESS = 0.45e9  # bytes of a worker that trains a network of no size: Python, torch, Dask
MEASURED = 2  # images of the forward pass that is measured; batch normalization needs two
WORKSPACE = 1.1  # bytes that a step needs per byte that its backward pass keeps, measured


def peak_memory(config: RunConfig) -> int:
    """Bytes that a process needs to train on a CPU as `config` says, within about a fifth.

    The process, the data set, the weights with their optimizer state, and the larger of a
    step and of `details` (the gradients of a few single examples). A step holds gradients,
    the weights before the update, and the larger of what the forward pass keeps for the
    backward pass (measured with two images, in proportion to the batch) and of the
    optimizer's temporary copies. What a diagnostic needs later is not in it.
    """
    data = shapes(config.data, cache_of(config))
    shape, images = data.image, data.train + data.test
    dtype = weights_dtype(config)
    network = network_of(config, shape, data.classes).to(dtype)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    state, update = (2, 4) if isinstance(config.optimizer, AdamWConfig) else (1, 2)
    kept = _kept_for_backward(config, network, data, dtype)
    backward = WORKSPACE * kept * config.data.batch_size / MEASURED
    step = 2 * weights + max(backward, update * weights)
    largest = max(p.numel() for p in network.parameters())
    details = EXAMPLES * (weights + 12 * largest)  # whose inner products are in float64
    if config.details.name == "off":
        details = 0
    size = {IMAGES: 1, VECTORS: 8, TOKENS: 16}[kind_of(shape)] * math.prod(shape)  # with labels
    return round(PROCESS + images * size + (1 + state) * weights + max(step, details))


def _kept_for_backward(
    config: RunConfig, network: nn.Module, data: Shapes, dtype: torch.dtype
) -> int:
    """Bytes of all tensors that autograd keeps after a forward pass, without the weights."""
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            kept[place] = tensor
        return tensor

    task = in_precision(task_of(config.network, config.task), config)
    images = zeros(MEASURED, data.image, dtype)
    if kind_of(data.image) == IMAGES:
        images = images.contiguous(memory_format=torch.channels_last)
    of_label = {CLASSES: (), NUMBERS: (data.classes,), TOKENS: data.image}[data.targets]
    labels = torch.zeros(MEASURED, *of_label, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        task(network, images, labels, seeded(0, "memory"))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
