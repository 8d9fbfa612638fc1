"""What the blocks of a transformer as drawn add to its residual stream.

Mean squares per feature, of Xavier weights without biases, infinitely wide, for inputs that a
norm has given mean square 1.
"""

from gradflow.theory.domain import count, real
from gradflow.theory.mean_field import variance_map

WIDENING = 4  # of an MLP
XAVIER = 2 / (1 + WIDENING)  # times 1 / width: the variance of both of its weights


def mlp_output(input_scale: float = 1.0) -> float:
    """4 x 2/5 E[gelu(s sqrt(2/5) z)^2]: of W2 gelu(W1 s x), x normed; s is 1 under pre-norm.

    So the stream of a pre-norm network grows linearly as drawn, and s = 1/sqrt(l) of layer l under
    LayerNorm scaling (Sun et al. 2025, arXiv 2502.05795) makes it nearly logarithmic.
    """
    scale = real(input_scale, "input_scale", "at least 0", low=0)
    return WIDENING * variance_map(XAVIER * scale**2, "gelu", XAVIER)


def peri_norm_stream(block: int) -> float:
    """1 + l: of what enters block l (from 0), as each block before it adds a normed branch.

    Var(x_{l+1}) = Var(x_l) + 1 (Kim et al. 2025, Peri-LN, arXiv 2502.02732, with a normed stem).
    """
    return 1 + count(block, "block", low=0)
