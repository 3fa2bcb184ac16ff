"""A hook of mkdocs: links from the pages to files of the repository work in a checkout and on the built site.

A page writes `[text](../kernels/ir/plan.py)`, which leads to the file in a checkout. On the site such a link leads to
the file in the repository's web view, and a picture becomes a part of the site.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(\]\()\.\./([^)#\s]+)([^)]*\))")
PICTURES = ("bench/results/*.png", "examples/*.png")


def on_files(files: Any, config: Any) -> Any:
    """Add the pictures that pages show."""
    for pattern in PICTURES:
        for picture in sorted(ROOT.glob(pattern)):
            path = picture.relative_to(ROOT).as_posix()
            files.append(File(path, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Rewrite a page's links to files outside of docs/. Raise PluginError for a file that does not exist."""

    def rewritten(match: re.Match[str]) -> str:
        start, path, end = match.groups()
        target = ROOT / path
        if not target.exists():
            raise PluginError(f"{page.file.src_path}: the link to ../{path} leads nowhere")
        if target.suffix == ".png":
            return f"{start}{path}{end}"
        return f"{start}{config.repo_url}/{'tree' if target.is_dir() else 'blob'}/main/{path}{end}"

    return LINK.sub(rewritten, markdown)
