"""The distribution: one version everywhere, the same tools everywhere, whole when installed."""

import re
import subprocess
import sys
import textwrap
import tomllib
import venv

import pytest
import yaml

import gradflow
from tests.support.doors import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SMALL = [
    "network.depth=8", "network.width=2", "seed=0,1", "steps=6", "data.subset=64",
    "data.batch_size=32", "probe.every=5", "hydra.launcher.workers=1",
]  # fmt: skip


def test_the_version_is_one():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    newest, date = re.search(r"^## \[(.+?)\] - (.+)$", changelog, re.M).groups()
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert newest == gradflow.__version__ == cited["version"]
    assert date == str(cited["date-released"])
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "src/gradflow/core/version.py"


def test_the_changelog_has_the_headings_of_its_form():
    text = (ROOT / "CHANGELOG.md").read_text()
    allowed = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.M)) <= allowed
    dates = re.findall(r"^## \[.+?\] - (\d{4}-\d\d-\d\d)$", text, re.M)
    assert dates == sorted(dates, reverse=True)


def test_pre_commit_has_the_ruff_of_the_tests():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    [ruff] = [repo["rev"] for repo in hooks if repo["repo"].endswith("/ruff-pre-commit")]
    assert f"ruff=={ruff.removeprefix('v')}\n" in (ROOT / "constraints.txt").read_text()


def test_every_public_name_is_there_and_listed():
    assert dir(gradflow) == sorted(gradflow.__all__)
    assert all(getattr(gradflow, name) is not None for name in gradflow.__all__)
    named = set(re.findall(r"^gradflow\.(\w+)\(", gradflow.__doc__, re.M))
    assert named == set(gradflow.__all__) - {"GradflowError", "__version__"}
    with pytest.raises(AttributeError, match="module gradflow has no attribute Probe$"):
        _ = gradflow.Probe


def installed(python, *what):
    """Skips where pip finds no packages."""
    done = subprocess.run(
        [python, "-m", "pip", "install", "--constraint", ROOT / "constraints.txt", *what],
        capture_output=True,
        text=True,
    )
    if done.returncode and ("No matching distribution" in done.stderr or "onnect" in done.stderr):
        pytest.skip(f"pip cannot install here: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_in_an_empty_environment(tmp_path, monkeypatch):
    """The wheel alone: the core without extras, then a study to its report, far from git."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", tmp_path / "dist", ROOT]
    done = subprocess.run(build, capture_output=True, text=True)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip("pip finds no hatchling here")
    assert done.returncode == 0, done.stderr
    [wheel] = (tmp_path / "dist").glob("gradflow_suite-*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python, here = tmp_path / "venv" / "bin" / "python", tmp_path / "empty"
    here.mkdir()

    def gradflow_(*words):
        command = [tmp_path / "venv" / "bin" / "gradflow", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=here, timeout=1200)

    (here / "mine.py").write_text(
        textwrap.dedent(
            """
            import torch
            from torch import nn

            class Residual(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.branch = nn.Linear(4, 4)
                def forward(self, x):
                    return x + torch.tanh(self.branch(x))

            def make():
                torch.manual_seed(0)
                x, y = torch.randn(8, 4), torch.randint(2, (8,))
                model = nn.Sequential(Residual(), Residual(), nn.Linear(4, 2))
                return model, (x, y), nn.functional.cross_entropy
            """
        )
    )
    installed(python, wheel)
    found = gradflow_("inspect", "mine.py:make")
    assert found.returncode == 0, found.stderr
    assert "skip_share" in found.stdout
    assert "pip install 'gradflow-suite[sweep]'" in gradflow_("train").stderr

    installed(python, f"{wheel}[all]")
    study = gradflow_("study", "degradation", *SMALL)
    assert study.returncode == 0, study.stderr
    report = here / "outputs" / "degradation" / "report.html"
    assert gradflow.__version__ in report.read_text()
    kept = (report.parent / "commands.txt").read_text()
    assert kept.startswith("gradflow train study=degradation network.depth=8")
    assert sorted(path.name for path in here.iterdir()) == ["mine.py", "outputs"]
    assert gradflow_("status").stdout.startswith("outputs/degradation: 4 runs\n")
    assert gradflow_("describe", "network=mlp").returncode == 0
