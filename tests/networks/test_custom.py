"""Networks that somebody else wrote, and their twins: equal to those that are written by hand."""

import copy
import importlib.util
from types import MethodType

import pytest
import torch

from gradflow.config.hydra_bridge import load_run_config
from gradflow.config.run_id import run_id
from gradflow.core.errors import GradflowError
from gradflow.networks import make_network
from gradflow.networks.families.custom import CustomConfig
from gradflow.probes import Probes
from gradflow.records import read_records, read_runs
from gradflow.runs.execute import execute
from tests.support.builders import ADDS
from tests.support.configs import small_config
from tests.support.doors import command, files_below
from tests.support.plugins import forgotten
from tests.support.real_networks import has_torchvision

BUILDERS = "tests.support.builders"
SHAPE = (1, 8, 8)


def of(name, **options):
    return CustomConfig(builder=f"{BUILDERS}:{name}", **options)


def made(config, seed=3):
    return make_network(config, SHAPE, 10, seed).double()


def computed(network, *, training):
    """Output and gradients of two images, every draw at random the same."""
    network = copy.deepcopy(network).train(training)
    torch.manual_seed(5)
    images = torch.randn(2, *SHAPE, dtype=torch.float64)
    output = network(images)
    names, parameters = zip(*network.named_parameters(), strict=True)
    gradients = torch.autograd.grad(output.square().sum(), parameters, allow_unused=True)
    return {"output": output, **dict(zip(names, gradients, strict=True))}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("add", ADDS)
def test_a_twin_from_outside_is_the_one_that_is_written_by_hand(add, training):
    options = {"add": add, "dropout": 0.3}
    made_outside = made(of("outside", options=options, depth=6, skip=False))
    own = made(of("own", options=options, depth=6, skip=False))
    residual = made(of("own", options=options, depth=6))
    assert_equal(dict(made_outside.named_parameters()), dict(own.named_parameters()))
    assert_equal(computed(made_outside, training=training), computed(own, training=training))
    assert not torch.equal(
        computed(own, training=training)["output"], computed(residual, training=training)["output"]
    )


@pytest.mark.parametrize("training", [True, False])
def test_a_sum_of_the_images_themselves_is_switched_off_too(training):
    plain = made(of("on_images", skip=False)).train(training)
    images = torch.randn(2, *SHAPE, dtype=torch.float64)
    block, head = plain.module
    expected = head(block.branch(images.flatten(1)).relu())
    torch.testing.assert_close(plain(images.clone()), expected, rtol=0, atol=0)


transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="needs pip install '.[networks]'"
)
timm = pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="needs pip install '.[networks]'"
)


def vit_layer(self, hidden_states, attention_mask=None, **kwargs):
    """ViTLayer.forward without its two sums."""
    x, _ = self.attention(self.layernorm_before(hidden_states), attention_mask)
    return self.dropout(self.mlp(self.layernorm_after(self.dropout(x))))


def resnet_layer(self, hidden_state):
    """ResNetBasicLayer.forward without its sum."""
    return self.activation(self.layer(hidden_state))


def timm_block(self, x):
    """timm's BasicBlock.forward without its sum."""
    x = self.aa(self.drop_block(self.act1(self.bn1(self.conv1(x)))))
    x = self.bn2(self.conv2(x))
    return self.act2(x if self.se is None else self.se(x))


def resnet10():
    has_torchvision()
    options = {"model_name": "resnet10t", "num_classes": 10, "in_chans": 1}
    return CustomConfig(builder="timm:create_model", options=options, skip=False)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("config", "block", "forward"),
    [
        pytest.param(lambda: of("vit", skip=False), "ViTLayer", vit_layer, marks=transformers),
        pytest.param(
            lambda: of("resnet", skip=False), "ResNetBasicLayer", resnet_layer, marks=transformers
        ),
        pytest.param(resnet10, "BasicBlock", timm_block, marks=timm),
    ],
)
def test_twins_of_other_peoples_networks_equal_an_independent_construction(
    config, block, forward, training
):
    plain = made(config())
    by_hand = copy.deepcopy(plain)
    by_hand.cuts = {}
    blocks = [m for m in by_hand.modules() if type(m).__name__ == block]
    assert blocks
    for module in blocks:
        module.forward = MethodType(forward, module)
    theirs = computed(by_hand, training=training)
    by_hand.forward = MethodType(type(by_hand).forward, by_hand)
    assert_equal(computed(plain, training=training), theirs)


def test_weights_are_drawn_from_the_seed_whatever_was_drawn_before():
    first = made(of("outside", depth=4))
    torch.rand(3)
    assert_equal(
        dict(first.named_parameters()), dict(made(of("outside", depth=4)).named_parameters())
    )
    other = dict(made(of("outside", depth=4), seed=4).named_parameters())
    assert not torch.equal(other["module.0.weight"], first.module[0].weight)


def test_an_initialization_of_the_package_draws_the_weights_if_it_is_asked_for():
    twins = [
        dict(made(of(name, depth=4, skip=False, initialization="he_fan_in")).named_parameters())
        for name in ("outside", "own")
    ]
    assert_equal(*twins)
    built = made(of("outside", depth=4)).module[0].weight
    assert not torch.equal(twins[0]["module.0.weight"], built)


REFUSED = {
    "no_module": ({}, "built int, which is no torch.nn.Module"),
    "lazy": ({}, "built a lazy layer, which has no weights yet; give it its size"),
    "raises": ({}, r"cannot build a network \(ValueError: no such net\)"),
    "too_wide": ({}, r"its network puts out \(2, 11\), not \(2, 10\)"),
    "other_dropout": ({"skip": False}, r"skip changes p from 0.1 to 0.2 of 1.drop; twins differ"),
    "other_epsilon": ({"skip": False}, r"skip changes eps from 1e-05 to 0.001 of 1.norm"),
    "other_average": ({"skip": False}, "skip changes count_include_pad from True to False of 5.1"),
    "other_strength": ({"skip": False}, "skip changes strength from 2.0 to 0.5 of 1;"),
    "other_images": ({}, r"its network takes no images \(2, 1, 8, 8\) \(RuntimeError: mat1"),
    "unread_skip": ({"skip": False}, "takes skip and computes the same without it"),
    "other_tensors": ({"skip": False}, "skip changes the tensor 0.weight; twins have the same"),
    "other_activation": (
        {"skip": False},
        "skip=false adds Tanh to what is computed; twins differ in the skip alone",
    ),
    "other_norm": ({"skip": False}, "skip=false adds NativeBatchNorm to what is computed"),
    "plain": ({"skip": False}, "has no residual sum to switch off; give the builder a"),
    "recomputing": ({"skip": False, "depth": 6}, "computes parts again in the backward pass"),
    "multiplying": ({"skip": False}, "residual sum 0 of 1 cannot be switched off from outside"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_network_that_is_not_what_it_should_be_is_one_line(name):
    options, told = REFUSED[name]
    with pytest.raises(
        GradflowError, match=f"network.builder={BUILDERS}:{name}: .*{told}"
    ) as found:
        made(of(name, **options))
    assert "\n" not in str(found.value)


def test_options_that_are_read_by_name_or_passed_on_are_taken():
    for options in ({"deep": True}, {"layers": 6, "deep": True}, {"depths": 4}):
        made(of("swallowing", options=options))
    # What becomes of options that are passed on is not seen; here torch's own check finds it.
    with pytest.raises(GradflowError, match="unexpected keyword argument 'hedas'"):
        made(of("handing_on", options={"hedas": 2}))


def test_a_twin_may_keep_the_skip_in_words_of_its_own():
    made(of("own_words", skip=False))


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("unread", {"options": {"heads": 2}}, "network.options.heads=2: .* never reads it"),
        ("swallowing", {"options": {"hedas": 2}}, "hedas=2: .* reads deep, depths, layers"),
        ("taking", {"options": {"heads": 2}}, "heads=2: .* takes any option and reads nothing"),
        ("unread", {"options": {"gate": 2}}, "takes no gate; it takes image_shape, outputs, heads"),
        ("unread", {"norm": "layer"}, "network.norm=layer: the builder takes no norm"),
        ("outside", {"options": {"depth": 2}}, "depth is network.depth"),
        ("outside", {"twin": "builder"}, "network.twin=builder: the builder takes no skip"),
        ("outside", {"options": {"add": object()}}, "must hold numbers, text, lists"),
        ("outside", {"initialization": "fixup", "norm": "none"}, "Fixup needs the blocks"),
        ("nothing", {}, "the module has no function nothing"),
        ("AddingBlock", {}, "the builder needs .* too"),
    ],
)
def test_an_option_that_does_not_fit_is_one_line(name, options, told):
    with pytest.raises(GradflowError, match=told):
        of(name, **options)


@pytest.mark.parametrize(
    ("builder", "told"),
    [
        ("", "must be module:function"),
        ("nets", "must be module:function"),
        ("no_such:x", "imported"),
    ],
)
def test_a_builder_is_a_function_of_a_module(builder, told):
    with pytest.raises(GradflowError, match=f"network.builder={builder}: .*{told}"):
        CustomConfig(builder=builder).recorded()


def trained(root, config):
    folder = execute(small_config(root, network=config, steps=4)).folder
    assert load_run_config(folder / "config.yaml").network == config
    return folder


@pytest.mark.parametrize("name", ["outside", "own"])
def test_twins_train_and_both_have_rows_of_the_same_blocks(tmp_path, name):
    folders = [trained(tmp_path, of(name, depth=6, skip=skip)) for skip in (True, False)]
    runs = read_runs(tmp_path / "scratch")
    assert set(runs.network_twin) == {"outside" if name == "outside" else "builder"}
    assert runs.network_builder.str.fullmatch(rf"{BUILDERS}\+\w{{8}}:{name}").all()
    assert runs.network_norm.isna().all()  # it has no such option
    residual, plain = (read_records(folder, "blocks") for folder in folders)
    names = ["module.1", "module.2", "end of module.2"]
    for rows in (residual, plain):
        assert rows.groupby("step").block_name.apply(list).tolist() == [names] * rows.step.nunique()
        assert rows.input_grad_norm.notna().all()
    assert plain.skip_grad_norm.isna().all()
    first = [read_records(f, "layers").query("step == 0").weight_norm.tolist() for f in folders]
    assert first[0] == first[1]


def test_a_twin_from_outside_is_measured_as_it_is_computed():
    network = made(of("outside", depth=6, skip=False)).train()
    images = torch.randn(2, *SHAPE, dtype=torch.float64)
    free = copy.deepcopy(network)
    free(images).square().sum().backward()
    with Probes(network) as probes:
        probes.arm(0)
        network(images).square().sum().backward()
    assert_equal(
        {n: p.grad for n, p in network.named_parameters()},
        {n: p.grad for n, p in free.named_parameters()},
    )


def test_the_code_of_a_builder_is_part_of_the_identity_and_its_place_is_not(tmp_path):
    text = "from tests.support.builders import outside\ndef net(image_shape, outputs, depth):\n"
    text += "    return outside(image_shape, outputs, depth)\n"

    def id_of(place, text):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / "net.py").write_text(text)
        with forgotten():
            config = CustomConfig(builder=f"{tmp_path / place / 'net.py'}:net")
            return run_id(small_config(tmp_path, network=config), "x")

    assert id_of("a", text) == id_of("b", text + "# why\n")
    assert id_of("a", text) != id_of("c", text.replace("depth)\n", "depth + 2)\n"))


def test_options_are_typed_on_the_command_line_and_swept(tmp_path):
    words = [
        *("network=custom", f"network.builder={BUILDERS}:outside", f"output_root={tmp_path}"),
        *("network.options.dropout=0.5", "network.options={add: f + x}"),
    ]
    [config] = command("train", *words).accepted
    assert config.network.options == {"dropout": 0.5, "add": "f + x"}
    sweep = "network.options.dropout=0.1,0.2"
    found = command("train", "-m", *words[:3], "network.depth=4,6", sweep).accepted
    got = [(c.network.depth, c.network.options["dropout"]) for c in found]
    assert sorted(got) == [(4, 0.1), (4, 0.2), (6, 0.1), (6, 0.2)]


def test_nothing_of_a_study_is_trained_if_one_of_its_twins_cannot_be_made(tmp_path):
    words = ["-m", "network=custom", "network.skip=true,false", f"output_root={tmp_path}"]
    ended = command("train", *words, f"network.builder={BUILDERS}:plain")
    assert ended.refused is not None
    assert "has no residual sum to switch off" in ended.refused
    assert (ended.accepted, files_below(tmp_path)) == ([], [])


@pytest.mark.parametrize("name", ["lesion", "paths", "identity", "jacobian", "shattering"])
def test_a_diagnostic_of_blocks_says_that_there_are_none(tmp_path, name):
    folder = trained(tmp_path, of("outside", depth=4))
    ended = command("diagnose", f"run={folder}", f"diagnostic={name}", "diagnostic.images=9")
    assert ended.traceback is None
    assert ended.refused is not None
    assert "the network has no blocks of a family" in ended.refused


@pytest.mark.parametrize("name", ["curvature", "landscape"])
def test_diagnostics_of_any_network_measure_a_twin_from_outside(tmp_path, name):
    folder = trained(tmp_path, of("outside", depth=4, skip=False))
    ended = command("diagnose", f"run={folder}", f"diagnostic={name}", "diagnostic.images=9")
    assert (ended.refused, ended.traceback) == (None, None)
    assert set(read_records(folder, "diagnoses").name) == {name}
