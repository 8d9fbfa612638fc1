"""What is looked at closely, at few steps: distributions of gradients, agreement of examples."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gradflow.records.quantities import HISTOGRAM_EDGES

BINS = len(HISTOGRAM_EDGES) + 1


def distribution(gradient: Tensor) -> Tensor:
    """[1 + BINS], float64: how many elements are 0, then how many are in each bin."""
    dense = gradient.detach().to_dense() if gradient.is_sparse else gradient.detach()
    size = dense.abs().flatten().double()
    edges = torch.tensor(HISTOGRAM_EDGES, dtype=torch.float64, device=size.device)
    bins = torch.bucketize(size[size != 0], edges, right=True)
    counts = torch.bincount(bins, minlength=BINS)
    return torch.cat([(size == 0).sum()[None], counts]).double()


def between_examples(network: nn.Module, losses_of: Callable[[], Tensor]) -> Tensor:
    """How far the gradients of single examples agree: [2], cosine and signal-to-noise.

    Args:
        losses_of: computes the loss of each example of a small batch, [n] with n >= 2, by
            a forward pass of the network in whatever mode it is.

    With g_i the gradient of example i's loss by all parameters, in the context of its batch:
    the mean of cos(g_i, g_j) over i != j, and |mean g|^2 / (trace of the covariance of g_i),
    the mean's own noise taken out of its square (both unbiased). NaN where a g_i is 0.

    Parameters, their .grad, buffers and random streams are left as they were.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    with _untouched(network), torch.enable_grad():
        losses = losses_of()
        gradients = [
            torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            for loss in losses
        ]
    gram = _gram(gradients)
    count = len(gram)
    length = gram.diagonal().sqrt()
    others = count * (count - 1)
    cosine = ((gram / length / length[:, None]).sum() - count) / others
    signal = (gram.sum() - gram.trace()) / others  # of g_i . g_j, i != j
    noise = gram.trace() / count - signal
    return torch.stack([cosine, signal / noise])


def _gram(gradients: Sequence[Sequence[Tensor | None]]) -> Tensor:
    """[n, n]: the inner products of n gradients, float64."""
    total = torch.zeros(len(gradients), len(gradients), dtype=torch.float64)
    for parts in zip(*gradients, strict=True):
        if parts[0] is not None:
            rows = torch.stack([part.flatten() for part in parts]).double()
            total = total.to(rows.device) + rows @ rows.T
    return total


@contextmanager
def _untouched(network: nn.Module) -> Iterator[None]:
    """Buffers (batch norm's running averages) and torch's random streams as before, after."""
    kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
    with torch.random.fork_rng():
        try:
            yield
        finally:
            for buffer, before in kept:
                buffer.copy_(before)
