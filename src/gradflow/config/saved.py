"""A run's config.yaml: written whole, checked against its digest and its run when it is read."""

import hashlib
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

from gradflow.config.validation import Options
from gradflow.core.errors import DamageError, GradflowError
from gradflow.core.files import atomic_file

LINE = re.compile(rb"\A# digest of run (\S+): ([0-9a-f]{64})\n")


def command_of(run: Path) -> str:
    """The command that trains the run in a folder, wherever the folder lies."""
    run = run.absolute()
    words = ["--config-path", str(run), "--config-name", "config"]
    words += [f"output_root={run.parents[1]}", f"study.name={run.parent.name}"]
    return f"gradflow train {shlex.join(words)}"


def write_config(config: dict[str, Any], path: Path) -> None:
    """Write a config with a first line that says which run it is of, and its digest.

    Raises:
        GradflowError: the disk is full or the folder cannot be written to.
    """
    data, run_id = _yaml(config).encode(), path.parent.name
    try:
        with atomic_file(path) as file:
            file.write(f"# digest of run {run_id}: {_digest(data, run_id)}\n".encode() + data)
    except OSError as error:
        raise GradflowError(f"{path}: cannot be written ({error})") from error


@cache
def _dumper() -> type[Any]:
    """PyYAML is imported where a config is written or read, not where records are."""
    import yaml

    class Dumper(yaml.CSafeDumper):  # type: ignore[misc]  # the C library has no stubs
        """Quotes text that some readers of YAML take for a number, such as 1e3."""

        def text(self, value: str) -> yaml.ScalarNode:
            try:
                float(value)
            except ValueError:
                return self.represent_str(value)
            return self.represent_scalar("tag:yaml.org,2002:str", value, style="'")

    Dumper.add_representer(str, Dumper.text)
    Dumper.add_representer(Options, Dumper.represent_dict)
    return Dumper


def _yaml(config: dict[str, Any]) -> str:
    import yaml

    text: str = yaml.dump(config, Dumper=_dumper(), sort_keys=False, allow_unicode=True)
    return text


def read_config(path: Path) -> dict[str, Any]:
    """The values in a run's config.yaml. One of an older version has no digest to be checked.

    Raises:
        DamageError: it is not what was written, or it is of another run.
        GradflowError: it may not be read.
    """
    return _parsed(path, _checked(path)[0])


def check_config(path: Path) -> None:
    """As `read_config`, but a config that has a digest is not parsed, which takes longer.

    Raises:
        DamageError: as `read_config`.
        GradflowError: it may not be read.
    """
    data, sealed = _checked(path)
    if not sealed:
        _parsed(path, data)


def _checked(path: Path) -> tuple[bytes, bool]:
    """The file's bytes, and whether they have a digest, which is right then."""
    try:
        data = path.read_bytes()
    except PermissionError as error:
        raise GradflowError(f"{path}: cannot be read ({error.strerror})") from error
    except OSError as error:
        raise DamageError(f"{path}: cannot be read ({error.strerror})") from error
    line = LINE.search(data)
    if line is None:
        return data, False
    run_id = line[1].decode(errors="replace")
    if _digest(data[line.end() :], run_id) != line[2].decode():
        raise DamageError(f"{path}: is not what was written (its digest differs)")
    if run_id != path.parent.name:
        raise DamageError(f"{path}: is of another run, {run_id}")
    return data, True


def _parsed(path: Path, data: bytes) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.load(data, yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise DamageError(f"{path}: is not what was written ({type(error).__name__})") from error
    if not isinstance(values, dict):
        raise DamageError(f"{path}: is not what was written (no config is in it)")
    return values


def _digest(data: bytes, run_id: str) -> str:
    return hashlib.sha256(data + run_id.encode()).hexdigest()
