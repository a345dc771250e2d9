"""What is found before anything is installed: Node, and its version."""

from pathlib import Path

import pytest

from tests.clients.installation import MIN_NODE, NPM_PROJECT, NodeMissingError, javascript_environment


def on_path(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """Put a node of this version and an npm on an otherwise empty path."""
    for name in ("node", "npm"):
        (folder / name).write_text(f"#!/bin/sh\necho {version}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_missing_node_is_named_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NodeMissingError, match=r"^node and npm are not on the path: .*\.$"):
        javascript_environment(print)


@pytest.mark.parametrize("version", ["v18.20.0", "v20.18.0", "nonsense"])
def test_node_that_is_too_old_is_named_with_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    on_path(tmp_path, monkeypatch, version)
    with pytest.raises(NodeMissingError, match=rf"^Node is {version}, older than 20\.18\.1: "):
        javascript_environment(print)


def test_oldest_node_is_that_of_the_package_file() -> None:
    oldest = ".".join(map(str, MIN_NODE))
    assert f'"node": ">={oldest}"' in (NPM_PROJECT / "package.json").read_text()
