"""The rules file: it adds rows for custom types, switches rows off, and is refused when it is wrong."""

from pathlib import Path

import pytest

from services.matcher.domain.rules import RULE_TABLE
from services.matcher.rules_file import RulesFileError, load_rules

from .worlds import World

ANN, BOB = "ann@fabrikam.com", "bob@fabrikam.com"

ADDED = """
off = ["account.contact", "custom.contact_address"]

[[rule]]
name = "project.sponsor"
type = "project"
path = ["sponsor"]
to = "contact"
ending = "email"
phrase = "is the sponsor of this project"

[[rule]]
name = "project.customer_contact"
type = "project"
path = ["customer", "first_50_contacts"]
to = "account"
ending = "email"
phrase = "is a contact of this project's customer"

[[rule]]
name = "project.address"
type = "project"
ending = "addresses"
phrase = "is an address of this project"
"""


def rules_file(folder: Path, text: str, name: str = "rules.toml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_default_rules_are_the_table() -> None:
    assert load_rules(None).rows == RULE_TABLE


def test_file_adds_rows_for_custom_types_and_switches_rows_off(tmp_path: Path) -> None:
    world = World(load_rules(rules_file(tmp_path, ADDED)))
    lookups = {
        "sponsor": {"type": "contact", "id": "ann"},
        "customer": {"type": "account", "id": "a"},
        "other": {"type": "contact", "id": "bob"},
    }
    world.upsert("project", "p", emails="project@fabrikam.com", lookups=lookups)
    world.upsert("ticket", "t", emails="ticket@fabrikam.com", lookups=lookups)
    world.upsert("contact", "ann", emails=[ANN, "second@fabrikam.com"])
    world.upsert("contact", "bob", emails=BOB, parent_account_id="a")
    world.upsert("account", "a", emails="info@fabrikam.com")

    assert world.forwards("project", "p") == {
        "info@fabrikam.com": ["custom.account_address"],
        ANN: ["project.sponsor"],
        BOB: ["project.customer_contact"],
        "project@fabrikam.com": ["project.address"],
    }
    assert world.forwards("ticket", "t") == {"info@fabrikam.com": ["custom.account_address"]}
    assert world.forwards("account", "a") == {"info@fabrikam.com": ["account.address"]}
    assert world.backwards(ANN) == {
        ("contact", "ann"): ["contact.address"],
        ("project", "p"): ["project.sponsor"],
    }
    assert world.backwards(BOB)["project", "p"] == ["project.customer_contact"]
    assert world.backwards("project@fabrikam.com") == {("project", "p"): ["project.address"]}

    change = world.upsert("contact", "bob", emails="new@fabrikam.com", parent_account_id="a")
    assert set(change.addresses) == {BOB, "new@fabrikam.com"}
    assert world.backwards("new@fabrikam.com")["project", "p"] == ["project.customer_contact"]


def test_file_of_another_format_is_refused(tmp_path: Path) -> None:
    file = rules_file(tmp_path, '{"off": ["lead.contact"]}', "rules.json")

    with pytest.raises(RulesFileError, match="json"):
        load_rules(file)


ROW = """
[[rule]]
name = "project.x"
type = "{type}"
path = {path}
{to}
ending = "{ending}"
phrase = "is it"
"""


def row(
    type_: str = "project", path: str = '["sponsor"]', to: str = 'to = "contact"', ending: str = "email"
) -> str:
    return ROW.format(type=type_, path=path, to=to, ending=ending)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("off = [", "rules.toml: "),
        ('of = ["lead.contact"]', "of: Extra inputs are not permitted"),
        (
            'off = ["lead.kontakt"]',
            "there is no rule called lead.kontakt; the rules are account.primary_contact, ",
        ),
        (row("account"), "rules can be added for custom types only, account is built in"),
        (row(ending="phone"), "rule.0.ending: Input should be 'email' or 'addresses'"),
        (row(to=""), "give `path`, which begins with a lookup field, and `to`"),
        (
            row(path='["sponsor", "stakeholders"]'),
            "from contact there is no `stakeholders`, only parent_account",
        ),
        (row() + row(), "two rules are called project.x"),
    ],
)
def test_bad_file_is_refused_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(RulesFileError) as error:
        load_rules(rules_file(tmp_path, text))

    assert reason in str(error.value)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RulesFileError, match="No such file"):
        load_rules(tmp_path / "none.toml")
