"""`.env.example` is what the settings say of themselves: with every line of it set, all is as by default."""

import os
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from docs.generate import SETTINGS
from shared.settings import load

LINES = (Path(__file__).parents[2] / ".env.example").read_text().splitlines()


def section(whose: str) -> dict[str, str]:
    """The settings of one section, uncommented."""
    lines = iter(LINES)
    next(line for line in lines if line == f"# --- {whose}")
    found = {}
    for line in lines:
        if not line:
            break
        if line.startswith("#") and not line.startswith("# "):
            name, _, value = line.removeprefix("#").partition("=")
            found[name] = value
    return found


@pytest.mark.parametrize("whose, model, shown_before", SETTINGS, ids=[whose for whose, _, _ in SETTINGS])
def test_every_line_of_it_is_the_default(
    whose: str,
    model: type[BaseSettings],
    shown_before: tuple[type[BaseSettings], ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in os.environ:
        if name.lower() in model.model_fields:
            monkeypatch.delenv(name)
    by_default = load(model)
    before = [other for other, base, _ in SETTINGS if base in shown_before]
    for one in [*before, whose]:
        for name, value in section(one).items():
            monkeypatch.setenv(name, value)
    assert load(model) == by_default


def test_every_setting_stands_in_it() -> None:
    named = {name.lower() for whose, _, _ in SETTINGS for name in section(whose)}
    assert named == {name for _, model, _ in SETTINGS for name in model.model_fields}
