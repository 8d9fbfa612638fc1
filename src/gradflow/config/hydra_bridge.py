"""Where Hydra ends: its schema, its DictConfig made a typed config, its errors made one line."""

import difflib
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import MISSING as REQUIRED
from dataclasses import asdict, field, fields, is_dataclass, make_dataclass
from pathlib import Path
from typing import Any, TypeVar

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import MISSING, BooleanNode, DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    OmegaConfBaseException,
    ValidationError,
)

from gradflow.config.acceptance import AcceptanceConfig
from gradflow.config.conf_folder import CONF
from gradflow.config.plugins import load_plugins
from gradflow.config.plugins_named import listed, plugins_named
from gradflow.config.registry import GROUPS, present_name
from gradflow.config.run import DescribeConfig, DiagnoseConfig, RunConfig
from gradflow.config.saved import read_config, write_config
from gradflow.config.validation import saved_config
from gradflow.config.words import check_options, check_root, from_here, refuse_sweep, roots
from gradflow.core.door import of_path, one_line
from gradflow.core.errors import DamageError, GradflowError, UnreadError, shown
from gradflow.core.interrupts import LINE, Killed, leave_at_once, limited, say

Root = TypeVar("Root")


ROOTS = {
    "schema": RunConfig,
    "schema_describe": DescribeConfig,
    "schema_diagnose": DiagnoseConfig,
    "schema_acceptance": AcceptanceConfig,
}
"""The schemas of whole configs, by the name that conf/*.yaml uses."""


def register_schema() -> None:
    """Put every config class where the YAML files' defaults lists find it.

    A choice needs no YAML file: without one, `group=name` gives the defaults of its class. (With
    one, Hydra would take the file and warn of the other.)
    """
    store = ConfigStore.instance()
    for name, root in ROOTS.items():
        # A group is typed by the schema that its YAML file names, so the root leaves it open.
        groups = [(group, Any, field(default=MISSING)) for group in _groups(root)]
        opened = make_dataclass(root.__name__, groups, bases=(root,), frozen=True)
        store.store(name=name, node=_schema(opened))
    for group, choices in GROUPS.items():
        for name, choice in choices.items():
            node = _schema(choice.config)
            store.store(group=group, name=f"schema_{name}", node=node)
            if not (CONF / group / f"{name}.yaml").exists():
                store.store(group=group, name=name, node=node)


def to_config(cfg: DictConfig, root: type[Root]) -> Root:
    """Check a composed config against a fresh schema and return it as plain frozen values.

    The second check is not redundant: Hydra lets `+key=value` add keys that no schema has.

    Raises:
        GradflowError: an unknown key, a wrong type or a value out of its range.
    """
    try:
        config = OmegaConf.to_object(checked(cfg, root))
    except OmegaConfBaseException as error:
        if isinstance(cause := error.__cause__, UnreadError):
            raise cause from error
        raise GradflowError(text_of(error)) from error
    assert isinstance(config, root)
    return config


def checked(cfg: DictConfig, root: type) -> DictConfig:
    """A composed config in a fresh schema: types are checked, ranges are not.

    Raises:
        GradflowError: a group has no such choice.
        OmegaConfBaseException: an unknown key or a wrong type.
    """
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    plain.pop("hydra", None)
    schema = _schema(root)
    optional = {entry.name for entry in fields(root) if entry.default_factory is not REQUIRED}
    for group in _groups(root):
        if group in optional and group not in plain:
            continue  # a config that was saved before there was such a group
        given = plain.get(group, "none")
        of_name = isinstance(given, dict)
        key, name = (f"{group}.name", given.get("name")) if of_name else (group, given)
        if not isinstance(name, str) or name not in GROUPS[group]:
            valid = ", ".join(GROUPS[group])
            raise GradflowError(f"{key}={shown(name)}: choose one of {valid}")
        schema[group] = _schema(GROUPS[group][name].config)
    merged = OmegaConf.merge(schema, plain)
    assert isinstance(merged, DictConfig)
    return merged


def load_run_config(path: Path) -> RunConfig:
    """The config that a run folder keeps in its config.yaml.

    The plugins that it names are imported.

    Raises:
        GradflowError: as `gradflow.config.saved.read_config` and `to_config`; names the file. A
            plugin cannot be imported.
    """
    values = read_config(path)
    if values.get("plugins"):
        load_plugins(listed(values["plugins"], f"{path}: plugins"))
    try:
        for group in _groups(RunConfig):
            chosen = values.get(group)
            if isinstance(chosen, dict) and "name" in chosen:
                chosen["name"] = present_name(group, str(chosen["name"]))
        with saved_config():
            return to_config(OmegaConf.create(values), RunConfig)
    except (GradflowError, OmegaConfBaseException, TypeError, AttributeError) as error:
        raise DamageError(f"{path}: is no config of a run ({text_of(error)})") from error


def save_run_config(config: RunConfig, path: Path) -> None:
    """Write a config as YAML; `load_run_config` reads it back equal.

    Raises:
        GradflowError: the disk is full or the folder cannot be written to.
    """
    write_config(asdict(config), path)


def call(function: Callable[[Root], Any], cfg: DictConfig, root: type[Root]) -> Any:
    """`function` of the checked config; what a Hydra task function does.

    In a single run the user's mistake ends the process with one line. In a sweep it is
    raised, so that the launcher can continue with the other runs.
    """
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return function(to_config(cfg, root))
    with one_line():
        return function(to_config(cfg, root))


def end_in_one_line(app: Callable[[], Any], *, sweeps: bool = True) -> None:
    """Run a Hydra application; a user's mistake is one line on stderr and exit status 1.

    Args:
        sweeps: whether -m is for it; Hydra would leave a folder where it was called.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting
    with one_line():
        try:
            if not sweeps:
                refuse_sweep(sys.argv)
            check_options(sys.argv)
            from_here(sys.argv)
            check_root(sys.argv)
            if named := plugins_named(sys.argv):  # before composing: choices may be theirs
                load_plugins(named)
                register_schema()
            with limited():
                app()
        except (HydraException, OmegaConfBaseException) as error:
            raise GradflowError(text_of(error)) from error
        except KeyboardInterrupt as interrupt:
            leave_at_once()
            say(f"{LINE}; {interrupt}" if isinstance(interrupt, Killed) else LINE)
            sys.exit(1)
        except Exception as error:
            if isinstance(error, FileNotFoundError) and error.filename in roots(sys.argv):
                raise GradflowError(f"output_root={of_path(error)}") from error
            if not _raised_by_hydra(error):
                raise
            words = shown(" ".join(sys.argv[1:]), 300)
            why = f"{type(error).__name__}: {text_of(error)}"
            raise GradflowError(f"{words}: Hydra cannot make a config of it ({why})") from error


def _raised_by_hydra(error: BaseException) -> bool:
    """Whether Hydra or OmegaConf stumbled: no code of ours, nor of what it calls, was reached."""
    innermost = traceback.extract_tb(error.__traceback__)[-1].filename
    return not {"hydra", "omegaconf", "antlr4"}.isdisjoint(Path(innermost).parts)


def text_of(error: BaseException) -> str:
    """What is wrong and what would be valid, from Hydra's and OmegaConf's longer messages."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        options = sorted({o for o in error.options if not o.startswith("schema")})
        return (
            f"{error.missing_cfg_file}: no such file in conf/; choose one of {', '.join(options)}"
        )
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, GradflowError):
            return str(cause)
        if isinstance(cause, ConfigKeyError | ConfigAttributeError):
            return _unknown_key(cause)
        if isinstance(cause, OmegaConfBaseException) and cause.full_key:
            return f"{cause.full_key}: {str(cause).splitlines()[0]}"
        cause = cause.__cause__
    return " ".join(str(error).split())


class _Boolean(BooleanNode):
    """Takes 0 and 1, but no other number: OmegaConf takes each for true."""

    def _validate_and_convert_impl(self, value: Any) -> bool:
        if isinstance(value, int) and value not in (0, 1):
            raise ValidationError("Value '$VALUE' is not a valid bool (type $VALUE_TYPE)")
        return super()._validate_and_convert_impl(value)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Boolean":
        copied = _Boolean()
        self._deepcopy_impl(copied, memo)
        return copied


def _unknown_key(error: OmegaConfBaseException) -> str:
    valid = sorted(map(str, error.parent_node or ()))  # a node iterates over its keys
    near = difflib.get_close_matches(str(error.key), valid, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{error.full_key}: no such key; {hint}valid here: {', '.join(valid)}"


def _groups(root: type) -> list[str]:
    assert is_dataclass(root)
    return [entry.name for entry in fields(root) if entry.name in GROUPS]


def _schema(cls: type) -> DictConfig:
    """A config class as a node that Hydra may still write to (a frozen class is read-only), and
    whose truth values are strict."""
    node = OmegaConf.structured(cls)
    assert isinstance(node, DictConfig)
    _unlock(node)
    return node


def _unlock(node: DictConfig) -> None:
    node._set_flag("readonly", None)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_missing():
            _unlock(child)
            if child._metadata.object_type is dict:  # any key may be set in it
                child._set_flag("struct", False)
        elif type(child) is BooleanNode:
            value, optional = child._value(), child._is_optional()
            node._content[key] = _Boolean(value, key, node, optional)  # type: ignore[index]  # a dict, as the node is not missing
