"""What measuring costs: one training step with probes at every step, and without.

    make benchmark

ResNet-56, width 8, batch 64, digits, one thread. Both kinds of step alternate in one
process, so that a busy machine slows both alike; the ratio is taken pair by pair.
"""

import argparse
import platform
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import bootstrap

from gradflow import build_network
from gradflow.config.schema import DigitsConfig
from gradflow.data import Normalizer, load_dataset, training_batches
from gradflow.probes import GradientProbe


def measure(depth: int, pairs: int) -> np.ndarray:
    """Seconds a step, [pairs, 2]: without and with the probe."""
    torch.set_num_threads(1)
    data = load_dataset(DigitsConfig(), Path("outputs/.cache"))
    network = build_network("cifar_resnet", image_shape=(1, 8, 8), depth=depth, width=8)
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, fused=True)
    normalize = Normalizer(data.train_images, torch.float32)
    batches = training_batches(
        data, normalize, batch_size=64, augment=False, seed=0, first_step=0, steps=2 * pairs + 4
    )
    seconds = np.empty((pairs, 2))
    kept = []
    with GradientProbe(network) as probe:
        for step, _, images, labels in batches:
            pair, position = divmod(step - 4, 2)  # four steps of warm-up
            probed = (position + pair) % 2 == 1  # the order within a pair alternates
            start = time.perf_counter()
            if probed:
                probe.arm()
            loss = F.cross_entropy(network(images), labels)
            loss.backward()
            if probed:
                kept.append(probe.read())
            optimizer.step()
            optimizer.zero_grad()
            if pair >= 0:
                seconds[pair, int(probed)] = time.perf_counter() - start
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depths", type=int, nargs="+", default=[56, 110])
    parser.add_argument("--pairs", type=int, default=200)
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")
    print("| depth | step without, ms | step with, ms | ratio, median (95 % interval) |")
    print("| ---: | ---: | ---: | ---: |")
    for depth in arguments.depths:
        seconds = measure(depth, arguments.pairs)
        ratios = seconds[:, 1] / seconds[:, 0]
        interval = bootstrap((ratios,), np.median, rng=0).confidence_interval
        without, probed = np.median(seconds, axis=0) * 1e3
        print(
            f"| {depth} | {without:.1f} | {probed:.1f} "
            f"| {np.median(ratios):.3f} ({interval.low:.3f} ... {interval.high:.3f}) |"
        )


if __name__ == "__main__":
    main()
