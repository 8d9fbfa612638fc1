"""The usual training loop, the yardstick of the benchmarks. Frozen: it is never edited.

What public trainers of CIFAR ResNets do: float32, NCHW, PyTorch's own number of threads, the
gradient norm of each layer by `.item()`, a CSV file, one process a network. It is spared
what they also pay for: images lie ready in memory, normalised, without augmentation, and the
optimiser is the fast one.

    python benchmarks/usual_loop.py --depth 56 --seed 0 --out folder    # one run on digits
    python benchmarks/usual_loop.py --depth 20 --data random --turns    # steps on demand
"""

import argparse
import csv
import itertools
import math
import sys
import time
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, skip: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.more, self.skip = stride, outputs - inputs, skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.skip:
            if self.stride > 1:
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more // 2, self.more // 2))
            y = y + x
        return F.relu(y)


class ResNet(nn.Module):
    def __init__(self, depth: int, width: int, channels: int, skip: bool):
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        sizes = [width] + [width * 2**stage for stage in range(3) for _ in range((depth - 2) // 6)]
        self.blocks = nn.Sequential(
            *(
                Block(before, after, 1 if before == after else 2, skip)
                for before, after in itertools.pairwise(sizes)
            )
        )
        self.fc = nn.Linear(sizes[-1], 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.blocks(F.relu(self.bn(self.conv(x))))
        return self.fc(F.adaptive_avg_pool2d(y, 1).flatten(1))


def load(name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training images and labels, test images and labels."""
    if name == "random":
        images, labels = torch.randn(2048, 3, 32, 32), torch.randint(10, (2048,))
        return images, labels, images[:256], labels[:256]
    from sklearn.datasets import load_digits

    pixels, targets = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8)
    images = (images - images[360:].mean(0)) / images[360:].std()
    labels = torch.tensor(targets)
    return images[360:], labels[360:], images[:360], labels[:360]


@torch.no_grad()
def error_of(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    net.eval()
    wrong = 0
    for start in range(0, len(images), 256):
        part = slice(start, start + 256)
        wrong += (net(images[part]).argmax(1) != labels[part]).sum().item()
    net.train()
    return wrong / len(images)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", choices=["digits", "random"], default="digits")
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--every", type=int, default=5, help="steps between norms; 0: never")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--turns", action="store_true", help="so many steps a line of stdin")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    images, labels, test_images, test_labels = load(args.data)
    net = ResNet(args.depth, args.width, images.shape[1], not args.plain)
    optimizer = torch.optim.SGD(
        net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4, fused=True
    )
    out = (args.out or Path("/dev")) / ("norms.csv" if args.out else "null")
    out.parent.mkdir(parents=True, exist_ok=True)
    log = csv.writer(out.open("w"))
    order = torch.randperm(len(images))
    count = 0

    def step() -> None:
        nonlocal count, order
        batches = len(images) // args.batch
        if count % batches == 0:
            order = torch.randperm(len(images))
        part = order[count % batches * args.batch :][: args.batch]
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * 0.5 * (1 + math.cos(math.pi * min(1, count / args.steps)))
        loss = F.cross_entropy(net(images[part]), labels[part])
        optimizer.zero_grad()
        loss.backward()
        if args.every and count % args.every == 0:
            for name, parameter in net.named_parameters():
                if parameter.ndim > 1:
                    log.writerow([count, name, parameter.grad.norm().item()])
            log.writerow([count, "loss", loss.item()])
        optimizer.step()
        count += 1

    if args.turns:
        for _ in range(3):
            step()
        print("ready", flush=True)
        for line in sys.stdin:
            start = time.perf_counter()
            for _ in range(int(line)):
                step()
            print(time.perf_counter() - start, flush=True)
        return
    for _ in range(args.steps):
        step()
        if count in (args.steps // 2, args.steps):
            for split, x, y in (
                ("train", images, labels),
                ("test", test_images, test_labels),
            ):
                log.writerow([count, f"{split} error", error_of(net, x, y)])


if __name__ == "__main__":
    main()
