"""The files that the checks read."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def tracked_files(root: Path = ROOT) -> list[Path]:
    """Returns the files that git tracks or would track, without those that are deleted or ignored.

    For a directory that is not a git work tree, such as an unpacked archive, it returns all files.
    """
    if not (root / ".git").exists():
        return sorted(path for path in root.rglob("*") if path.is_file())
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    return [path for name in sorted(set(listed.split("\0"))) if name and (path := root / name).is_file()]


def tracked_and_ignored(root: Path = ROOT) -> list[str]:
    """The files that git tracks and ignores: a checkout of one silently replaces what lies there."""
    if not (root / ".git").exists():
        return []
    command = ["git", "ls-files", "-z", "--cached", "--ignored", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name]
