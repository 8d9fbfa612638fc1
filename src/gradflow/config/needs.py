"""What some diagnostics need that some networks or data lack, and the line that says so.

A diagnostic declares what it needs (`DiagnosticConfig.NEEDS`), a network what it lacks
(`NetworkConfig.lacks`), so that a run is refused before it is trained. A diagnosis of a network
that no config describes is refused by the same line when it is made.
"""

from typing import Literal

Need = Literal["blocks", "chain", "gradient by the input", "ungated", "shape", "own values"]

LACKING: dict[Need, str] = {
    "blocks": "the network has no blocks of a family, as this diagnostic needs; curvature and "
    "landscape work on any network",
    "chain": "the blocks are not a chain, as this diagnostic needs; curvature, landscape and "
    "lesion work without one",
    "gradient by the input": "tokens have no derivative by the input, as this diagnostic needs; "
    "curvature and landscape work on any data",
    "ungated": "a block's gate weighs both paths by the input, so that no path is one branch or "
    "the shortcut alone; use a network without gates",
    "shape": "what follows a block's addition changes the shape, so that it cannot be near the "
    "identity; use another connection than dense",
    "own values": "the first block passes its values on to all others, so that it cannot be "
    "deleted or swapped alone; use another connection than value_residual",
}
"""Need -> why there is no such diagnosis without it, and what there is instead.

blocks                 the network is made of blocks of this package
chain                  each block takes what the one before puts out; no long skips pass by
gradient by the input  examples are numbers, and no tokens
ungated                no gate weighs S(x) against F(x)
shape                  what follows a block's addition keeps the shape of S(x)
own values             no block reads values that another passes on besides x
"""
