"""Links of pages to what generated pages are made from, which the site has as those pages.

A page on a code host can link to files of the repository alone; on the site the same link leads to
the page that is made from the file or folder.
"""

import posixpath
import re

PAGES = {
    "CONTRIBUTING.md": "project/contributing.md",
    "conf/data": "reference/data.md",
    "conf/diagnostic": "reference/diagnostic.md",
    "conf/hydra/launcher": "reference/launcher.md",
    "conf/network": "reference/network.md",
    "conf/run.yaml": "reference/run.md",
    "src/gradflow/records/quantities.py": "reference/quantities.md",
    "src/gradflow/records/schema.py": "reference/records.md",
}
"""A file or folder of the repository -> the site's page that is made from it."""
LINK = re.compile(r"(?<=\]\()(?:\.\./)+[^)#\s]+")


def to_pages(text: str, path: str) -> str:
    """The text of the page `path` of docs/ with links to such files as links to their pages."""
    folder = posixpath.dirname(path)

    def renewed(link: re.Match[str]) -> str:
        source = posixpath.normpath(posixpath.join("docs", folder, link[0]))
        return posixpath.relpath(PAGES[source], folder) if source in PAGES else link[0]

    return LINK.sub(renewed, text)
