"""README.md does not rot: its commands compose, its files exist, its Python runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from gradflow.analysis import readme
from gradflow.cli import main
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.config.hydra_bridge import register_schema, to_config
from gradflow.config.run import DescribeConfig, DiagnoseConfig, RunConfig
from gradflow.core.errors import GradflowError
from tests.support.slurm import shim

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = sorted(
    set(
        re.findall(
            r"python experiments/(train|tune|describe|acceptance)\.py ([^`\n#]+)",
            README.replace("\\\n", " "),
        )
    )
)


ROOTS = {"describe": ("describe", DescribeConfig), "diagnose": ("diagnose", DiagnoseConfig)}


def first_value(override):
    """Of a sweep such as a=1,2 its first value: compose takes no sweeps."""
    key, _, value = override.partition("=")
    return override if value.startswith("[") else f"{key}={value.split(',')[0]}"


@pytest.mark.parametrize(("script", "arguments"), COMMANDS)
def test_commands_compose(script, arguments):
    register_schema()
    words = [w for w in shlex.split(arguments) if "=" in w and "interval(" not in w]
    overrides = [first_value(word) for word in words]
    roots = {"describe": DescribeConfig, "acceptance": AcceptanceConfig}
    name, root = (script, roots[script]) if script in roots else ("run", RunConfig)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        composed = compose(name, overrides=overrides)
    if "network.depth=57" in arguments or "exclusive_gate" in arguments:
        return  # shown there as mistakes; test_commands and test_families hold their answers
    to_config(composed, root)


SMALL = [
    "network.width=4", "data.subset=64", "data.batch_size=32", "steps=4",
    "~hydra.callbacks.analysis", "network.depth=8,14",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "title", ["Run your own sweep", "Interrupted?", "On a cluster", "Tune"], ids=lambda t: t[:8]
)
def test_the_commands_of_a_section_run(tmp_path, title):
    """Word for word but smaller: fewer steps, images and depths. sbatch is a shim."""
    environment = {**shim(tmp_path), "PYTHONPATH": str(ROOT)}
    section = README.split(f"\n## {title}\n")[1].split("\n## ")[0]
    commands = [
        shlex.split(line, comments=True)
        for block in re.findall(r"```sh\n(.*?)```", section, re.S)
        for line in block.strip().splitlines()
    ]
    assert commands
    for command in commands:
        assert command[0] == "python"
        script = ROOT / command[1]
        smaller = SMALL if script.parent.name == "experiments" else []
        if not any(word.startswith(("-m", "study=", "hydra/")) for word in command):
            smaller = smaller[:-1] if script.name != "tune.py" else smaller
        if "slurm" in " ".join(command):
            smaller = [*smaller, "hydra.launcher.interface=lo", "hydra.launcher.jobs=1"]
        done = subprocess.run(
            [sys.executable, str(script), *command[2:], *smaller],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, (command, done.stderr)


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
    [block] = [b for b in re.findall(r"```python\n(.*?)```", README, re.S) if "Probes(" in b]
    names = {}
    exec(block, names)
    rows = names["blocks"]
    assert len(rows) == 10 * 13
    assert rows.skip_share[rows.block_index < 12].notna().all()


def test_the_python_of_the_watching_section_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    [block] = [b for b in re.findall(r"```python\n(.*?)```", README, re.S) if "gradflow.watch" in b]
    exec(block, {})
    assert "50 steps, 5 measured, 0 alerts" in capsys.readouterr().out
    assert (tmp_path / "runs" / "first.png").exists()
    main(["report", "runs/first"])
    assert "runs/first/report.html" in capsys.readouterr().out


def test_the_python_of_the_theory_section_gives_the_numbers_that_stand_there():
    [block] = [b for b in re.findall(r"```python\n(.*?)```", README, re.S) if "mean_field" in b]
    names = {}
    exec(block, names)
    assert f"{names['depth'].batch_norm_factor(64):.3f}" == "1.493"
    assert f"{names['depth'].residual_ratio(54, 1, 54**-0.5):.2f}" == "2.69"


def test_no_placeholder_is_left():
    assert not re.search(r"\b[A-Z]+_TABLE\b", README)


@pytest.mark.parametrize("page", readme.PAGES)
def test_quoted_tables_are_those_that_were_measured(page):
    """Nobody edits a number by hand: python analysis/readme.py outputs writes them."""
    assert readme.renewed(page) == (ROOT / page).read_text()


def test_a_changed_table_or_figure_is_seen(tmp_path):
    outputs, root = tmp_path / "outputs", tmp_path / "root"
    table = outputs / "s" / "tables" / "t.md"
    figure = outputs / "s" / "figures" / "twins.png"
    for path, text in ((table, "| a |\n| 1 |\n\nmade of runs\n"), (figure, "new")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    (root / "docs").mkdir(parents=True)
    page = "before\n<!-- table s/t -->\n| old |\n<!-- end -->\n![x](docs/figures/s.png) after\n"
    for name in readme.PAGES:
        (root / name).write_text(page)
    found = dict(readme.changes(outputs, root))
    quoted = root / "docs" / "tables" / "s" / "t.md"
    assert found == {table: quoted, figure: root / "docs" / "figures" / "s.png"}
    with pytest.raises(GradflowError, match="quotes docs/tables/s/t.md, which is not there"):
        readme.renewed("README.md", root)
    quoted.parent.mkdir(parents=True)
    quoted.write_bytes(table.read_bytes())
    assert table not in dict(readme.changes(outputs, root))
    assert "<!-- table s/t -->\n| a |\n| 1 |\n<!-- end -->" in readme.renewed("README.md", root)
