"""The page of compatibility: each row is a test, by name, and each test named is there."""

import re
from pathlib import Path

import pytest

from tests.support.real_networks import IMAGES, TEXT, TIMM

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "project" / "compatibility.md"
ROWS = {
    "closures, LBFGS, several, wrapped or no optimizers, skipped steps, clipping":
        "test_gradients_weights_and_updates_of_any_loop, "
        "test_lbfgs_is_measured_at_its_first_evaluation",
    "gradient accumulation; several backward passes of one forward pass":
        "test_gradient_accumulation, test_one_forward_pass_and_two_backward_passes",
    "`torch.autograd.grad`, saliency": "test_gradients_weights_and_updates_of_any_loop",
    "gradient penalty (`create_graph`)": "test_a_gradient_penalty_is_counted_in",
    "autocast to bfloat16": "test_autocast_measures_the_tensors_that_there_are",
    "`GradScaler`": "test_gradient_scaling_is_taken_out, test_float32_and_scaling",
    "checkpointing, `use_reentrant=False`": "test_checkpointing_without_reentry",
    "checkpointing, `use_reentrant=True`":
        "test_reentrant_checkpointing_hides_the_blocks_and_says_so",
    "`torch.compile` of the network":
        "test_a_compiled_network_is_refused_but_for_its_layers, "
        "test_a_network_compiled_elsewhere_is_measured_in_its_layers, "
        "test_a_compiled_network_has_the_update_of_its_own_step",
    "`torch.compile` of parts":
        "test_a_compiled_branch_is_a_layer_and_the_sum_around_it_is_measured",
    "CUDA graphs":
        "test_a_step_that_is_replayed_is_the_step, test_a_cuda_graph_is_the_eager_step_bit_for_bit",
    "DDP": "test_layers_are_of_all_ranks_and_blocks_of_one",
    "ZeRO-1 (`ZeroRedundancyOptimizer`)": "test_layers_are_of_all_ranks_and_blocks_of_one",
    "FSDP2 (`fully_shard`)": "test_layers_are_of_all_ranks_and_blocks_of_one",
    "FSDP1, tensor parallel":
        "test_weights_that_are_flattened_and_sharded_are_refused, "
        "test_layers_are_of_all_ranks_and_blocks_of_one",
    "Lightning, accelerate": "test_the_loop_of_another_package",
    "channels_last, frozen, tied, sparse, complex, LoRA, LSTM, shared modules":
        "test_channels_last, test_layers_of_every_kind, "
        "test_a_module_that_is_shared_by_several_blocks",
    "functions of Python (`torch.autograd.Function`) in a branch":
        "test_functions_of_python_run_as_often_as_without_probes",
    "quantized weights": "test_names_of_parametrized_and_quantized_layers",
    "residuals in residuals, several `Probes` at once":
        "test_parts_of_three_hundred_random_blocks_are_right_or_null, "
        "test_several_probes_at_once",
}  # fmt: skip


def test_every_row_of_the_table_has_its_tests_and_no_other_row_is_there():
    text = PAGE.read_text()
    [table] = re.findall(r"\| with \| measured \| how \|\n\| --- .*\n((?:\|.*\n)+)", text)
    assert [row.split(" | ")[0].removeprefix("| ") for row in table.splitlines()] == list(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_the_tests_of_a_row_are_there(row):
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in ROWS[row].split(", "):
        assert f"def {name}(" in sources


def test_how_many_networks_of_others_there_are():
    found = re.search(r"(\d+)\s+networks of transformers, (\d+) of timm", PAGE.read_text())
    assert found
    # wav2vec 2 has a test of its own.
    assert list(map(int, found.groups())) == [len(TEXT) + len(IMAGES) + 1, len(TIMM)]
