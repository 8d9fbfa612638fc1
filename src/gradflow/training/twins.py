"""The plain twin of a network that somebody else wrote: made from outside, or the builder's own.

It is tested before it is trained, in float64 on two random examples, in training mode and in
evaluation mode. Made from outside: each residual sum that the probes find in the autograd graph is
one addition of the forward pass, which the twin replaces by its branch operand. The test does
the additions themselves with zeros in place of S(x), and requires equal outputs and an equal
gradient of every parameter. The builder's own: equal tensors, equal options of each module, such
as a dropout rate, no convolution, norm or nonlinear function that its twin does not have, and
another output or gradient.
"""

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from types import NoneType
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from gradflow.config.data import Shape, TokenShape
from gradflow.config.networks import TWINS
from gradflow.core.errors import GradflowError, shown
from gradflow.networks.custom import (
    IN_PLACE,
    Additions,
    Custom,
    Cut,
    Cuts,
    Tested,
    operands_of,
)
from gradflow.networks.families.custom import CustomConfig, built
from gradflow.networks.initialization import initialize
from gradflow.probes.graph import NONLINEAR, Graph
from gradflow.training.residual_additions import makers_of, places_of, residual_sums


@TWINS.named("tested")
@lru_cache(maxsize=64, typed=True)  # a TokenShape equals the shape of a vector
def tested(config: CustomConfig, image_shape: Shape, outputs: int) -> Tested:
    """Try the network, and test its twin if it is the plain one.

    Returns:
        The residual sums to be switched off, and the modules that make them in the twin.

    Raises:
        GradflowError: the network does not take the images, or puts out another shape; the twin
            differs in more than the skip, or in nothing; it cannot be made.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        network = _drawn(config, image_shape, outputs, skip=config.skip)
        if isinstance(image_shape, TokenShape):
            images = torch.randint(outputs, (2, *image_shape))
            expected: Shape = (2, *image_shape, outputs)
        else:
            images = torch.randn(2, *image_shape, dtype=torch.float64)
            expected = (2, outputs)
        _try(config, network, images, expected)
        if config.skip:
            return Tested({}, ())
        if config.made_outside():
            cuts = {mode: _cuts(config, network, images, training=mode) for mode in (True, False)}
            for training in cuts:
                _test_outside(config, network, cuts, images, training=training)
            return Tested(cuts, makers_of(network, images))
        residual = _drawn(config, image_shape, outputs, skip=True)
        _test_own(config, network, residual, images)
        return Tested({}, makers_of(residual, images))


def _drawn(config: CustomConfig, image_shape: Shape, outputs: int, *, skip: bool) -> Custom:
    """As `make_network` draws it from seed 0, in float64, its residual sums as they are built."""
    config = replace(config, skip=skip)
    torch.manual_seed(0)
    network = Custom(built(config, image_shape, outputs), {})
    initialize(network, config, 0)
    return network.double()


def _refuse(config: CustomConfig, why: str) -> NoReturn:
    raise GradflowError(f"network.builder={shown(config.builder, 300)}: {why}")


def _try(config: CustomConfig, network: Custom, images: Tensor, expected: Shape) -> None:
    try:
        output = copy.deepcopy(network).eval()(images)
    except GradflowError:
        raise
    except Exception as error:  # of whoever wrote it
        what = shown(" ".join(str(error).split()), 200)
        shape = tuple(images.shape)
        kind = "images" if len(shape) == 4 else "tokens" if len(expected) == 3 else "vectors"
        _refuse(config, f"its network takes no {kind} {shape} ({type(error).__name__}: {what})")
    if output.shape != expected:
        _refuse(config, f"its network puts out {tuple(output.shape)}, not {expected}")
    if not any(parameter.requires_grad for parameter in network.parameters()):
        _refuse(config, "its network has no parameter to train")


class _Passed(NamedTuple):
    """What a network computes of some images: its output and the gradient of each parameter."""

    output: Tensor
    gradients: list[Tensor | None]
    recomputed: bool  # some module is called in the backward pass

    def equals(self, other: "_Passed") -> bool:
        """Whether each number is the same; a gradient that there is not, nowhere."""
        pairs = zip(self.gradients, other.gradients, strict=True)
        return torch.equal(self.output, other.output) and all(
            b is None if a is None else b is not None and torch.equal(a, b) for a, b in pairs
        )


def _pass(network: Custom, images: Tensor, mode: Any = None) -> _Passed:
    """Of a copy, so that no pass sees the averages of another; every draw at random is the same."""
    network = copy.deepcopy(network)
    torch.manual_seed(1)
    if mode is None:
        output = network(images)
    else:
        with mode:
            output = network(images)
    weights = torch.randn(output.shape, dtype=output.dtype)
    parameters = [p for p in network.parameters() if p.requires_grad]
    calls: list[int] = []
    for module in network.modules():
        module.register_forward_pre_hook(lambda *_: calls.append(1))
    (output * weights).sum().backward(inputs=parameters)
    return _Passed(output.detach(), [p.grad for p in parameters], bool(calls))


def _with_zeros(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], cut: Cut) -> Any:
    """The addition itself, with zeros for S(x)."""
    operands = list(operands_of(args, kwargs))
    if cut.function in IN_PLACE and cut.carried == 0:
        operands[0].zero_()
    else:
        operands[cut.carried] = torch.zeros_like(operands[cut.carried])
    others = {name: value for name, value in kwargs.items() if name not in ("input", "other")}
    return func(*operands, **others)


def _test_own(config: CustomConfig, plain: Custom, residual: Custom, images: Tensor) -> None:
    theirs, own = residual.state_dict(), plain.state_dict()
    for name in {**theirs, **own}:
        if name not in own or name not in theirs or not torch.equal(own[name], theirs[name]):
            tensor = name.removeprefix("module.")
            _refuse(config, f"skip changes the tensor {tensor}; twins have the same tensors")
    twins = dict(residual.named_modules())
    for name, module in plain.named_modules():
        if changed := _changed(module, twins.get(name)):
            which = name.removeprefix("module.")
            _refuse(config, f"skip changes {changed} of {which}; twins differ in the skip alone")
    if _pass(plain.train(), images).equals(_pass(residual.train(), images)):
        _refuse(config, "takes skip and computes the same without it")
    if added := _kinds(plain, images) - _kinds(residual, images):
        kind = min(added)
        _refuse(
            config,
            f"skip=false adds {kind} to what is computed; twins differ in the skip alone",
        )


def _changed(plain: nn.Module, residual: nn.Module | None) -> str:
    """An option that two modules of one class have with different values, such as a dropout rate.
    A class that is not torch's may keep the skip itself: true and false, or 1 and 0. Empty: there
    is none."""
    if type(plain) is not type(residual):
        return ""
    foreign = not type(plain).__module__.startswith("torch.")
    for name, value in vars(plain).items():
        other = getattr(residual, name, None)
        kept = name.startswith("_") or name in ("training", "cuts", "marked")
        if kept or not isinstance(value, int | float | str | tuple | NoneType) or value == other:
            continue
        if not (foreign and {value, other} == {0, 1}):  # which equal False and True
            return f"{name} from {shown(other)} to {shown(value)}"
    return ""


def _kinds(network: Custom, images: Tensor) -> Counter[str]:
    """How often each kind of convolution, norm and nonlinear function is in the graph. Products of
    matrices, views and arithmetic do not count: one sum may be written with more or fewer."""
    torch.manual_seed(1)
    output = copy.deepcopy(network).train()(images)
    kinds = Graph([output.grad_fn], 0).kinds.values() if output.grad_fn is not None else ()
    return Counter(k for k in kinds if NONLINEAR.match(k) or "Norm" in k or "Convolution" in k)


def _cuts(config: CustomConfig, network: Custom, images: Tensor, *, training: bool) -> Cuts:
    sums, additions = residual_sums(network.train(training), images)
    if not sums:
        _refuse(config, "has no residual sum to switch off; give the builder a parameter skip")
    cuts = {}
    for number, found in enumerate(sums):
        places = places_of(found, additions)
        if len(places) != 1:
            why = found.reason or "no single addition of two tensors makes it"
            _refuse(
                config,
                f"its residual sum {number} of {len(sums)} cannot be switched off from outside "
                f"({why}); give the builder a parameter skip",
            )
        cuts.update(places)
    return Cuts(cuts, len(additions))


def _test_outside(
    config: CustomConfig,
    network: Custom,
    cuts: Mapping[bool, Cuts],
    images: Tensor,
    *,
    training: bool,
) -> None:
    plain = Custom(network.module, cuts).train(training)
    made = _pass(plain, images)
    zeros = Additions(cuts[training].sums, _with_zeros)
    if not made.equals(_pass(network.train(training), images, zeros)):
        _refuse(config, "its twin differs in more than the skip; give the builder a parameter skip")
    if made.recomputed:
        _refuse(config, "computes parts again in the backward pass, where no sum is switched off")
    if left := len(residual_sums(plain, images)[0]):
        _refuse(config, f"{left} residual sums are left; give the builder a parameter skip")
    with torch.no_grad():
        copy.deepcopy(plain)(images)  # raises if it takes another way without gradients
