"""A pre-norm GPT by hand, as people write it who have never heard of this package.

python -m benchmarks.gpt outputs/diverging    # 48 blocks at a rate that grows until they diverge
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradflow.analysis.report.run_page import make_run_page
from gradflow.watching import watch


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); without `skip` the plain parts."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.skip = heads, True
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, tokens, width] -> the same."""
        batch, tokens, width = x.shape
        split = (batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = self.qkv(self.norm1(x)).view(split).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        attended = self.proj(mixed.transpose(1, 2).reshape(x.shape))
        x = x + attended if self.skip else attended
        made: Tensor = self.down(F.gelu(self.up(self.norm2(x))))
        return x + made if self.skip else made


class GPT(nn.Module):
    """Initialized as GPT-2: 0.02, and 0.02 / sqrt(2 layers) where a branch ends."""

    def __init__(self, *, layers: int, width: int, tokens: int, context: int, heads: int = 2):
        super().__init__()
        self.embedding, self.position = nn.Embedding(tokens, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, tokens, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                ends = name.endswith(("proj.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / ((2 * layers) ** 0.5 if ends else 1))

    def forward(self, tokens: Tensor) -> Tensor:
        """[batch, tokens] -> logits [batch, tokens, vocabulary]."""
        x = self.embedding(tokens) + self.position(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


def diverge(folder: Path, steps: int = 240) -> None:
    """Train 48 blocks by SGD at a rate that grows from 0.03 to 30, until the loss is not finite."""
    torch.manual_seed(0)
    model = GPT(layers=48, width=32, tokens=32, context=16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03)
    chain = torch.rand(32, 32).pow(6)
    with watch(model, folder, every=5, on_alert=print, settings={"optimizer": "SGD"}) as watching:
        for step in range(steps):
            tokens = torch.randint(32, (16, 1))
            for _ in range(16):
                following = torch.multinomial(chain[tokens[:, -1]], 1)
                tokens = torch.cat([tokens, following], 1)
            rate = 0.03 * 1000 ** (step / steps)
            optimizer.param_groups[0]["lr"] = rate
            loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            watching.step(loss, learning_rate=rate)
            if not torch.isfinite(loss):
                break
    print(watching.account)
    print(*make_run_page(folder), sep="\n")


if __name__ == "__main__":
    diverge(Path(sys.argv[1]))
