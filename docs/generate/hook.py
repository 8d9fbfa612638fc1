"""What `mkdocs build` calls: it adds the generated pages, and refuses a site with a gap."""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

from docs.generate import api, commands, coverage, gallery, keys, links, records
from gradflow.analysis.readme import NUMBER, renewed
from gradflow.core.errors import GradflowError
from gradflow.records.quantities import reference as quantities

SHIM = re.compile(r"https://[\w.]+/iframe-worker/shim")
ROOT = Path(__file__).parents[2]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    made = {
        "reference/api.md": api.page(),
        "reference/commands.md": commands.page(),
        "reference/launcher.md": commands.launchers(ROOT),
        "reference/records.md": records.page(),
        "reference/quantities.md": quantities(),
        **{f"reference/{name}.md": text for name, text in keys.pages().items()},
        "project/contributing.md": (ROOT / "CONTRIBUTING.md").read_text(),
        "project/changelog.md": (ROOT / "CHANGELOG.md").read_text(),
    }
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in the gallery; compare tables and numbers with docs/tables."""
    path = page.file.src_path
    if page.file.generated_by is None:
        try:
            stale = renewed(f"docs/{path}", ROOT) != (ROOT / "docs" / path).read_text()
        except GradflowError as error:
            raise PluginError(str(error)) from error
        if stale:
            raise PluginError(f"docs/{path}: not what docs/tables has: python analysis/readme.py")
    if path.startswith("how-to/"):
        page.meta.setdefault("search", {"boost": 2})  # who searches has something to do
    text = NUMBER.sub(r"\6", text)  # the number alone
    text = links.to_pages(text, path)
    if path == "gallery/index.md":
        order = re.findall(r"gallery/(\w+)\.md", str(config.nav))
        return re.sub(
            r"<!-- gallery -->.*<!-- end -->", lambda _: gallery.grid(order), text, flags=re.S
        )
    if path.startswith("gallery/"):
        return gallery.with_facts(text, page.meta)
    return text


def on_post_page(html: str, page: Page, config: MkDocsConfig) -> str:
    """Search on pages opened from a folder is by our worker.js, not by a script of others."""
    return SHIM.sub(get_relative_url("worker.js", page.url), html)


def on_post_template(html: str, template_name: str, config: MkDocsConfig) -> str:
    """The same on the page 404.html."""
    return SHIM.sub("worker.js", html)


def on_env(env: Any, config: MkDocsConfig, files: Files) -> None:
    """Refuse a site on which a public name, a command or a study has no page."""
    pages = {f.src_path: f.content_string for f in files.documentation_pages()}
    missing = coverage.missing(pages)
    if missing:
        raise PluginError("\n".join(["on no page:", *missing]))
