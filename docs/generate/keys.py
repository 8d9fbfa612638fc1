"""The pages of config keys: type, default, range and meaning, from the config classes."""

from docs.generate.choices import scales, table, values
from gradflow.cli.keys import Key, choices, default_choices, keys_of
from gradflow.config.meanings import GROUPS_MEAN
from gradflow.config.registry import GROUPS

PAGES = {
    "network": ("network",),
    "data": ("data",),
    "optimizer": ("optimizer",),
    "schedule": ("schedule",),
    "probe": ("probe", "details"),
    "diagnostic": ("diagnostic",),
}
"""Page -> the groups on it; the page `run` has all other keys."""

HEAD = ["---", "hide: [toc]", "---"]
ABOUT = {
    "network": "[How to choose a network](../how-to/networks.md) introduces the families.",
    "data": "[How to use CIFAR-10 or your own data](../how-to/data.md) introduces the data sets.",
    "optimizer": "With `muon`, torch's Muon updates matrices, and AdamW vectors.",
    "schedule": "The learning rate is a pure function of the step; its peak is "
    "`optimizer.learning_rate`. `warmup_cosine` ends at peak / 1e4; torch's `OneCycleLR` ends 25 "
    "times lower by default.",
    "probe": "`probe` says at which steps gradients are measured, `details` at which the sparse "
    "tables are recorded. Both take the same schedules.",
    "diagnostic": "[How to diagnose a trained network](../how-to/diagnose.md) introduces them.",
}


def pages() -> dict[str, str]:
    """Name of a page -> its text."""
    keys = keys_of("run")
    grouped = {group for groups in PAGES.values() for group in groups}
    made = {"run": _run([key for key in keys if key.group not in grouped])}
    for page, groups in PAGES.items():
        made[page] = _page(page, groups, keys)
    return made


def _run(keys: list[Key]) -> str:
    lines = [
        *HEAD,
        "# Keys of a run",
        "",
        "Every key of `gradflow train`, `study` and `sweep` that belongs to no group of choices. A",
        "key is set on the command line as `key=value`; a comma makes a sweep, `a,b`.",
        "",
        *_table(keys),
        "",
        "## Groups of choices",
        "",
        "| group | chooses | default | choices |",
        "| --- | --- | --- | --- |",
    ]
    defaults = default_choices("run")
    for page, groups in PAGES.items():
        for group in groups:
            lines.append(
                f"| [`{group}`]({page}.md) | {GROUPS_MEAN[group]} | `{defaults[group]}` | "
                f"{_code(choices('run', group))} |"
            )
    about = "`scale=` replaces a study's values; keys that it sweeps stay swept."
    lines += ["", "## Scale", "", about, "", *scales(), "", *_others()]
    return "\n".join(lines) + "\n"


def _others() -> list[str]:
    lines = ["## Keys of other commands", ""]
    for command in ("describe", "diagnose", "acceptance"):
        own = [key for key in keys_of(command) if key.group == ""]
        lines += [f"### `gradflow {command}` {{ #{command} }}", "", *_table(own), ""]
    return lines


def _page(page: str, groups: tuple[str, ...], keys: list[Key]) -> str:
    default = default_choices("run")[groups[0]]
    lines = [*HEAD, f"# Keys of {page}s" if page != "data" else "# Keys of data", ""]
    lines += [f"`{groups[0]}=` chooses one of these; default `{default}`. {ABOUT[page]}", ""]
    lines += [*table(groups[0]), "", "## Keys", ""]
    for group in groups:
        lines += _table([key for key in keys if key.group == group], of=tuple(GROUPS[group]))
        lines += [""]
    lines += values() if page == "network" else []
    return "\n".join(lines) + "\n"


def _table(keys: list[Key], of: tuple[str, ...] = ()) -> list[str]:
    """Rows of keys, with the choices that have each if those are not all."""
    head = ["key", "default", "values", "meaning", *(["of which choices"] if of else [])]
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for key in keys:
        meaning = key.meaning.replace("|", "\\|")
        cells = [f"`{key.full_name}`", key.default and f"`{key.default}`", key.valid, meaning]
        if of:
            cells.append(_only(key.choices, of))
        lines.append(f"| {' | '.join(cells)} |")
    return ['<div class="keys" markdown>', "", *lines, "", "</div>"]


def _only(having: tuple[str, ...], of: tuple[str, ...]) -> str:
    """The choices that have a key, or those that lack it if they are fewer; "" if none does."""
    lacking = tuple(name for name in of if name not in having)
    if len(lacking) < len(having):
        return f"not {_code(lacking)}" if lacking else ""
    return _code(having)


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)
