"""Which optional part of the installation a module belongs to, and what to do without it."""

EXTRAS = {
    "hydra": ("hydra-core", ("sweep",)),
    "omegaconf": ("hydra-core", ("sweep",)),
    "cryptography": ("cryptography", ("sweep",)),
    "dask": ("distributed", ("sweep",)),
    "distributed": ("distributed", ("sweep",)),
    "optuna": ("optuna", ("sweep",)),
    "psutil": ("psutil", ("sweep",)),
    "tqdm": ("tqdm", ("sweep",)),
    "filelock": ("filelock", ("report", "sweep", "data")),
    "scipy": ("scipy", ("report", "sweep")),
    "yaml": ("pyyaml", ("report", "sweep")),
    "jinja2": ("jinja2", ("report",)),
    "markdown_it": ("markdown-it-py", ("report",)),
    "tueplots": ("tueplots", ("paper",)),
    "PIL": ("pillow", ("data",)),
    "sklearn": ("scikit-learn", ("data",)),
}
"""Module -> its distribution, and the extras of gradflow-suite that install it."""


def advice(what: str, error: ModuleNotFoundError, extra: str = "") -> str | None:
    """One line for what needs a module that is not installed; None if no extra has the module.

    Args:
        what: the command or function that was called.
        extra: the one that has most of what it needs, named if it has the module too.
    """
    distribution, homes = EXTRAS.get((error.name or "").partition(".")[0], ("", ()))
    if not homes:
        return None
    chosen = extra if extra in homes else homes[0]
    return f"{what} needs {distribution}: pip install 'gradflow-suite[{chosen}]'"
