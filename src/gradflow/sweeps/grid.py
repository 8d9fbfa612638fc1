"""The jobs of a sweep: a grid of values, or a union of variants that set several keys at once."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from gradflow.core.errors import GradflowError, shown
from gradflow.sweeps.options import whole

Values = Mapping[str, Any]  # key -> a value, or several as in a=1,2


class GridSweeper(BasicSweeper):
    """Hydra's own, with variants.

    The launcher checks each config before the first run, so Hydra need not compose them all
    once more to see whether they are legal.

    Args:
        params: key -> values, as a study's file gives them.
        variants: the keys that differ together, a mapping for each; null: none do.
    """

    def __init__(
        self,
        max_batch_size: int | None,
        params: Values | None = None,
        variants: Sequence[Values] | None = None,
    ):
        if max_batch_size is not None:
            whole("hydra.sweeper.max_batch_size", max_batch_size, 1)
        super().__init__(max_batch_size, dict(mapping("params", params or {})))
        self.variants = mappings(variants)

    def split_arguments(  # type: ignore[override]  # there it is static and knows no variants
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """The jobs' overrides, in batches that are launched together."""
        assert self.hydra_context is not None
        parser = OverridesParser.create(self.hydra_context.config_loader)
        count = len(self.params)
        jobs = jobs_of(parser, overrides[:count], self.variants, overrides[count:])
        if not jobs:
            empty = [o.input_line for o in overrides if not _texts(o)]
            raise GradflowError(f"{' '.join(map(str, empty)) or 'variants'}: no value, so no run")
        return list(BasicSweeper.split_overrides_to_chunks(jobs, max_batch_size))

    def _parse_config(self) -> list[str]:
        return written(self.params)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Nothing: the launcher checks all configs before any run."""
        return


def jobs_of(
    parser: OverridesParser,
    params: Sequence[Override],
    variants: Sequence[Values] | None,
    given: Sequence[Override],
) -> list[list[str]]:
    """Every combination of `params` and what is `given`, within each of the variants.

    Of a key that is set twice the variant beats `params`, and what is given beats both. If each
    value given for a key is in some variant, it chooses: a variant has those of its own values.
    """
    each = [parser.parse_overrides(written(variant)) for variant in variants or [{}]]
    listed = [{key: set(texts) for key, texts in values_of(own).items()} for own in each]
    chosen = values_of(given)
    choosing = {
        key
        for key, texts in chosen.items()
        if set(texts) <= set().union(*(own.get(key, set()) for own in listed))
    }
    jobs: dict[frozenset[str], list[str]] = {}
    for own, values in zip(each, listed, strict=True):
        [product] = BasicSweeper.split_arguments([*params, *own, *given], None)
        rules = [values[key] for key in choosing & values.keys()]
        # Where the command line sets all that distinguishes two variants, they are one.
        for job in product:
            if all(allowed.intersection(job) for allowed in rules):
                jobs.setdefault(frozenset(job), job)
    return list(jobs.values())


def values_of(overrides: Sequence[Override]) -> dict[str, list[str]]:
    """Of each key its values, written as key=value."""
    return {override.get_key_element(): _texts(override) for override in overrides}


def _texts(override: Override) -> list[str]:
    [product] = BasicSweeper.split_arguments([override], None) or [[]]
    return [text for [text] in product]


def mapping(name: str, value: Any) -> Values:
    """A sweeper's option that has keys and values.

    Raises:
        GradflowError: it has none.
    """
    if not isinstance(value, Mapping):
        raise GradflowError(
            f"hydra.sweeper.{name}={shown(value)}: must have keys, such as {{network.depth: 8}}"
        )
    return value


def mappings(value: Any) -> list[Values]:
    """`variants` as a list.

    Raises:
        GradflowError: it is none, or one of them has no keys.
    """
    if value is not None and (isinstance(value, str) or not isinstance(value, Sequence)):
        raise GradflowError(f"hydra.sweeper.variants={shown(value)}: must be a list")
    return [mapping("variants", one) for one in value or ()]


def written(values: Values) -> list[str]:
    """Keys and values as they would be typed on the command line."""
    return [f"{key}={'null' if value is None else value}" for key, value in values.items()]
