"""Compares the imports of each program with its own extra in pyproject.toml.

deptry compares the whole tree with all extras at once, so it cannot find a package that one image lacks
because only another program declares it. This check computes for each program the modules that its image
can run: its package, the modules of `shared` that have a `__main__` block, and everything of `shared` that
these import. The packages that these modules import and the packages of the extra must be the same.

    python -m checks.dependencies      prints one line per difference; status 1 if there is any
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]

PROGRAMS: Mapping[str, str] = {
    "mail-ingest": "services/mail_ingest",
    "matcher": "services/matcher",
    "tracking": "services/tracking",
    "simulator": "simulator/__main__.py",
}
"""Extra in pyproject.toml -> the program whose image has this extra: a package, or its first module."""

_PARSER = "uvicorn's HTTP parser; uvicorn imports it where it is installed"
_ZONES = "time zones for zoneinfo, which opens them by name; a slim image may have none"

NEVER_IMPORTED: Mapping[str, Mapping[str, str]] = {
    "mail-ingest": {"tzdata": _ZONES},
    "matcher": {},
    "tracking": {},
    "simulator": {
        "httptools": _PARSER,
        "tzdata": _ZONES,
        "uvloop": "uvicorn's event loop; uvicorn imports it where it is installed",
    },
}
"""Packages that an extra declares although no module imports them, with the reason."""


def normalise(name: str) -> str:
    """Returns a package's name in the form that names are compared in (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def extra_packages(extra: str, pyproject: Path = ROOT / "pyproject.toml") -> set[str]:
    """Returns the normalised names of an extra's packages, including those of the extras that it contains."""
    extras = tomllib.loads(pyproject.read_text())["project"]["optional-dependencies"]
    packages: set[str] = set()
    for requirement in extras[extra]:
        if contained := re.fullmatch(r"auto-capture\[(.+)\]", requirement):
            for name in contained[1].split(","):
                packages |= extra_packages(name.strip(), pyproject)
        else:
            packages.add(normalise(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]))
    return packages


def imported_modules(path: Path, root: Path) -> Iterator[str]:
    """Yields the absolute name of every module that a file imports at run time.

    `from a import b` yields `a` and `a.b`, because b may be a module. Imports under
    `if TYPE_CHECKING:` are left out, because they do not run.
    """
    package = path.relative_to(root).parts[:-1]  # relative imports start here, in an __init__.py as well
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        match waiting.pop():
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=orelse):
                waiting += orelse
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=module, level=level, names=names):
                start = package[: len(package) - level + 1] if level else ()
                base = ".".join((*start, *([module] if module else [])))
                yield base
                yield from (f"{base}.{name.name}" for name in names)
            case node:
                waiting += ast.iter_child_nodes(node)


def _file(module: str, root: Path) -> Path | None:
    """Returns the file of a module of this repository, or None if there is none."""
    path = root / module.replace(".", "/")
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _files(module: str, root: Path) -> Iterator[Path]:
    """Yields the files that run when a module is imported: its own and those of the packages around it."""
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        if file := _file(".".join(parts[:length]), root):
            yield file


def _is_command(path: Path) -> bool:
    return 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")


def program_files(program: str, root: Path = ROOT) -> set[Path]:
    """Returns all files that a program can run: its own, and the part of `shared` that they reach."""
    start = root / program
    waiting = {start} if start.is_file() else set(start.rglob("*.py"))
    if program.startswith("services/"):  # the images of services contain `shared`, with its commands
        waiting |= {path for path in (root / "shared").rglob("*.py") if _is_command(path)}
    reached: set[Path] = set()
    while waiting:
        path = waiting.pop()
        reached.add(path)
        for module in imported_modules(path, root):
            if module.split(".")[0] in {"shared", program.split("/", maxsplit=1)[0]}:
                waiting |= set(_files(module, root)) - reached
    return reached


def imported_packages(files: set[Path], root: Path = ROOT) -> dict[str, str]:
    """Returns the packages that files import: normalised name -> one file that imports it.

    A module that no installed package has stands for itself, so that the comparison fails.
    """
    installed = packages_distributions()
    own = {path.name for path in root.iterdir() if path.is_dir()}
    packages: dict[str, str] = {}
    for path in sorted(files):
        for module in imported_modules(path, root):
            name = module.split(".")[0]
            if name not in own and name not in sys.stdlib_module_names:
                package = normalise(installed.get(name, [name])[0])
                packages.setdefault(package, str(path.relative_to(root)))
    return packages


def differences(extra: str, program: str, root: Path = ROOT) -> list[str]:
    """Returns one sentence for each package that an extra lacks, or declares without need."""
    declared = extra_packages(extra, root / "pyproject.toml")
    imported = imported_packages(program_files(program, root), root)
    lacks = [
        f"{extra}: {file} imports {package}, which the extra does not declare"
        for package, file in sorted(imported.items())
        if package not in declared
    ]
    exempt = NEVER_IMPORTED.get(extra, {}).keys()
    unused = [
        f"{extra}: the extra declares {package}, which nothing imports"
        for package in sorted(declared - imported.keys() - exempt)
    ]
    stale = [
        f"{extra}: NEVER_IMPORTED lists {package}, which is imported or not declared"
        for package in sorted(exempt - (declared - imported.keys()))
    ]
    return lacks + unused + stale


def main() -> int:
    """Prints the differences of all programs and returns the exit status."""
    found = [line for extra, program in PROGRAMS.items() for line in differences(extra, program)]
    print(
        "\n".join(found) or f"dependencies: {len(PROGRAMS)} programs import exactly what their extras declare"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
