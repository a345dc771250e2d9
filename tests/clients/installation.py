"""Environments of the official clients: installed once from pinned requirements, then found by their hash.

They are below `official-clients` in the folder of the local stack (`LOCAL_DIR`, or `.local`), because
`.venv` holds what every developer needs and these take 480 MB.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from deploy.local.parts import locked
from deploy.local.processes import local_dir

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements/official-clients.txt"
NPM_PROJECT = Path(__file__).with_name("javascript")
NPM_FILES = ("package.json", "package-lock.json")

MIN_NODE = (20, 18, 1)
"""The oldest Node that the packages run on; package.json has the same."""

COMPLETE = "complete"
"""The file that marks a complete installation."""

Progress = Callable[[str], None]


class NodeMissingError(Exception):
    """Node or npm is not on the path, or too old; install it to run these tests."""


def python_environment(progress: Progress) -> Path:
    """Return the Python of an environment with the Python clients, installed if it is missing."""

    def install(folder: Path) -> None:
        progress("installing the official Python clients, once; it takes about a minute …")
        _run(sys.executable, "-m", "venv", str(folder))
        options = ("--quiet", "--disable-pip-version-check", "--no-input", "--require-hashes")
        _run(str(folder / "bin/python"), "-m", "pip", "install", *options, "-r", str(REQUIREMENTS))

    return _installed("python", (REQUIREMENTS,), sys.version, install) / "bin/python"


def javascript_environment(progress: Progress) -> Path:
    """Return a folder with the JavaScript clients and a copy of our programs for them.

    Node resolves the imports of a program from the folder that contains it; so the programs are copied.

    Raises:
        NodeMissingError: there is no Node, or it is too old.
    """
    version = _node_version()

    def install(folder: Path) -> None:
        progress("installing the official JavaScript clients, once …")
        folder.mkdir()
        for name in NPM_FILES:
            shutil.copy(NPM_PROJECT / name, folder)
        _run("npm", "ci", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund")

    files = tuple(NPM_PROJECT / name for name in NPM_FILES)
    folder = _installed("javascript", files, version, install)
    for program in NPM_PROJECT.glob("*.mjs"):
        shutil.copy(program, folder)
    return folder


def _node_version() -> str:
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NodeMissingError("node and npm are not on the path: the JavaScript clients are not tested.")
    text = _run("node", "--version").strip()
    found = re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)", text)
    if found is None or tuple(map(int, found.groups())) < MIN_NODE:
        oldest = ".".join(map(str, MIN_NODE))
        raise NodeMissingError(f"Node is {text}, older than {oldest}: the JavaScript clients are not tested.")
    return text


def _installed(name: str, files: tuple[Path, ...], version: str, install: Callable[[Path], None]) -> Path:
    """Return the environment for the content of the files; install it if it is missing or incomplete."""
    content = b"\0".join([version.encode(), *(file.read_bytes() for file in files)])
    parent = local_dir().resolve() / "official-clients"
    folder = parent / f"{name}-{sha256(content).hexdigest()[:12]}"
    parent.mkdir(parents=True, exist_ok=True)
    with locked(parent / f"{name}.lock"):
        if not (folder / COMPLETE).exists():
            for older in parent.glob(f"{name}-*"):
                shutil.rmtree(older)
            install(folder)
            (folder / COMPLETE).touch()
    return folder


def _run(*command: str) -> str:
    """Return what a command prints.

    Raises:
        RuntimeError: the command failed; the message has its output.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout
