"""The settings, and the file that changes the rule table."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.matcher.domain.rules import TABLE
from services.matcher.settings import BadRules, MatcherSettings, load_rules

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


def test_without_a_file_the_table_is_the_table() -> None:
    assert load_rules(None).rows == TABLE


def test_a_file_adds_rows_for_custom_types_and_switches_rows_off(tmp_path: Path) -> None:
    world = World(load_rules(rules_file(tmp_path, ADDED)))
    lookups = {
        "sponsor": {"type": "contact", "id": "ann"},
        "customer": {"type": "account", "id": "a"},
        "other": {"type": "contact", "id": "bob"},
    }
    world.put("project", "p", emails="project@fabrikam.com", lookups=lookups)
    world.put("ticket", "t", emails="ticket@fabrikam.com", lookups=lookups)
    world.put("contact", "ann", emails=[ANN, "second@fabrikam.com"])
    world.put("contact", "bob", emails=BOB, parent_account_id="a")
    world.put("account", "a", emails="info@fabrikam.com")

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

    touched = world.put("contact", "bob", emails="new@fabrikam.com", parent_account_id="a")
    assert set(touched.addresses) == {BOB, "new@fabrikam.com"}
    assert world.backwards("new@fabrikam.com")["project", "p"] == ["project.customer_contact"]


def test_a_file_may_be_json(tmp_path: Path) -> None:
    rules = load_rules(rules_file(tmp_path, '{"off": ["lead.contact"]}', "rules.json"))

    assert [rule.name for rule in TABLE if rule not in rules.rows] == ["lead.contact"]


ROW = '[[rule]]\nname = "project.x"\ntype = "{type}"\npath = {path}\n{to}\nending = "{ending}"\nphrase = "is it"\n'


def row(
    type_: str = "project", path: str = '["sponsor"]', to: str = 'to = "contact"', ending: str = "email"
) -> str:
    return ROW.format(type=type_, path=path, to=to, ending=ending)


@pytest.mark.parametrize(
    "text, says",
    [
        ("off = [", "rules.toml: "),
        ('of = ["lead.contact"]', "of: Extra inputs are not permitted"),
        (
            'off = ["lead.kontakt"]',
            "there is no rule called lead.kontakt; the rules are account.primary_contact, ",
        ),
        (row("account"), "rules can be added for custom types only, account is none"),
        (row(ending="phone"), "rule.0.ending: Input should be 'email' or 'addresses'"),
        (row(to=""), "give `path`, which begins with a lookup field, and `to`"),
        (
            row(path='["sponsor", "stakeholders"]'),
            "from contact there is no `stakeholders`, only parent_account",
        ),
        (row() + row(), "two rules are called project.x"),
    ],
)
def test_a_bad_file_is_refused_with_what_is_wrong_with_it(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadRules) as refused:
        load_rules(rules_file(tmp_path, text))

    assert says in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRules, match="No such file"):
        load_rules(tmp_path / "none.toml")


@pytest.mark.parametrize("setting", [{"quiet": "-PT1S"}, {"check_every": "PT0S"}, {"port": "70000"}])
def test_a_setting_out_of_range_is_refused(setting: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=next(iter(setting))):
        MatcherSettings.model_validate(setting)
