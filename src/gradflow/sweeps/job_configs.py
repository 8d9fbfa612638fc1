"""The configs of a sweep's jobs, composed once for all jobs that differ in values only."""

import copy
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import HydraContext
from omegaconf import Container, DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from gradflow.config import RunConfig
from gradflow.config.hydra_bridge import checked, to_config
from gradflow.config.registry import GROUPS
from gradflow.core.errors import GradflowError

KEYS = {entry.name for entry in fields(RunConfig)}
SCALARS = KEYS - {*GROUPS, "evaluation", "study", "search"}


class _Template(NamedTuple):
    """What the jobs have in common that choose the same groups.

    Attributes:
        config: typed.
        node: the same before that; a value that is set here is checked and converted.
        converted: what became of each value so far, by key and text.
        is_plain: no value refers to another, so that setting one changes that one only. (A job
            whose own values do is composed in full.)
    """

    config: RunConfig
    node: DictConfig
    converted: dict[str, Any]
    is_plain: bool


class JobComposer:
    """Composing takes 0.2 s, and making a config of it 0.1 s, so both are done once for each
    choice of groups."""

    def __init__(self, context: HydraContext, config: DictConfig):
        self._context = context
        self._config = config
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._templates: dict[tuple[str, ...], _Template] = {}
        self._parsed = lru_cache(maxsize=None)(self._parse)

    def compose(self, overrides: Sequence[str], index: int) -> DictConfig:
        """The config of the job number `index`, as Hydra runs it."""
        alike, values = self._split(overrides)
        config = copy.deepcopy(self._base(alike))
        for override in values:
            OmegaConf.update(config, override.key_or_group, override.value())
        with open_dict(config):
            config.hydra.overrides.task = list(overrides)
            config.hydra.job.id = f"{config.hydra.job.name}_{index}"
            config.hydra.job.num = index
        return config

    def typed(self, overrides: Sequence[str]) -> RunConfig:
        """The config of a job: what `to_config` makes of what `compose` returns.

        Raises:
            GradflowError: as `to_config`.
        """
        alike, values = self._split(overrides)
        try:
            found = self._quickly(alike, values)
        except (GradflowError, OmegaConfBaseException):
            found = None  # the other way says what is wrong, if it is not what jobs have in common
        return found or to_config(self.compose(overrides, 0), RunConfig)

    def _quickly(self, alike: tuple[str, ...], values: Sequence[Override]) -> RunConfig | None:
        """None where a job has to be composed in full."""
        if alike not in self._templates:
            composed = self._base(alike)
            node = checked(composed, RunConfig)
            container = OmegaConf.to_container(composed)
            assert isinstance(container, dict)
            plain = {k: v for k, v in container.items() if k != "hydra"}
            self._templates[alike] = _Template(
                to_config(composed, RunConfig), node, {}, "${" not in str(plain)
            )
        template = self._templates[alike]
        changes: dict[str, Any] = {}
        parts: dict[str, dict[str, Any]] = {}
        for override in values:
            key = override.key_or_group
            group, _, name = key.rpartition(".")
            line = override.input_line or ""
            if not template.is_plain or "$" in line or (group or name) not in KEYS:
                return None
            if isinstance(override.value(), dict):  # is merged with what is there
                return None
            if line not in template.converted:
                OmegaConf.update(template.node, key, override.value())
                value = OmegaConf.select(template.node, key)
                if isinstance(value, Container):
                    value = OmegaConf.to_object(value)
                template.converted[line] = value
            value = template.converted[line]
            (parts.setdefault(group, {}) if group else changes)[name] = value
        for group, named in parts.items():
            changes[group] = replace(getattr(template.config, group), **named)
        return replace(template.config, **changes)

    def _base(self, alike: tuple[str, ...]) -> DictConfig:
        if alike not in self._composed:
            load = self._context.config_loader.load_sweep_config
            self._composed[alike] = load(self._config, list(alike))
        return self._composed[alike]

    def _split(self, overrides: Sequence[str]) -> tuple[tuple[str, ...], list[Override]]:
        """What decides which keys there are (is chosen, added or removed), and plain values."""
        parsed = [self._parsed(line) for line in overrides]
        values = [
            o
            for o in parsed
            if o.type == OverrideType.CHANGE
            and ("." in o.key_or_group or o.key_or_group in SCALARS)
        ]
        return tuple(o.input_line or "" for o in parsed if o not in values), values

    def _parse(self, line: str) -> Override:
        [override] = OverridesParser.create(self._context.config_loader).parse_overrides([line])
        return override
