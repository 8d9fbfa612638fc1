"""Any torch module, built by a function of the user's: network.builder=module:function.

The function gets by name what it has parameters for: image_shape, outputs, skip, depth, width, any
other word of conf/network/, and network.options. It returns a module: [B, C, H, W] -> [B, outputs],
as a tensor, or as an object whose `logits` or first tensor is that. Of vectors, image_shape is
(features,). Of tokens it is (context,), and the module maps integers [B, context] to logits
[B, context, outputs], outputs being the size of the vocabulary.

The plain twin is the builder's own if it takes `skip`. Otherwise it is made from outside: the
residual sums x + F(x) that the autograd graph shows become F(x), see gradflow.training.twins.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

from gradflow.config.builders import Builder, builder_of, full_builder
from gradflow.config.data import IMAGES, TOKENS, VECTORS, Shape
from gradflow.config.needs import Need
from gradflow.config.networks import INITIALIZATIONS, TWINS, NetworkConfig, Readers
from gradflow.config.registry import register
from gradflow.config.validation import choice, number
from gradflow.core.errors import GradflowError, shown

if TYPE_CHECKING:
    from torch import nn

    from gradflow.networks.network import Network

OWN = ("name", "builder", "options", "twin", "depth", "width", "skip", "initialization")
DRAWN = ("weight_variance", "bias_variance")  # read by the initializations of the package


@dataclass(frozen=True)
class CustomConfig(NetworkConfig):
    """A network of the user's.

    `depth` and `width`: given to a builder that takes them, and for any other what the figures
    call the network. `initialization`: builder leaves the weights as they were built; any other
    draws those of the convolutions and Linear layers. `twin`: builder, outside, or auto: the first
    if the builder takes `skip`.
    """

    TASK: ClassVar[str] = "classify"
    TAKES: ClassVar[tuple[str, ...]] = (IMAGES, VECTORS, TOKENS)
    TRIED: ClassVar[bool] = True

    name: str = choice("custom")
    builder: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    twin: str = choice("auto", "builder", "outside")
    depth: int = number(8, at_least=1)
    width: int = number(16, at_least=1)
    initialization: str = choice("builder", table=INITIALIZATIONS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.initialization == "fixup":
            self.refuse("initialization", "Fixup needs the blocks of a family")
        if self.builder:  # else a config that is not whole yet, which `function` refuses
            object.__setattr__(self, "builder", full_builder(self.builder))
            self._check_builder(self.function())

    def read_by(self) -> Readers:
        """Nothing: what is read is the builder's matter, see `_check_builder`."""
        return {}

    def lacks(self) -> tuple[Need, ...]:
        """Blocks of this package."""
        return ("blocks",)

    def _check_builder(self, builder: Builder) -> None:
        if self.initialization != "builder":
            read = super().read_by()
            self.check_read({name: read[name] for name in DRAWN if not builder.takes(name)})
        for name in self.options:
            if name in {entry.name for entry in fields(self)}:
                self.refuse("options", f"{name} is network.{name}")
            self._check_taken(builder, name, f"network.options.{name}={self.options[name]!r}")
        for entry in fields(self):
            value = getattr(self, entry.name)
            used = entry.name in OWN or (entry.name in DRAWN and self.initialization != "builder")
            if not used and value != entry.default:
                self._check_taken(builder, entry.name, f"network.{entry.name}={value}")
        needed = {name for name, needs in builder.parameters.items() if needs}
        if absent := sorted(needed - self.arguments((1, 1, 1), 1).keys()):
            self.refuse("options", f"the builder needs {absent[0]} too")
        if self.twin == "builder" and "skip" not in builder.parameters:
            self.refuse("twin", "the builder takes no skip; use outside")

    def function(self) -> Builder:
        """The builder."""
        return builder_of(self.builder, "network.builder")

    def _check_taken(self, builder: Builder, name: str, given: str) -> None:
        if not builder.takes(name):
            valid = ", ".join(builder.parameters) or "nothing"
            raise GradflowError(f"{given}: the builder takes no {name}; it takes {valid}")
        if name in builder.unread:
            raise GradflowError(f"{given}: the builder takes {name} and never reads it")
        if name not in builder.parameters and builder.read is not None and name not in builder.read:
            reads = ", ".join(sorted(builder.read)) or "nothing"
            raise GradflowError(f"{given}: the builder takes any option and reads {reads}")

    def made_outside(self) -> bool:
        """Whether the plain twin is made from outside."""
        return self.twin == "outside" or (
            self.twin == "auto" and "skip" not in self.function().parameters
        )

    def arguments(self, image_shape: Shape, outputs: int) -> dict[str, Any]:
        """What the builder is called with."""
        known = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        known |= {"image_shape": image_shape, "outputs": outputs}
        if self.made_outside():
            del known["skip"]
        taken = {name: known[name] for name in self.function().parameters if name in known}
        return {**taken, **self.options}

    def recorded(self) -> dict[str, Any]:
        """The builder by its code, how the twin is made, and of the other options those that it
        takes."""
        builder = self.function()
        names = {*OWN, *builder.parameters} | (
            set() if self.initialization == "builder" else {*DRAWN}
        )
        values = {name: value for name, value in super().recorded().items() if name in names}
        twin = "outside" if self.made_outside() else "builder"
        return {**values, "builder": builder.name, "twin": twin}


def built(config: CustomConfig, image_shape: Shape, outputs: int) -> nn.Module:
    """What the builder returns.

    Raises:
        GradflowError: it raises, or returns no module.
    """
    from torch import nn

    try:
        module = config.function().function(**config.arguments(image_shape, outputs))
    except GradflowError:
        raise
    except Exception as error:  # of whoever wrote it
        why = f"{type(error).__name__}: {shown(' '.join(str(error).split()), 200)}"
        config.refuse("builder", f"cannot build a network ({why})")
    if not isinstance(module, nn.Module):
        config.refuse("builder", f"built {type(module).__name__}, which is no torch.nn.Module")
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in module.parameters()):
        config.refuse("builder", "built a lazy layer, which has no weights yet; give it its size")
    return module


@register(CustomConfig)
def custom(config: CustomConfig, image_shape: Shape, outputs: int) -> Network:
    """[B, *image_shape] -> [B, outputs], of tokens [B, context, outputs]; its twins are tested
    first, see gradflow.training.twins."""
    from gradflow.networks.custom import Custom

    tested = TWINS["tested"](config, image_shape, outputs)
    return Custom(built(config, image_shape, outputs), *tested)
