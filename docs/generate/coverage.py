"""What has to be on a page: every public name, command and study."""

import re
from collections.abc import Mapping

import gradflow
from docs.generate import gallery
from gradflow.cli import COMMANDS
from gradflow.config.conf_folder import STUDIES

GENERATED = "reference/"


def missing(pages: Mapping[str, str]) -> list[str]:
    """The public names, commands and studies that are on no page that somebody wrote.

    Args:
        pages: path below docs/ -> source text; generated pages among them.
    """
    written = "\n".join(text for path, text in pages.items() if not path.startswith(GENERATED))
    written += pages.get("reference/alerts.md", "")
    names = [f"gradflow.{name}" for name in gradflow.__all__ if not name.startswith("__")]
    found = [name for name in names if not re.search(rf"\b{re.escape(name)}\b", written)]
    found += [
        f"gradflow {name}" for name in COMMANDS if not re.search(rf"gradflow {name}\b", written)
    ]
    shown = {entry.path.stem for entry in gallery.entries()}
    studies = sorted(path.stem for path in STUDIES.glob("*.yaml"))
    found += [f"study {name}: docs/gallery/{name}.md" for name in studies if name not in shown]
    return found
