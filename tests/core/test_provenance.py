"""A code version changes with what can change a recorded number, and with nothing else."""

import ast
import shutil

import pytest

from gradflow.core.provenance import MODULES, PACKAGE, PURPOSES, code_version, entry_of

FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

HARMLESS = {
    "config/builders.py",
    "config/plugins.py",
    "data/cache.py",
    "training/checkpoint.py",
    "config/__init__.py",
    "config/diagnostics.py",
    "config/needs.py",
    "config/validation.py",
    "config/registry.py",
    "config/run_id.py",
    "core/errors.py",
    "training/origin.py",
    "core/progress.py",
    "records/__init__.py",
    "records/diagnostic_schema.py",
    "records/watched_schema.py",
    "training/pruning.py",
    "core/interrupts.py",
}
"""What code that counts for a run imports although it does not count itself. None of them
computes a number that a run records; of a new one, see that this is true."""


BEFORE = {purpose: code_version(purpose) for purpose in PURPOSES}


def versions(package):
    return {purpose: code_version.__wrapped__(purpose, package) for purpose in PURPOSES}


@pytest.fixture
def package(tmp_path):
    return shutil.copytree(
        PACKAGE, tmp_path / "gradflow", ignore=shutil.ignore_patterns("__pycache__")
    )


def test_every_module_counts_or_does_not_and_the_reason_is_given():
    assert not [name for name in FILES if entry_of(name) is None]
    assert set(MODULES) == {entry_of(name) for name in FILES}  # and nothing that is not there
    assert {purpose for purpose, _ in MODULES.values()} == {None, *PURPOSES}
    assert all(reason for _, reason in MODULES.values())


def test_what_counts_is_computed_by_what_counts():
    counts = {name for name in FILES if MODULES[entry_of(name)][0] == "run"}
    imported = set()
    for name in counts:
        for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gradflow"):
                where = "/".join(node.module.split(".")[1:])
                for part in [where, *(f"{where}/{alias.name}" for alias in node.names)]:
                    part = part.lstrip("/")
                    imported |= {f"{part}.py", f"{part}/__init__.py"} & set(FILES)
            assert not (isinstance(node, ast.Import) and "gradflow" in ast.unparse(node))
    assert imported - counts == HARMLESS


def test_comments_docstrings_and_layout_change_no_version(package):
    for name in FILES:
        path = package / name
        lines = path.read_text().splitlines()
        tree = ast.parse(path.read_text())
        told = [node for node in ast.walk(tree) if isinstance(node, ast.Expr)]
        texts = [node for node in told if isinstance(getattr(node.value, "value", None), str)]
        assert texts, f"{name} has no docstring to change"
        for node in sorted(texts, key=lambda node: -node.lineno):  # from the end, lines shift
            indent = " " * node.col_offset
            lines[node.lineno - 1 : node.end_lineno] = [f'{indent}"""Other', "", 'words."""']
        path.write_text("# a comment\n\n" + "\n\n".join(lines[:1]) + "\n" + "\n".join(lines[1:]))
        assert path.read_text() != (PACKAGE / name).read_text()
    assert versions(package) == BEFORE
    for name in FILES:
        path = package / name
        path.write_text(ast.unparse(ast.parse(path.read_text())))
    assert versions(package) == BEFORE
    (package / "networks" / "blocks.py").rename(package / "networks" / "moved.py")
    assert versions(package) == BEFORE


EDITS = [
    ("networks/layers.py", "run"),
    ("data/batches.py", "run"),
    ("data/arrays.py", "run"),
    ("training/loop.py", "run"),
    ("probes/norms.py", "run"),
    ("training/tasks.py", "run"),
    ("training/schedules/cosine.py", "run"),
    ("training/learning_rate.py", "run"),
    ("core/seeds.py", "run"),
    ("config/run.py", "run"),
    ("diagnostics/lesion.py", "diagnosis"),
    ("theory/mean_field.py", "run"),
    ("acceptance/plain.py", "acceptance"),
    ("verdict/outcome.py", None),
    ("runs/planning.py", None),
]


@pytest.mark.parametrize(("name", "purpose"), EDITS, ids=[name for name, _ in EDITS])
def test_one_operator_changes_what_it_counts_for(package, name, purpose):
    path = package / name
    tree = ast.parse(path.read_text())
    assert change_an_operator(tree)
    path.write_text(ast.unparse(tree))
    after = versions(package)
    changed = [p for p in PURPOSES if after[p] != BEFORE[p]]
    assert changed == list(PURPOSES[PURPOSES.index(purpose) :] if purpose else ())


def change_an_operator(tree):
    swaps = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult}
    swaps |= {ast.RShift: ast.LShift}
    swaps |= {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is}
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in swaps:
            node.op = swaps[type(node.op)]()
            return True
        if isinstance(node, ast.Compare) and type(node.ops[0]) in swaps:
            node.ops[0] = swaps[type(node.ops[0])]()
            return True
    return False


def test_a_module_that_nobody_classified_counts(package):
    (package / "new.py").write_text("x = 1\n")
    assert versions(package)["run"] != BEFORE["run"]
