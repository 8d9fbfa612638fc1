"""Before a study: networks that somebody else wrote are built once, and their twins are tested."""

from collections.abc import Iterable

from gradflow.config import RunConfig
from gradflow.data.arrays import shapes
from gradflow.networks.build import assemble
from gradflow.runs.planning import cache_of, check


def try_networks(configs: Iterable[RunConfig]) -> None:
    """Build each distinct network of a study that its own family did not write.

    Raises:
        GradflowError: one cannot be built, or its twin differs in more than the skip.
    """
    tried = set()
    for config in configs:
        asked = config.network, config.data, config.task
        if config.network.TRIED and asked not in tried:
            tried.add(asked)
            check(config)
            data = shapes(config.data, cache_of(config))
            assemble(config.network, data.image, data.classes)
