"""The commands of README.md and of every page: they exist, compose, and in small they run."""

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import pytest
from hydra import compose, initialize_config_dir

from gradflow.cli import COMMANDS, HELP
from gradflow.cli.keys import ROOTS, choices, keys_of
from gradflow.config.hydra_bridge import register_schema, to_config
from gradflow.config.registry import GROUPS
from gradflow.core.errors import GradflowError
from tests.docs.pages import PAGES, PROGRAMS, ROOT, blocks, lines_of, named, sessions, text_of
from tests.support.slurm import shim

CONFIGS = {name: command.keys for name, command in COMMANDS.items() if command.keys}
CONFIGS |= {"study": "run", "sweep": "run"}
"""Command -> the file of conf/ that it composes."""
IN_BLOCKS = sorted({shlex.join(words) for page in PAGES for words in lines_of(page)})
EVERY = sorted({*IN_BLOCKS, *(shlex.join(words) for page in PAGES for words in named(page))})
COMPOSED = [c for c in IN_BLOCKS if c.split()[:2] in [["gradflow", name] for name in CONFIGS]]
OTHERS = {"source", "nvidia-cuda-mps-control"}
"""Programs that are not of this project."""


def first_value(override):
    """Of a sweep such as a=1,2 its first value: compose takes no sweeps."""
    key, _, value = override.partition("=")
    return override if value.startswith(("[", "{")) else f"{key}={value.split(',')[0]}"


def composed(name, words):
    """The typed config of a command that reads conf/; sweeps by their first values."""
    register_schema()
    if name == "study":
        words = [f"study={words[0]}", *words[1:]] if words else []
    keys = [word for word in words if "=" in word and "interval(" not in word]
    config = CONFIGS[name]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        values = compose(config, overrides=[first_value(key) for key in keys])
    return to_config(values, ROOTS[config])


def check_gradflow(words):
    name, *rest = words
    assert name in COMMANDS
    help_text = (HELP / f"{name}.txt").read_text()
    for option in (word for word in rest if word.startswith("-")):
        assert option in help_text, f"gradflow {name} has no {option}"
    if name in CONFIGS:
        check_keys(name, rest)


def check_keys(name, words):
    """Each key is one of the command's, each choice of a group is there."""
    known = {key.full_name: key for key in keys_of(CONFIGS[name])}
    for key, _, value in (word.partition("=") for word in words if "=" in word):
        if key in GROUPS:
            taken = choices(CONFIGS[name], key)
            assert value == "mine" or set(value.split(",")) <= set(taken), f"{key}={value}"
        else:
            assert key in known or key.startswith(("study", "scale", "hydra")), key


def check_python(words):
    if words[0] == "-m":
        assert importlib.util.find_spec(words[1].split("/")[0])
    else:
        assert (ROOT / words[0]).exists()


def check_make(words):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    for word in words:
        assert "=" in word or word in targets


def check_pip(words):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extras in re.findall(r"\[(.+)\]", " ".join(words)):
        assert set(extras.split(",")) <= project["optional-dependencies"].keys()


CHECKS = {
    "gradflow": check_gradflow,
    "python": check_python,
    "make": check_make,
    "pip": check_pip,
    "pytest": lambda words: None,
}


def test_the_commands_of_the_pages_exist_with_their_keys():
    for command in EVERY:
        program, *words = shlex.split(command)
        if "COMMAND" not in words and program not in OTHERS:
            CHECKS[program](words)


def test_no_command_has_a_word_that_is_a_pattern_in_zsh():
    """[ ], * and ? outside of quotes: zsh says "no matches found" and runs nothing."""
    folders = ("examples/*.py", "conf/**/*.yaml", "src/gradflow/cli/**/*", "analysis/*.py")
    files = [path for folder in folders for path in ROOT.glob(folder) if path.suffix != ".pyc"]
    texts = [path.read_text() for path in files if path.is_file()]
    typed = [line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()]
    typed += [
        code
        for page in PAGES
        for code in re.findall(r"`([^`\n]+)`", text_of(page))
        if re.match(rf"(?:{PROGRAMS}) |[\w.]+=\[", code)
    ]
    typed += re.findall(r"^(?:#   )? *((?:gradflow|pip) .+)", "\n".join(texts), re.M)
    bare = [re.sub(r"'[^']*'|\"[^\"]*\"| # .*", "", line) for line in typed]
    assert "gradflow verdict outputs/degradation" in typed
    assert [line for line in bare if re.search(r"[\[\]*?]", line)] == []


@pytest.mark.parametrize("command", COMPOSED)
def test_a_command_of_a_block_composes(command):
    _, name, *words = shlex.split(command)
    if "--config-dir" not in words:  # of a file that an earlier line makes; it runs below
        composed(name, words)


def test_every_command_of_the_program_is_on_a_page():
    shown = {shlex.split(command)[1] for command in EVERY if command.startswith("gradflow ")}
    assert COMMANDS.keys() <= shown


@pytest.mark.parametrize("page", [page for page in PAGES if sessions(page)])
def test_a_shown_answer_is_the_answer(page):
    for words, answer in sessions(page):
        with pytest.raises(GradflowError) as raised:
            composed(words[1], words[2:])
        assert f"error: {raised.value}" == answer


# Smaller, and otherwise word for word: fewer steps, images and depths.
SMALL = [
    "network.width=4", "data.subset=64", "data.batch_size=32", "steps=4",
    "~hydra.callbacks.analysis", "threads=1",
]  # fmt: skip
DEPTHS = "network.depth=8,14"
TRAINS = ("train", "study", "sweep", "tune")
LEFT_OUT = {
    "device=cuda": "needs a GPU",
    "data=": "tests/docs/test_data_commands.py trains them, on small files",
    "data.folder": "needs the images",
    "modern_residuals": "of 510 runs; tests/analysis makes its figure of a few",
    "download": "needs a network connection",
    "acceptance": "takes minutes; tests/acceptance runs it",
    "outputs/landscape": "of a study that takes minutes; tests/diagnostics runs curvature",
}
"""What a shell block's command holds -> why it is composed here and not run."""
RUN = [page for page in PAGES if any(words[0] == "gradflow" for words in lines_of(page))]
NEEDS = {"docs/how-to/paper.md": "degradation"}
"""Page -> the study that is there before its commands run."""
WATCHES = ("docs/tutorials/watch.md",)
"""Pages whose Python makes what their commands read."""


def smaller(words):
    """A training's command in small; any other as it is."""
    name, *rest = words
    if name not in TRAINS or not rest:
        return words
    swept = name in ("study", "sweep", "tune") or "--config-dir" in rest
    fixed = any(word.startswith("network.block=") for word in rest)  # its depths are others
    small = [*SMALL, DEPTHS] if swept and not fixed else SMALL
    given = {word.partition("=")[0] for word in rest}
    kept = [key for key in small if key.partition("=")[0] not in given - {"network.depth"}]
    if any("slurm" in word for word in rest):
        kept += ["hydra.launcher.interface=lo", "hydra.launcher.jobs=1"]
    return [name, *rest, *kept]


def run(words, folder):
    done = subprocess.run(
        [sys.executable, "-m", "gradflow", *words],
        cwd=folder,
        env={**shim(folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, (words, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_the_commands_of_a_page_run(page, tmp_path, monkeypatch):
    """In order, in one folder; sbatch is a shim."""
    shutil.copytree(
        ROOT / "outputs" / "reference" / "budget", tmp_path / "outputs/reference/budget"
    )
    if study := NEEDS.get(page):
        run(smaller(["study", study]), tmp_path)
    if page in WATCHES:
        monkeypatch.chdir(tmp_path)
        exec(blocks(page, "python")[0], {})
    for program, *words in lines_of(page):
        line = " ".join(words)
        if program == "gradflow" and not any(part in line for part in LEFT_OUT):
            run(smaller(words), tmp_path)
