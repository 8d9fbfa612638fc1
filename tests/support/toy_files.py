"""The files that test_additions.py adds: as short as a contributor could write them."""

FAMILY = '''
    """One block of one convolution between two others."""

    from dataclasses import dataclass
    from typing import ClassVar

    from gradflow.config.networks import BlockConfig
    from gradflow.config.registry import register
    from gradflow.config.validation import choice, number


    @dataclass(frozen=True)
    class ToyConfig(BlockConfig):
        """Depth n+2: n blocks of one 5x5 convolution."""

        TASK: ClassVar[str] = "classify"
        name: str = choice("toy")
        depth: int = number(4, at_least=3)
        width: int = number(4, at_least=1)
        kernel: int = number(5, at_least=1)

        def layers_per_block(self) -> int:
            return 1


    @register(ToyConfig)
    def toy(config, image_shape, outputs):
        from torch import nn

        from gradflow.networks.blocks import make_block
        from gradflow.networks.layers import Weighted, layer_stack
        from gradflow.networks.network import Network

        total, layer = config.blocks_per_stage(1), Weighted(config.width, config.kernel)
        stem = layer_stack("cna", config, image_shape[0], [layer], dims=2)
        blocks = [
            make_block(config, config.width, [layer], index=i, total=total, dims=2)
            for i in range(total)
        ]
        features = config.width * image_shape[1] * image_shape[2]
        head = nn.Sequential(nn.Flatten(), nn.Linear(features, outputs))
        return Network(stem, blocks, head, config.checkpoint)
    '''

DATA = '''
    """Stripes, across or along."""

    from dataclasses import dataclass

    import numpy as np

    from gradflow.config.data import DataConfig
    from gradflow.config.registry import register
    from gradflow.config.validation import choice, number
    from gradflow.data.arrays import Source


    @dataclass(frozen=True)
    class ToyConfig(DataConfig):
        """Images of stripes, which are all across or all along."""

        name: str = choice("toy")
        side: int = number(6, at_least=2)


    @register(ToyConfig)
    def toy(config):
        return Source(f"toy-{config.side}", classes=2, decode=lambda: _draw(config.side))


    def _draw(side):
        rng = np.random.default_rng(0)
        arrays = {}
        for split, count in (("train", 128), ("test", 32)):
            labels = rng.integers(2, size=count).astype(np.uint8)
            stripes = rng.integers(256, size=(count, 1, side, 1)).astype(np.uint8)
            along = np.broadcast_to(stripes, (count, 1, side, side))
            across = along.transpose(0, 1, 3, 2)
            images = np.where(labels[:, None, None, None], along, across)
            arrays |= {f"{split}_images": images, f"{split}_labels": labels}
        return arrays
    '''

OPTIMIZER = '''
    """Sign descent."""

    from dataclasses import dataclass

    from gradflow.config.optimizers import OptimizerConfig
    from gradflow.config.registry import register
    from gradflow.config.validation import choice, number


    @dataclass(frozen=True)
    class ToyConfig(OptimizerConfig):
        """torch.optim.Rprop."""

        name: str = choice("toy")
        learning_rate: float = number(1e-3, above=0)
        largest_step: float = number(0.1, above=0)


    @register(ToyConfig)
    def toy(config, parameters, learning_rate):
        import torch

        return torch.optim.Rprop(
            parameters, lr=learning_rate, step_sizes=(1e-6, config.largest_step)
        )
    '''

SCHEDULE = '''
    """A straight line."""

    from dataclasses import dataclass

    from gradflow.config.registry import register
    from gradflow.config.schedules import ScheduleConfig
    from gradflow.config.validation import choice, number


    @dataclass(frozen=True)
    class ToyConfig(ScheduleConfig):
        """From the peak down to a share of it."""

        name: str = choice("toy")
        last_share: float = number(0.5, above=0)


    @register(ToyConfig)
    def toy(config, peak, step, steps):
        return peak * (1 - (1 - config.last_share) * step / (steps - 1))
    '''

DIAGNOSTIC = '''
    """The share of weights above a size."""

    from dataclasses import dataclass
    from typing import ClassVar

    from gradflow.config.diagnostics import Columns, DiagnosticConfig
    from gradflow.config.registry import register
    from gradflow.config.validation import choice, number


    @dataclass(frozen=True)
    class ToyConfig(DiagnosticConfig):
        """How many of a layer's weights are larger than `above`."""

        TABLES: ClassVar[dict[str, Columns]] = {
            "large_weights": {"layer": "string", "share": "float64", "shape": "list[int64]"}
        }
        EXACT: ClassVar[bool] = False
        name: str = choice("toy")
        above: float = number(0.1, above=0)


    @register(ToyConfig)
    def toy(frozen, config):
        weights = {n: p for n, p in frozen.network.named_parameters() if p.ndim > 1}
        return {
            "large_weights": {
                "layer": list(weights),
                "share": [float((w.abs() > config.above).float().mean()) for w in weights.values()],
                "shape": [list(w.shape) for w in weights.values()],
            }
        }
    '''
