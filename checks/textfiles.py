"""Compares every text file of the repository with .editorconfig.

The properties `charset`, `end_of_line`, `insert_final_newline`, `trim_trailing_whitespace` and `indent_style`
are checked. `indent_size` is for editors only: ruff format checks it in Python, and other languages align.
A file that git tracks and ignores, such as a link to a virtual environment, is a problem too.

    python -m checks.textfiles      prints file:line: problem; status 1 if there is any
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import editorconfig

from checks.tree import ROOT, tracked_and_ignored, tracked_files

BINARY = {".png"}


def problems(path: Path) -> Iterator[tuple[int, str]]:
    """Yields line and description of each difference between a file and its properties in .editorconfig."""
    wanted = editorconfig.get_properties(str(path))
    content = path.read_bytes()
    try:
        content.decode(wanted.get("charset", "utf-8"))
    except UnicodeDecodeError as error:
        yield content[: error.start].count(b"\n") + 1, f"not {error.encoding}"
        return
    lines = content.split(b"\n")
    if wanted.get("insert_final_newline") == "true" and content and not content.endswith(b"\n"):
        yield len(lines), "no newline at the end of the file"
    for number, line in enumerate(lines, start=1):
        if wanted.get("end_of_line") == "lf" and line.endswith(b"\r"):
            yield number, "line ends with CR LF"
        elif wanted.get("trim_trailing_whitespace") == "true" and line != line.rstrip(b" \t"):
            yield number, "white space at the end of the line"
        if wanted.get("indent_style") == "space" and line.startswith(b"\t"):
            yield number, "indented with a tab"


def main() -> int:
    """Prints the problems of all text files and returns the exit status."""
    files = [path for path in tracked_files() if path.suffix not in BINARY]
    found = [
        f"{path.relative_to(ROOT)}:{line}: {problem}" for path in files for line, problem in problems(path)
    ]
    found += [f"{name}: is tracked, and .gitignore names it" for name in tracked_and_ignored()]
    print("\n".join(found) or f"text files: {len(files)} are as .editorconfig describes")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
