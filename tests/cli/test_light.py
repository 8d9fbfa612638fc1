"""The core alone: what the extras install is not imported, and its absence is one line."""

import subprocess
import sys
import textwrap
import tomllib

import pytest

from gradflow.core.extras import EXTRAS, advice
from tests.lowest import EXTRAS as INSTALLED
from tests.support.doors import ROOT

REFUSE = f"""
import sys
from importlib.abc import MetaPathFinder

class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {set(EXTRAS)!r} | {{"plotly", "antlr4"}} and not others(top):
            raise ModuleNotFoundError(f"No module named {{top!r}}", name=top)

def others(top):
    # What torch, seaborn and matplotlib import for themselves is no extra of ours.
    frame = sys._getframe(2)
    while frame:
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] in ("gradflow", "__main__"):
            return False
        if module.partition(".")[0] in ("torch", "seaborn", "matplotlib", "pyarrow", "pandas"):
            return True
        frame = frame.f_back
    return False

sys.meta_path.insert(0, Refuse())
"""


def without_extras(code, cwd, *words):
    return subprocess.run(
        [sys.executable, "-c", REFUSE + textwrap.dedent(code), *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=600,
    )


def test_probes_watch_and_inspect_work_without_any_extra(tmp_path):
    done = without_extras(
        """
        import torch
        from torch import nn
        import gradflow

        class Residual(nn.Module):
            def __init__(self):
                super().__init__()
                self.branch = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
            def forward(self, x):
                return x + self.branch(x)

        model = nn.Sequential(Residual(), Residual(), nn.Linear(4, 2))
        x, y = torch.randn(8, 4), torch.randint(2, (8,))
        loss_of = nn.functional.cross_entropy
        print(len(gradflow.inspect(model, (x, y), loss_of).blocks))

        with gradflow.Probes(model) as probes:
            for step in range(2):
                probes.arm(step)
                model.zero_grad()
                loss_of(model(x), y).backward()
        print(probes.tables()["layers"].num_rows)

        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with gradflow.watch(model, folder="run", every=2) as watch:
            for _ in range(5):
                optimizer.zero_grad()
                loss = loss_of(model(x), y)
                loss.backward()
                optimizer.step()
                watch.step(loss)
            watch.plot("run.png")
        print(len(gradflow.read_records("run", "layers")))
        print(*gradflow.read_records("run", "runs").status)
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    # Two blocks; five layers at two steps; five layers at the steps 0, 2 and 4; the run has ended.
    assert done.stdout.split() == ["2", "10", "15", "finished"]
    assert (tmp_path / "run.png").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["train"], "gradflow train needs hydra-core: pip install 'gradflow-suite[sweep]'"),
        (["study", "lesion"], "gradflow train needs hydra-core: pip install"),
        (["report", "x"], "gradflow report needs scipy: pip install 'gradflow-suite[report]'"),
        (["coordinates", "m:f"], "gradflow coordinates needs scipy: pip install"),
    ],
)
def test_a_command_without_its_extra_is_one_line(tmp_path, words, line):
    code = "from gradflow.cli import main\nmain(sys.argv[1:])"
    done = without_extras(code, tmp_path, *words)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {line}")
    assert done.stderr.count("\n") == 1


def test_a_function_without_its_extra_says_which_one(tmp_path):
    done = without_extras("import gradflow\ngradflow.coordinate_check", tmp_path)
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: gradflow.coordinate_check needs scipy: "
        "pip install 'gradflow-suite[report]'"
    )


def test_the_table_of_extras_is_that_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stated = {
        (requirement.partition(">")[0], extra)
        for extra in INSTALLED
        for requirement in project["optional-dependencies"][extra]
    }
    assert {(name, extra) for name, extras in EXTRAS.values() for extra in extras} == stated
    assert project["optional-dependencies"]["all"] == [f"gradflow-suite[{','.join(INSTALLED)}]"]


def test_advice_is_about_extras_only():
    assert advice("x", ModuleNotFoundError(name="mine")) is None
    line = "x needs pyyaml: pip install 'gradflow-suite[sweep]'"
    assert advice("x", ModuleNotFoundError(name="yaml.nodes"), "sweep") == line
