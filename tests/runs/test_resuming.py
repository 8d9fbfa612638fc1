"""A checkpoint of other code, another torch or another instruction set: named, kept, forced."""

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from gradflow.core.errors import GradflowError
from gradflow.core.interrupts import Interrupted
from gradflow.records import SCHEMAS, RecordWriter, read_records, set_aside
from gradflow.runs.execute import execute
from gradflow.runs.status import study_states
from gradflow.training.checkpoint import (
    CHECKPOINT,
    Checkpoints,
    read_checkpoint,
    restore,
    resume,
)
from gradflow.training.origin import CAPS, Origin, instruction_set, present_origin
from tests.config.test_config import composed
from tests.records.test_records import add_steps
from tests.support.configs import small_config
from tests.support.processes import assert_equal_records, command, interrupt_at

OTHERS = {
    "code version": ("gradflow.training.origin.code_version", lambda: "0.1.0+other"),
    "torch version": ("torch.__version__", "1.0"),
    "instruction set": ("gradflow.training.origin.instruction_set", lambda device: "NEON"),
}


def interrupted(config, step, *, by=None):
    """A run that stops after so many more steps, under another origin if one is named."""
    with pytest.MonkeyPatch.context() as patch:
        if by:
            patch.setattr(*OTHERS[by])
        interrupt_at(patch, step)
        with pytest.raises(Interrupted):
            execute(config)


@pytest.mark.parametrize("by", OTHERS)
def test_a_checkpoint_of_another_origin_is_named_and_kept_until_the_run_is_as_far(
    tmp_path, capsys, by
):
    config = small_config(tmp_path / "parts", steps=10, checkpoint_seconds=1e9)
    interrupted(config, 5, by=by)
    [folder] = (tmp_path / "parts" / "scratch").iterdir()
    saved = (folder / CHECKPOINT).read_bytes()
    assert not capsys.readouterr().err
    interrupted(config, 3)
    [line] = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        rf"residual-8 seed 0: the checkpoint of step 5 is not used \({by} .+, now .+\): "
        "the run starts at step 0; resume=force would resume it at step 5",
        line,
    )
    assert (folder / "unused-5" / CHECKPOINT).read_bytes() == saved
    assert read_checkpoint(folder / CHECKPOINT, folder.name).steps_done == 3
    assert read_records(folder, "steps").step.tolist() == [0, 1, 2]
    interrupted(config, 3)  # at step 6, by the same code: nothing to tell, nothing to keep
    assert not capsys.readouterr().err
    assert not list(folder.glob("unused-*"))
    execute(config)
    whole = execute(small_config(tmp_path / "whole", steps=10)).folder
    assert_equal_records(whole, folder)
    attempts = read_records(folder, "attempts").sort_values("started")
    resumed = [None if pd.isna(text) else text for text in attempts.resumed_from]
    present = present_origin("cpu")
    assert resumed == [None, None, f"step 3, {present}", f"step 6, {present}"]
    assert attempts.instruction_set.tolist()[1:] == [instruction_set("cpu")] * 3


@pytest.mark.parametrize("by", OTHERS)
def test_force_resumes_what_was_set_aside_and_records_it(tmp_path, capsys, by):
    config = small_config(tmp_path / "parts", steps=10, checkpoint_seconds=1e9)
    interrupted(config, 5, by=by)
    interrupted(config, 2)
    capsys.readouterr()
    result = execute(replace(config, resume="force"))
    assert not result.skipped
    [line] = capsys.readouterr().err.splitlines()
    assert f"resume=force: resumes at step 5 all the same ({by} " in line
    assert sorted(entry.name for entry in result.folder.glob("*.pt")) == ["final.pt"]
    assert not list(result.folder.glob("unused-*"))
    whole = execute(small_config(tmp_path / "whole", steps=10)).folder
    run, same = (read_records(folder, "runs").iloc[0] for folder in (result.folder, whole))
    told = {"code version": run.code_version, "torch version": run.torch_version}
    if by in told:  # both that it was made by; no other run is like it
        then = "0.1.0+other" if by == "code version" else "1.0"
        assert told[by] == f"{then}, {same[by.replace(' ', '_')]}"
    assert study_states(result.folder.parent).stale.tolist() == [by == "code version"]
    for table in set(SCHEMAS) - {"runs", "attempts"}:
        assert (result.folder / table).is_dir() == (whole / table).is_dir()
        if (whole / table).is_dir():
            frames = [read_records(folder, table) for folder in (result.folder, whole)]
            keys = [k for k in ("step", "layer_index", "block_index", "split") if k in frames[0]]
            frames = [f.sort_values(keys, ignore_index=True) for f in frames]
            pd.testing.assert_frame_equal(*frames, check_exact=True)
    attempts = read_records(result.folder, "attempts").sort_values("started")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*OTHERS[by])
        assert attempts.resumed_from.iloc[-1] == f"step 5, {present_origin('cpu')}"


def test_the_line_reaches_the_terminal_from_a_worker(tmp_path):
    overrides = ["steps=8", "checkpoint_seconds=1e9", "study.name=s"]
    begun = command(tmp_path, *overrides)[2:]
    interrupted(composed(*begun), 4, by="code version")
    sweep = command(tmp_path, "-m", "seed=0", "hydra.launcher.workers=1", *overrides)
    done = subprocess.run(sweep, capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if "checkpoint" in line]
    assert len(lines) == 1, done.stderr
    assert "the checkpoint of step 4 is not used (code version 0.1.0+other, now " in lines[0]
    assert "resume=force" in lines[0]
    assert "1 runs: 1 finished" in done.stdout


def test_the_farther_one_is_kept(tmp_path):
    config = small_config(tmp_path, steps=10, checkpoint_seconds=1e9)
    interrupted(config, 5, by="code version")
    interrupted(config, 2, by="torch version")
    interrupted(config, 1)
    [folder] = (tmp_path / "scratch").iterdir()
    [kept] = folder.glob("unused-*")
    assert kept.name == "unused-5"
    assert read_checkpoint(kept / CHECKPOINT, folder.name).origins[-1].code_version == "0.1.0+other"
    assert read_records(folder, "steps").step.tolist() == [0]


def test_a_forced_run_that_is_interrupted_again_still_names_both(tmp_path):
    config = replace(small_config(tmp_path, steps=10, checkpoint_seconds=1e9), resume="force")
    interrupted(config, 3, by="code version")
    interrupted(config, 3)
    result = execute(replace(config, resume="auto"))
    [code] = read_records(result.folder, "runs").code_version
    assert code.split(", ") == ["0.1.0+other", present_origin("cpu").code_version]
    assert read_records(result.folder, "steps").step.tolist() == list(range(10))


def test_a_kill_while_it_is_set_aside_or_brought_back_loses_nothing(tmp_path, monkeypatch):
    """A move is interrupted before each of its renames; then the run is tidied."""

    def begin(name):
        folder = tmp_path / name
        with RecordWriter(folder, "run") as writer:
            add_steps(writer, range(4))
            writer.add(
                "evaluations", step=[4], split="test", loss=[1.0], error=[0.5], batch_error=[0.5]
            )
        (folder / CHECKPOINT).write_bytes(b"four steps")
        return folder

    def die_before(number, patch):
        calls = iter(range(100))

        def counted(move):
            def moves(*paths):
                if next(calls) == number:
                    raise KeyboardInterrupt
                return move(*paths)

            return moves

        patch.setattr(Path, "rename", counted(Path.rename))
        patch.setattr(os, "replace", counted(os.replace))

    def whole(folder):
        steps = read_records(folder, "steps").step.tolist()
        return steps == [0, 1, 2, 3] and len(read_records(folder, "evaluations")) == 1

    kills = 0
    for number in range(20):
        for back in (False, True):
            folder = begin(f"{number}-{back}")
            if back:
                set_aside.set_aside(folder, 4)
            with monkeypatch.context() as patch:
                die_before(number, patch)
                try:
                    set_aside.bring_back(folder) if back else set_aside.set_aside(folder, 4)
                except KeyboardInterrupt:
                    kills += 1
            set_aside.tidy(folder)
            place = folder / "unused-4"
            assert (place / CHECKPOINT).exists() != (folder / CHECKPOINT).exists()
            assert whole(place if place.exists() else folder)
    assert kills >= 4


def test_a_checkpoint_that_cannot_be_read_is_named(tmp_path, capsys):
    (tmp_path / CHECKPOINT).write_bytes(b"nothing of the kind")
    assert resume(tmp_path, "plain-8", present_origin("cpu"), force=False) is None
    [line] = capsys.readouterr().err.splitlines()
    assert "checkpoint.pt: is incomplete or damaged" in line
    assert line.startswith("plain-8: ")


def test_a_forced_checkpoint_must_fit_the_network(tmp_path):
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    Checkpoints(tmp_path, 60, [Origin("code", "torch", "AVX")]).save(network, optimizer, 7)
    saved = resume(tmp_path, "run", present_origin("cpu"), force=True)
    other = torch.nn.Linear(3, 2)
    with pytest.raises(GradflowError, match="step 7, code code, torch torch, AVX: does not fit"):
        restore(saved, other, torch.optim.SGD(other.parameters(), lr=0.1))


@pytest.mark.parametrize(
    ("capability", "bfloat16", "environment", "expected"),
    [
        ("AVX2", False, {}, "AVX2"),
        ("AVX512", True, {}, "AVX512 (processor AVX512_BF16)"),
        (
            "AVX2",
            True,
            {"ONEDNN_MAX_CPU_ISA": "avx2", "MKL_CBWR": "COMPATIBLE"},
            "AVX2 (processor AVX512_BF16, ONEDNN_MAX_CPU_ISA=AVX2, MKL_CBWR=COMPATIBLE)",
        ),
    ],
)
def test_the_instruction_set(monkeypatch, capability, bfloat16, environment, expected):
    for name in CAPS:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    flags = "fpu avx2" + " avx512dq avx512_bf16" * bfloat16
    monkeypatch.setattr("gradflow.core.provenance._cpuinfo", lambda key: flags)
    assert instruction_set.__wrapped__("cpu") == expected
