"""README.md does not rot: its commands compose, its files exist, its Python runs."""

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from gradflow.config.door import register_schema, to_config
from gradflow.config.schema import DescribeConfig, RunConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = sorted(
    set(
        re.findall(
            r"python experiments/(train|describe)\.py ([^`\n#]+)", README.replace("\\\n", " ")
        )
    )
)


def first_value(override):
    """Of a sweep such as a=1,2 its first value: compose takes no sweeps."""
    key, _, value = override.partition("=")
    return override if value.startswith("[") else f"{key}={value.split(',')[0]}"


@pytest.mark.parametrize(("script", "arguments"), COMMANDS)
def test_commands_compose(script, arguments):
    register_schema()
    overrides = [first_value(word) for word in arguments.split() if "=" in word]
    name, root = {"train": ("run", RunConfig), "describe": ("describe", DescribeConfig)}[script]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        composed = compose(name, overrides=overrides)
    if "network.depth=57" in arguments or "exclusive_gate" in arguments:
        return  # shown there as mistakes; test_commands and test_families hold their answers
    to_config(composed, root)


def test_there_are_commands():
    assert len(COMMANDS) > 10


def test_links_and_figures_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_the_python_of_the_networks_section_runs(monkeypatch):
    [block] = [b for b in re.findall(r"```python\n(.*?)```", README, re.S) if "describe(" in b]
    names = {}
    exec(block, names)
    assert len(names["network"].blocks) == 27


def test_the_python_of_the_probes_section_runs():
    """Ten lines, and every block of a network that is not ours has its ledger."""
    [block] = [b for b in re.findall(r"```python\n(.*?)```", README, re.S) if "Probes" in b]
    names = {}
    exec(block, names)
    rows = names["blocks"]
    assert len(rows) == 10 * 13
    assert rows.skip_share[rows.block_index < 12].notna().all()


def test_no_placeholder_is_left():
    assert not re.search(r"\b[A-Z]+_TABLE\b", README)
