"""Mutated commands and calls: no traceback, nothing wrong accepted, nothing half-written.

What a mutation makes of a right command is known to be wrong, by a table of wrong values for each
type that is written anew here. Where it is not known (noise), the command may be right.
"""

import contextlib
import dataclasses
import random
import string
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import pytest

import gradflow
from gradflow.config.registry import GROUPS
from gradflow.config.run import EvaluationConfig, RunConfig, SearchConfig, StudyConfig
from gradflow.core.errors import GradflowError
from tests.support.configs import small_config
from tests.support.doors import ROOT, command, files_below

TYPED = {
    int: [
        "abc",
        "1.5",
        "true",
        "[1]",
        "{a:1}",
        "1e3",
        "nan",
        "9" * 20,
        "''",
        "-9223372036854775809",
    ],
    float: ["abc", "[1]", "{a:1}", "nan", "inf", "-inf", "1e400", "true", "''"],
    bool: ["2", "abc", "1.5", "[true]", "{a:1}", "-1", "''"],
    str: ["[a]", "{a:1}", "'a\tb'", "'a\x1bb'", "'a\u202eb'", "'a\nb'", "'a\x00b'"],
    tuple: ["abc", "5", "{a:1}", "[[1]]", "null", "['a\tb', 1.5]"],
}
"""Type of a key -> values as they are typed that no key of the type may have."""

CALLED: dict[type, list[Any]] = {
    int: ["8", 8.0, 2.5, True, [8], float("nan"), 2**63, -(2**63) - 1, 10**400, b"8", {}],
    float: ["0.1", True, [0.1], float("nan"), float("inf"), -float("inf"), 10**400, 1j, {}],
    bool: ["False", "true", 1, 0, 0.0, [True], b"", "", {}],
    str: [5, True, b"x", ["x"], {}, "a\0b", "a\nb", "\x1b[31m", "a\u202eb", "\ud800"],
    tuple: [5, "12", None, {1}, {}, [["x"], [1]], [1.5, "\0"]],
    dict: [5, "a", None, [], {1: 2}, {"a": {1}}, {"a": float("nan")}, {"a": 1j}],
}
"""Type of a field -> values of Python's that no field of the type may have."""

PARTS: dict[str, type] = {"evaluation": EvaluationConfig, "study": StudyConfig}
PARTS["search"] = SearchConfig
GARBAGE = "'\"[]{}()=,:~+$\\%@!#;|&<>*?\t\n\x00\x1b\u202e\u00e9 0"


def kind_of(hint: Any) -> tuple[type, bool]:
    """A field's type, and whether it may be null."""
    options = get_args(hint) if get_origin(hint) not in (tuple, dict) else ()
    kinds = [option for option in options if option is not NoneType] or [hint]
    return get_origin(kinds[0]) or kinds[0], NoneType in options


class Mutation(NamedTuple):
    script: str
    words: list[str]
    is_wrong: bool


def keys() -> dict[str, Any]:
    """Each key of the default run with its type's hint."""
    found: dict[str, Any] = {}
    chosen = {"network": "cifar_resnet", "data": "digits", "optimizer": "sgd"}
    chosen |= {"schedule": "warmup_cosine", "probe": "every", "diagnostic": "lesion"}
    classes = {group: GROUPS[group][name].config for group, name in chosen.items()} | PARTS
    for group, cls in classes.items():
        found |= {
            f"{group}.{key}": hint for key, hint in get_type_hints(cls).items() if key.islower()
        }
    found |= {k: h for k, h in get_type_hints(RunConfig).items() if kind_of(h)[0] in TYPED}
    del found["output_root"]  # each command gets its own
    return {key: hint for key, hint in found.items() if kind_of(hint)[0] in TYPED}


class Mutator:
    """Commands made wrong, each in one of several ways."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.keys = keys()
        self.ways = [
            self.wrong_value,
            self.wrong_value,
            self.wrong_value_in_a_sweep,
            self.misspelt,
            self.wrong_group,
            self.wrong_launcher,
            self.wrong_sweeper,
            self.wrong_name,
            self.wrong_search,
            self.noise,
        ]

    def __call__(self) -> Mutation:
        return self.random.choice(self.ways)()

    def value(self) -> tuple[str, str]:
        key = self.random.choice(sorted(self.keys))
        kind, nullable = kind_of(self.keys[key])
        values = TYPED[kind] + ([] if nullable else ["null"])
        return key, self.random.choice(values)

    def wrong_value(self) -> Mutation:
        key, value = self.value()
        return Mutation("train", ["diagnostic=lesion", f"{key}={value}"], True)

    def wrong_value_in_a_sweep(self) -> Mutation:
        key = self.random.choice(["network.depth", "steps", "seed", "network.skip", "threads"])
        bad = self.random.choice(["-1", "x", "1.5", "9" * 20])
        return Mutation("train", ["-m", f"{key}={bad},14,{bad}"], True)

    def misspelt(self) -> Mutation:
        key = self.random.choice(sorted(self.keys))
        at = self.random.randrange(len(key))
        letter = self.random.choice(string.ascii_lowercase)
        other = self.random.choice([key[:at] + key[at + 1 :], key[:at] + letter + key[at:]])
        group = other.partition(".")[0]
        wrong = other not in self.keys and other and other not in {*GROUPS, "scale", *PARTS}
        plus = self.random.choice(["", "+"]) if group != other else ""
        return Mutation("train", ["diagnostic=lesion", f"{plus}{other}=1"], bool(wrong))

    def wrong_group(self) -> Mutation:
        group = self.random.choice(sorted(GROUPS))
        bad = self.random.choice(["1", "null", "[1]", "{a:1}", "nothing", "''", "1.5", "true"])
        other = self.random.choice(["network", "data", "optimizer", "schedule", "probe", "details"])
        word = self.random.choice([f"{group}={bad}", f"{group}.name={bad}", f"~{other}", f"={bad}"])
        return Mutation("train", [word], True)

    def wrong_launcher(self) -> Mutation:
        local = {"workers": int, "gpus": int, "dashboard": bool}
        slurm = {"jobs": int, "cores": int, "directives": tuple, "prologue": tuple}
        name, options = self.random.choice([("local", local), ("slurm", slurm)])
        key = self.random.choice(sorted(options))
        bad = self.random.choice(
            {
                int: ["abc", "-1", "1.5", "true", "[1]", "9" * 20],
                bool: ["5", "abc", "[true]", "null"],
                tuple: ["abc", "5", "[1]", "null", "true"],
            }[options[key]]
        )
        words = [f"hydra/launcher={name}", f"hydra.launcher.{key}={bad}"]
        if self.random.random() < 0.2:
            words = [self.random.choice(["hydra.launcher=null", "hydra.launcher=5"])]
        dry = self.random.choice(["true", "false"])
        return Mutation("train", ["-m", "seed=0,1", *words, f"dry_run={dry}"], True)

    def wrong_sweeper(self) -> Mutation:
        bad = [
            "variants=[1]",
            "variants=3",
            "variants=a",
            "variants=[[1]]",
            "params=[1]",
            "params=1",
        ]
        bad += ["max_batch_size=0", "max_batch_size=a", "max_batch_size=-1", "max_batch_size=1.5"]
        bad += ["variants=[{network.depth:9}]", "params={network.dpeth:8}", "params={threads:x}"]
        words = self.random.choice(
            [[f"hydra.sweeper.{self.random.choice(bad)}"], ["steps=range(5,5)"], ["steps=choice()"]]
        )
        return Mutation("train", ["-m", "seed=0,1", *words], True)

    def wrong_name(self) -> Mutation:
        odd = [
            "javascript:a",
            "a/b",
            "..",
            ".",
            "'a b'",
            "'a\nb'",
            "'\u202ea'",
            "'\x1b[1m'",
            "a" * 240,
        ]
        odd += [
            "-a",
            "a" * 240,
            "''",
            "null",
            "[a]",
            "'a\x00b'",
            ".hidden",
            "'a\\\\b'",
            "'<b>'",
            "'a?b'",
        ]
        return Mutation("train", [f"study.name={self.random.choice(odd)}"], True)

    def wrong_search(self) -> Mutation:
        bad = [
            "network.dpeth=interval(1,2)",
            "network.depth=int(interval(9,20))",
            "seed=choice(0,x)",
        ]
        bad += ["optimizer.momentum=interval(0,2)", "seed=5", "network=choice(mlp,nothing)"]
        bad += ["optimizer.learning_rate=tag(log,interval(0,1))", "network.skip=choice(1,2)"]
        bad += ["optimizer.learning_rate=interval(1,0)", "seed=range(-2,2)", "seed=range(2,2)"]
        dry = self.random.choice(["true", "false"])
        return Mutation("tune", [self.random.choice(bad), f"dry_run={dry}"], True)

    def noise(self) -> Mutation:
        words = ["network.depth=8", "study.name=abc", "probe.every=3", "seed=1"]
        at = self.random.randrange(len(words))
        word = words[at]
        for _ in range(self.random.randint(1, 3)):
            place = self.random.randint(0, len(word))
            word = word[:place] + self.random.choice(GARBAGE) + word[place:]
        words[at] = word
        sweep = ["-m"] if self.random.random() < 0.3 else []
        return Mutation("train", [*sweep, *words], False)


def mutated(seed: int, count: int) -> Iterator[Mutation]:
    mutate = Mutator(seed)
    for _ in range(count):
        yield mutate()


def wrongs(root: Path, seed: int, count: int) -> list[tuple[list[str], str]]:
    """The mutated commands that ended as none may, and how."""
    found = []
    for number, (script, words, is_wrong) in enumerate(mutated(seed, count)):
        out = root / str(number)
        ended = command(script, *words, f"output_root={out}")
        if ended.traceback is not None:
            found.append((words, ended.traceback))
        elif ended.refused is None and is_wrong:
            found.append((words, "accepted"))
        elif ended.refused is not None:
            if ended.accepted or files_below(out):
                found.append((words, f"half-written: {files_below(out)}"))
            if not ended.refused.isprintable():
                found.append((words, f"several lines: {ended.refused}"))
    return found


def test_mutated_commands(tmp_path):
    assert wrongs(tmp_path, seed=0, count=50) == []


@pytest.mark.slow
def test_a_thousand_mutated_commands(tmp_path):
    assert wrongs(tmp_path, seed=1, count=1000) == []


@pytest.mark.slow
def test_a_hundred_mutated_commands_as_they_are_typed(tmp_path):
    mutations = enumerate(mutated(2, 120))
    typed = [  # no shell passes a NUL
        (number, *mutation)
        for number, mutation in mutations
        if mutation.is_wrong and not any("\x00" in word for word in mutation.words)
    ]
    assert len(typed) >= 100
    for number, script, words, _ in typed:
        out = tmp_path / str(number)
        path = ROOT / "experiments" / f"{script}.py"
        done = subprocess.run(
            [sys.executable, str(path), *words, f"output_root={out}"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode in (1, 2), (words, done.stderr)
        assert "Traceback" not in done.stdout + done.stderr, words
        assert done.returncode == 2 or done.stderr.count("\n") == 1, (words, done.stderr)
        assert files_below(out) == [], words


def configs() -> Iterator[type]:
    yield from PARTS.values()
    for group in GROUPS.values():
        yield from (choice.config for choice in group.values())


def test_a_thousand_wrong_values_in_python():
    """Each field of each config class with each value that its type cannot have."""
    tried = 0
    for cls in configs():
        hints = get_type_hints(cls)
        for entry in fields(cls):
            kind, nullable = kind_of(hints[entry.name])
            for value in CALLED[kind] + ([] if nullable else [None]):
                with pytest.raises(GradflowError) as raised:
                    cls(**{entry.name: value})
                message = str(raised.value)
                assert message.isprintable(), (cls, entry.name, value)
                assert entry.name in message, (cls, entry.name, value)
                tried += 1
    assert tried >= 1000


def test_wrong_values_of_a_run(tmp_path):
    right = small_config(tmp_path)
    for name, hint in get_type_hints(RunConfig).items():
        kind, _ = kind_of(hint)
        if not name.islower():
            continue
        wrong = CALLED.get(kind, [5, "text", None, right, {}])
        for value in wrong:
            with pytest.raises(GradflowError, match=name):
                dataclasses.replace(right, **{name: value})


def test_wrong_calls_of_the_public_functions(study_folder):
    """Each argument with each of many values: an answer, or a GradflowError."""
    odd: list[Any] = [None, 5, -1, 2.5, "", "steps", b"x", [], [5], {}, {"a": 1}, True, "\0"]
    odd += [float("nan"), object(), Path("x"), 2**70]
    calls = [
        lambda v: gradflow.read_records(v, "steps"),
        lambda v: gradflow.read_records(study_folder, v),
        lambda v: gradflow.read_records(study_folder, "steps", columns=v),
        lambda v: gradflow.read_records(study_folder, "steps", where=v),
        lambda v: gradflow.read_records(study_folder, "steps", where={"step": v}),
        lambda v: gradflow.read_means(v, "steps", "loss", ["step"]),
        lambda v: gradflow.read_means(study_folder, v, "loss", ["step"]),
        lambda v: gradflow.read_means(study_folder, "steps", v, ["step"]),
        lambda v: gradflow.read_means(study_folder, "steps", "loss", v),
        lambda v: gradflow.build_network(v),
        lambda v: gradflow.build_network("mlp", image_shape=v),
        lambda v: gradflow.build_network("mlp", depth=v),
        lambda v: gradflow.build_network("mlp", outputs=v),
        lambda v: gradflow.build_network("mlp", seed=v),
        lambda v: gradflow.describe(v, (3, 8, 8)),
        lambda v: gradflow.describe(gradflow.build_network("mlp"), v),
    ]
    for call in calls:
        for value in odd:
            with contextlib.suppress(GradflowError):
                call(value)


def test_every_right_config_is_still_accepted():
    """The defaults of each class, and each value of it again: what is checked is kept as it is."""
    for cls in configs():
        config = cls()
        assert cls(**vars(config)) == config
