"""The images as deploy/Dockerfile builds them, compared without building one."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .compose import FOREIGN, ROOT, SETTINGS, Config

DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
STAGE = re.compile(r"^FROM (\S+)(?: AS (\S+))?$(.*?)(?=^FROM |\Z)", re.MULTILINE | re.DOTALL)
STAGES = {name or "": (base, body) for base, name, body in STAGE.findall(DOCKERFILE)}
PROGRAMS = sorted(name for name, (_, body) in STAGES.items() if "ENTRYPOINT" in body)


def copied(stage: str) -> Iterator[tuple[str, str]]:
    """Yield source and target of each path that a stage, or a stage below it, copies from the repository."""
    while stage in STAGES:
        stage, body = STAGES[stage]
        yield from re.findall(r"^COPY (?!--)(\S+) (\S+)$", body, re.MULTILINE)


def entrypoint(stage: str) -> list[str]:
    (exec_form,) = re.findall(r"^ENTRYPOINT (\[.*\])$", STAGES[stage][1], re.MULTILINE)
    return list(json.loads(exec_form))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each program a folder with the files of the repository that its image contains."""
    folders = {}
    for program in PROGRAMS:
        folders[program] = folder = tmp_path_factory.mktemp(program)
        for source, target in copied(program):
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, folder / target)
            else:
                shutil.copy(ROOT / source, folder / target)
    return folders


def test_each_program_has_an_image(trial: dict[str, Config]) -> None:
    built = {service["build"]["args"]["SERVICE"] for service in trial.values() if "build" in service}
    requirements = {path.stem for path in (ROOT / "requirements").glob("*.txt")} - {"dev", "official-clients"}
    assert set(PROGRAMS) == built == requirements == {*SETTINGS.keys() - {"topics"}, "simulator"}
    assert {name for name, service in trial.items() if "build" not in service} == FOREIGN


def test_foreign_images_are_pinned_by_version(trial: dict[str, Config]) -> None:
    pinned = re.compile(r"(apache/kafka|mongo):\d+\.\d+\.\d+")
    assert [
        trial[name]["image"] for name in sorted(FOREIGN) if not pinned.fullmatch(trial[name]["image"])
    ] == []
    [python] = re.findall(r"^ARG PYTHON=(.*)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"3\.\d+\.\d+-slim-[a-z]+", python)
    assert {base for base, _ in STAGES.values()} <= {"python:${PYTHON}", "${SERVICE}", *STAGES}


def test_images_run_as_an_unprivileged_user() -> None:
    last = list(STAGES)[-1]
    assert last == "", "the last stage has no name"
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert "USER 10001:10001" in STAGES[last][1]
    assert "--require-hashes" in STAGES["installed"][1]


ALL_IMPORTED = "all modules are imported"
IMPORT_ALL_AND_START = """
import importlib, json, pkgutil, re, runpy, sys
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions

pinned, packages, left_out, imported = json.load(sys.stdin)
of = packages_distributions()

class Installed(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in of and not any(re.sub("[-_.]+", "-", each).lower() in pinned for each in of[top]):
            return None  # as for an absent package: a library may also check whether a package is there
        return super().find_spec(name, path, target)

sys.meta_path = [Installed if finder is PathFinder else finder for finder in sys.meta_path]
for package in packages:
    found = importlib.import_module(package)
    for module in pkgutil.walk_packages(getattr(found, "__path__", []), package + "."):
        if module.name not in left_out:
            importlib.import_module(module.name)
assert not sys.modules.keys() & set(left_out), "the program imports a module that is left out"
print(imported, flush=True)
del sys.modules[packages[-1] + ".__main__"]
runpy.run_module(packages[-1], run_name="__main__", alter_sys=True)
"""
"""Imports these packages with all their modules, as if only the pinned distributions were installed, and then
runs the last one as `python -m` does."""

DRIVER = ["shared.mongodb", "shared.mongodb_collection", "shared.mongodb_errors"]
LEFT_OUT = {"matcher": [*DRIVER, "shared.time_zones"], "tracking": ["shared.time_zones"]}
"""Modules of `shared` that a program does not use, and whose packages its image therefore lacks."""


@pytest.fixture(scope="module", params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def ran(program: str, images: dict[str, Path]) -> "subprocess.CompletedProcess[str]":
    """The program, started in its image with a bad setting after all its modules were imported."""
    *python_m, module = entrypoint(program)
    assert python_m == ["python", "-m"]
    packages = ["shared", module] if program != "simulator" else [module]
    pinned = re.findall(
        r"^([\w.-]+?)(?:\[\S*\])?==", (ROOT / f"requirements/{program}.txt").read_text(), re.MULTILINE
    )
    left_out = LEFT_OUT.get(program, [])
    return subprocess.run(
        [sys.executable, "-c", IMPORT_ALL_AND_START],
        cwd=images[program],
        env={listen_setting(program): "none"},
        input=json.dumps([[normalized(name) for name in pinned], packages, left_out, ALL_IMPORTED]),
        capture_output=True,
        text=True,
        check=False,
    )


def listen_setting(program: str) -> str:
    return "SIMULATOR_LISTEN" if program == "simulator" else "PORT"


def test_image_has_all_files_and_packages_that_its_program_imports(
    ran: "subprocess.CompletedProcess[str]",
) -> None:
    assert ran.stdout == f"{ALL_IMPORTED}\n", ran.stderr


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_image_starts_its_program(program: str, ran: "subprocess.CompletedProcess[str]") -> None:
    assert (ran.returncode, listen_setting(program) in ran.stderr) == (2, True), ran.stderr


def test_image_contains_the_command_that_creates_topics(
    trial: dict[str, Config], images: dict[str, Path]
) -> None:
    python, *arguments = trial["topics"]["entrypoint"] + trial["topics"]["command"]
    assert python == "python"
    image = images[trial["topics"]["build"]["args"]["SERVICE"]]
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=image,
        env={"KAFKA_REPLICATION": "none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, "KAFKA_REPLICATION" in ran.stderr) == (2, True), ran.stderr


def test_build_context_has_only_copied_paths() -> None:
    lines = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert lines[0] == "*", "everything is excluded, except the lines below"
    included = {line.removeprefix("!") for line in lines if line.startswith("!")}
    sources = [source for stage in (*PROGRAMS, "installed") for source, _ in copied(stage)]
    assert included == {source.partition("/")[0] for source in sources}
