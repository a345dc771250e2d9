"""The commands on pages of the documentation."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
SHELL = {"sh", "bash", "shell", "console"}
"""The languages of fenced blocks with commands."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, and the heading above it."""

    heading: str
    language: str
    text: str


def blocks(text: str) -> Iterator[Block]:
    """Yield every fenced block of a page's text."""
    heading, language = "", None
    lines: list[str] = []
    for line in text.splitlines():
        if fence := re.match(r"\s*```\s*(\w*)", line):
            if language is None:
                language, lines = fence[1], []
            else:
                yield Block(heading, language, "\n".join(lines))
                language = None
        elif language is not None:
            lines.append(line)
        elif title := re.match(r"#+ +(.+)", line):
            heading = title[1]


def scripts(page: str) -> list[Block]:
    """Return the blocks of a page that hold commands."""
    return [block for block in blocks(PAGES[page].read_text()) if block.language in SHELL]
