"""`.env.example` lists all settings: with each of its lines set, the settings have their defaults."""

from pathlib import Path

import pytest

from docs.generate import SETTINGS
from shared.settings import EnvironmentSettings, load_settings, variable_name

LINES = (Path(__file__).parents[2] / ".env.example").read_text().splitlines()


def section(title: str) -> dict[str, str]:
    """The settings of one section, uncommented."""
    lines = iter(LINES)
    next(line for line in lines if line == f"# --- {title}")
    found = {}
    for line in lines:
        if not line:
            break
        if line.startswith("#") and not line.startswith("# "):
            name, _, value = line.removeprefix("#").partition("=")
            found[name] = value
    return found


@pytest.mark.parametrize("title, model, shown_before", SETTINGS, ids=[title for title, _, _ in SETTINGS])
def test_every_line_is_the_default(
    title: str,
    model: type[EnvironmentSettings],
    shown_before: tuple[type[EnvironmentSettings], ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for field in model.model_fields:
        monkeypatch.delenv(variable_name(model, field), raising=False)
    by_default = load_settings(model)
    before = [other for other, base, _ in SETTINGS if base in shown_before]
    for each in [*before, title]:
        for name, value in section(each).items():
            monkeypatch.setenv(name, value)
    assert load_settings(model) == by_default


def test_every_setting_is_listed() -> None:
    listed = {name for title, _, _ in SETTINGS for name in section(title)}
    assert listed == {variable_name(model, field) for _, model, _ in SETTINGS for field in model.model_fields}


def test_no_setting_has_a_name_that_kubernetes_sets() -> None:
    names = [variable_name(model, field) for _, model, _ in SETTINGS for field in model.model_fields]
    assert [name for name in names if name.endswith(("_PORT", "_SERVICE_HOST"))] == []


def test_settings_of_one_service_have_its_prefix() -> None:
    shared = {
        name for base in {base for _, _, bases in SETTINGS for base in bases} for name in base.model_fields
    }
    shared |= {field for _, model, _ in SETTINGS if not model.own_prefix for field in model.model_fields}
    own = {
        variable_name(model, field): model.own_prefix
        for _, model, _ in SETTINGS
        for field in model.model_fields
        if field not in shared
    }
    assert own
    assert [name for name, prefix in own.items() if not (prefix and name.startswith(prefix))] == []
