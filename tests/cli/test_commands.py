"""The command `gradflow`: help is light and true, a mistake is one line with what is valid."""

import subprocess
import sys
from dataclasses import fields, is_dataclass
from typing import get_type_hints

import pytest

import gradflow
from gradflow.cli import COMMANDS, HELP, main
from gradflow.cli.keys import ROOTS, default_choices, keys_of
from gradflow.cli.manual import text_of
from gradflow.cli.study import questions
from gradflow.config.conf_folder import CONF
from gradflow.config.hydra_bridge import register_schema, to_config
from gradflow.config.meanings import GROUPS_MEAN, MEANINGS
from gradflow.config.registry import GROUPS
from tests.support.doors import ROOT

HEAVY = ("torch", "hydra", "omegaconf", "numpy", "pandas", "pyarrow", "matplotlib", "yaml")


def ended(words, capsys):
    with pytest.raises(SystemExit) as raised:
        main(words)
    out, err = capsys.readouterr()
    code = raised.value.code
    return err.strip() if code == 2 else str(code), out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_what_would_be_written_now(name):
    """If this fails: python -m gradflow.cli.manual"""
    kept = (HELP / f"{name}.txt").read_text()
    assert kept.split() == text_of(name).split()
    assert f"gradflow {name}" in kept
    assert not any(len(line) > 100 for line in kept.splitlines() if "  " not in line.strip())


def test_help_has_no_text_of_a_command_that_is_gone():
    assert {path.stem for path in HELP.iterdir()} == set(COMMANDS)


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["report", "-h"], ["study"]])
def test_help_imports_nothing_heavy(words):
    code = (
        "import sys\nfrom gradflow.cli import main\nmain(sys.argv[1:])\n"
        f"print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stderr.strip() == "[]"
    assert "gradflow" in done.stdout or words == ["study"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian"], "trian: no such command; did you mean train? valid: train, study, sweep"),
        (
            ["train", "--multirn"],
            "--multirn: no such option; did you mean --multirun? valid: --cfg",
        ),
        (["status", "--al1"], "--al1: no such option; did you mean --all? valid: --all, --help"),
        (["status", "a", "b"], "b: one argument too many"),
        (["report"], "the following arguments are required: folder; gradflow report --help"),
        (["new", "blok", "x"], "argument kind: invalid choice: 'blok'"),
        (["train", "network.dpeth=8"], "network.dpeth: no such key; did you mean depth?"),
        (["study", "degradatoin"], "study/degradatoin: no such file in conf/; choose one of"),
        (["describe", "-m", "a=1"], "-m: gradflow describe does one thing at a time"),
    ],
)
def test_a_mistake_is_one_line(words, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said, out = ended(words, capsys)
    assert said.startswith(f"error: {told}")
    assert "\n" not in said
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_tokens_is_described_by_an_example_of_the_text(capsys):
    main(["describe", "network=language_model", "network.depth=6", "network.norm=none"])
    *rows, total = capsys.readouterr().out.splitlines()
    stem = next(row for row in rows if row.split()[0] == "stem")
    assert stem.split()[2:4] == ["64x32", str(64 * 32)]  # positions of the 64 characters
    # In turn attention (qkv and output) and MLP, width 32, then the logits of 256 tokens.
    assert f"{64 * (32 * 96 + 32 * 32 + 2 * 32 * 128 + 32 * 256):,} MACs" in total


def test_the_command_line_of_the_process_is_left_as_it_was(capsys):
    before = list(sys.argv)
    ended(["describe", "network.depth=9"], capsys)
    assert sys.argv == before


@pytest.mark.parametrize("words", [["--config-path", "saved"], ["-cp=saved"]])
def test_a_relative_config_path_is_of_this_folder(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "config.yaml").write_text("seed: 7\n")
    main(["train", *words, "--config-name", "config", "--cfg", "job"])
    assert capsys.readouterr().out.strip() == "seed: 7"


def test_the_version(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"gradflow {gradflow.__version__}\n"


def test_every_study_has_a_question():
    found = questions()
    assert set(found) == {path.stem for path in (CONF / "study").glob("*.yaml")}
    assert found["degradation"].endswith("?")
    assert all(text and "gradflow" not in text for text in found.values())


def test_status_of_a_folder_of_studies(study_folder, capsys):
    main(["status", str(study_folder.parent)])
    assert capsys.readouterr().out.startswith(f"{study_folder}: 8 runs\n")


def of_the_package(cls):
    return cls.__module__.startswith("gradflow.")


def test_every_key_has_a_meaning_and_no_other():
    expected = {group: set() for group in MEANINGS}
    for root in ROOTS.values():
        hints = get_type_hints(root)
        for entry in fields(root):
            if entry.name in GROUPS:
                continue
            if is_dataclass(hints[entry.name]):
                expected[entry.name] |= {part.name for part in fields(hints[entry.name])}
            else:
                expected[""].add(entry.name)
    for group, choices in GROUPS.items():
        for choice in filter(lambda c: of_the_package(c.config), choices.values()):
            expected[group] |= {entry.name for entry in fields(choice.config)} - {"name"}
    assert {group: set(keys) for group, keys in MEANINGS.items()} == expected
    assert set(GROUPS_MEAN) == set(GROUPS)


@pytest.mark.parametrize("config", ROOTS)
def test_the_defaults_that_help_names_are_those_of_the_command(config):
    """Composed by Hydra with each default given as an override: the same config."""
    from hydra import compose, initialize_config_dir

    register_schema()
    chosen = default_choices(config)
    own = {"run": "run=somewhere"}  # has to be given
    given = [own[k.full_name] for k in keys_of(config) if k.full_name in own and not k.default]
    named = [
        f"{key.full_name}={key.default}"
        for key in keys_of(config)
        if key.default and (not key.choices or chosen[key.group] in key.choices)
    ]
    named += [f"{group}={name}" for group, name in chosen.items()]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        plain, full = (compose(config, overrides=[*given, *more]) for more in ([], named))
    assert to_config(plain, ROOTS[config]) == to_config(full, ROOTS[config])
    assert len(named) > 5


def test_the_commands_with_keys_name_a_file_of_conf():
    assert {command.keys for command in COMMANDS.values()} == {"", *ROOTS}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gradflow tr", {"train"}),
        ("gradflow study degr", {"degradation"}),
        ("gradflow train optimizer.l", {"optimizer.learning_rate="}),
        ("gradflow sweep network.depth=8 schedule=c", {"schedule=constant", "schedule=cosine"}),
        ("gradflow describe image", {"image_shape."}),
        ("gradflow inspect x", set()),
    ],
)
def test_bash_completes(line, expected, capsys):
    main(["completion"])
    words = line.split(" ")
    script = "\n".join(
        [
            capsys.readouterr().out,
            f'gradflow() {{ {sys.executable} -m gradflow "$@"; }}',
            f"COMP_LINE={line!r}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}",
            f"_gradflow gradflow {words[-1]!r} {words[-2]!r}",
            'printf "%s\\n" "${COMPREPLY[@]}"',
        ]
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == ""
    assert set(done.stdout.split()) == expected
