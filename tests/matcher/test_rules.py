"""One golden example for each row of the table, read forwards and backwards."""

import pytest

from services.matcher.domain.active_rules import ActiveRules
from services.matcher.domain.relations import primary_contact, stakeholders
from services.matcher.domain.rules import ADDRESSES, CONTACT_SECTION, EMAIL, RULE_TABLE, Rule

from .worlds import World

ANN, OTHER = "ann@fabrikam.com", "other@fabrikam.com"

# rule -> (the record, all records that it needs as (type, id, fields)), in the order of the table
GOLDEN: dict[str, tuple[tuple[str, str], list[tuple[str, str, dict[str, object]]]]] = {
    "account.primary_contact": (
        ("account", "a"),
        [("account", "a", {"primary_contact_id": "c"}), ("contact", "c", {"emails": [ANN, OTHER]})],
    ),
    "account.contact": (
        ("account", "a"),
        [("account", "a", {}), ("contact", "c", {"emails": [ANN, OTHER], "parent_account_id": "a"})],
    ),
    "account.address": (("account", "a"), [("account", "a", {"emails": ["info@fabrikam.com", ANN]})]),
    "opportunity.contact": (
        ("opportunity", "o"),
        [("opportunity", "o", {"contact_id": "c"}), ("contact", "c", {"emails": [ANN, OTHER]})],
    ),
    "opportunity.stakeholder": (
        ("opportunity", "o"),
        [
            ("opportunity", "o", {"stakeholder_ids": ["b", "c"]}),
            ("contact", "b", {"emails": "bob@fabrikam.com"}),
            ("contact", "c", {"emails": [ANN, OTHER]}),
        ],
    ),
    "opportunity.address": (("opportunity", "o"), [("opportunity", "o", {"emails": [None, ANN]})]),
    "opportunity.account_contact": (
        ("opportunity", "o"),
        # The account itself does not exist: the hop goes through its id.
        [
            ("opportunity", "o", {"account_id": "a"}),
            ("contact", "c", {"emails": [ANN, OTHER], "parent_account_id": "a"}),
        ],
    ),
    "opportunity.lead": (
        ("opportunity", "o"),
        [("opportunity", "o", {"lead_id": "l"}), ("lead", "l", {"emails": OTHER, "contact": {"email": ANN}})],
    ),
    "opportunity.lead_contact": (
        ("opportunity", "o"),
        [
            ("opportunity", "o", {"lead_id": "l"}),
            ("lead", "l", {"contact_id": "c"}),
            ("contact", "c", {"emails": [ANN, OTHER]}),
        ],
    ),
    "lead.contact_section": (("lead", "l"), [("lead", "l", {"contact": {"name": "Ann", "email": ANN}})]),
    "lead.contact": (
        ("lead", "l"),
        [("lead", "l", {"contact_id": "c"}), ("contact", "c", {"emails": [ANN, OTHER]})],
    ),
    "lead.address": (("lead", "l"), [("lead", "l", {"emails": [None, ANN]})]),
    "contact.address": (("contact", "c"), [("contact", "c", {"emails": [None, ANN]})]),
    "custom.account_primary_contact": (
        ("project", "p"),
        [
            ("project", "p", {"lookups": {"customer": {"type": "account", "id": "a"}}}),
            ("account", "a", {"primary_contact_id": "c"}),
            ("contact", "c", {"emails": [ANN, OTHER]}),
        ],
    ),
    "custom.account_address": (
        ("project", "p"),
        [
            ("project", "p", {"lookups": {"nobody": None, "customer": {"type": "account", "id": "a"}}}),
            ("account", "a", {"emails": ["x@y.z", ANN]}),
        ],
    ),
    "custom.contact_address": (
        ("project", "p"),
        [
            ("project", "p", {"lookups": {"customer": {"type": "contact", "id": "c"}}}),
            ("contact", "c", {"emails": ["x@y.z", ANN]}),
        ],
    ),
}


def test_every_row_has_its_example() -> None:
    assert list(GOLDEN) == [rule.name for rule in RULE_TABLE]


@pytest.mark.parametrize("rule", GOLDEN)
def test_row_gives_its_address_in_both_directions(rule: str) -> None:
    ref, records = GOLDEN[rule]
    world = World()
    for type_, id_, fields in records:
        world.upsert(type_, id_, **fields)

    assert world.forwards(*ref)[ANN] == [rule]
    assert world.backwards(ANN)[ref] == [rule]


@pytest.mark.parametrize("rule", [rule.name for rule in RULE_TABLE if rule.ending is EMAIL])
def test_ending_email_ignores_further_addresses(rule: str) -> None:
    ref, records = GOLDEN[rule]
    world = World()
    for type_, id_, fields in records:
        world.upsert(type_, id_, **fields)

    assert OTHER not in world.forwards(*ref)
    assert ref not in world.backwards(OTHER)


def test_contact_with_null_email_has_no_email_despite_further_addresses() -> None:
    world = World()
    world.upsert("opportunity", "o", contact_id="c")
    world.upsert("contact", "c", emails=[None, ANN])

    assert world.forwards("opportunity", "o") == {}
    assert world.backwards(ANN) == {("contact", "c"): ["contact.address"]}


def test_lead_addresses_are_not_its_contact_section() -> None:
    world = World()
    world.upsert("opportunity", "o", lead_id="l")
    world.upsert("lead", "l", emails=ANN)

    assert world.forwards("opportunity", "o") == {}
    assert world.backwards(ANN) == {("lead", "l"): ["lead.address"]}


def test_opportunity_gets_neither_account_addresses_nor_primary_contact() -> None:
    world = World()
    world.upsert("opportunity", "o", account_id="a")
    world.upsert("account", "a", emails="info@fabrikam.com", primary_contact_id="c")
    world.upsert("contact", "c", emails=ANN)

    assert world.forwards("opportunity", "o") == {}

    world.upsert("contact", "c", emails=ANN, parent_account_id="a")

    assert world.forwards("opportunity", "o") == {ANN: ["opportunity.account_contact"]}


def test_primary_contact_and_child_contact_are_independent() -> None:
    world = World()
    world.upsert("account", "a", primary_contact_id="c")
    world.upsert("account", "b")
    world.upsert("contact", "c", emails=ANN, parent_account_id="b")

    assert world.forwards("account", "a") == {ANN: ["account.primary_contact"]}
    assert world.forwards("account", "b") == {ANN: ["account.contact"]}


def test_custom_record_does_not_get_other_contacts_of_its_account() -> None:
    world = World()
    world.upsert("project", "p", lookups={"customer": {"type": "account", "id": "a"}})
    world.upsert("account", "a")
    world.upsert("contact", "c", emails=ANN, parent_account_id="a")

    assert world.forwards("project", "p") == {}


def test_all_lookups_count_and_equal_ones_count_once() -> None:
    world = World()
    account, contact = {"type": "account", "id": "a"}, {"type": "contact", "id": "c"}
    world.upsert("contract", "k", lookups={"party_a": account, "party_b": account, "signatory": contact})
    world.upsert("account", "a", emails=ANN)
    world.upsert("contact", "c", emails=["bob@fabrikam.com", OTHER])

    assert world.forwards("contract", "k") == {
        ANN: ["custom.account_address"],
        "bob@fabrikam.com": ["custom.contact_address"],
        OTHER: ["custom.contact_address"],
    }


def test_every_stakeholder_and_every_lookup_counts() -> None:
    world = World()
    addresses = {name: f"{name}@fabrikam.com" for name in ("ann", "bob", "cat")}
    for name, address in addresses.items():
        world.upsert("contact", name, emails=address)
    world.upsert("opportunity", "o", stakeholder_ids=list(addresses))
    lookups = {f"field_{name}": {"type": "contact", "id": name} for name in addresses}
    world.upsert("project", "p", lookups=lookups)

    assert set(world.forwards("opportunity", "o")) == set(addresses.values())
    assert set(world.forwards("project", "p")) == set(addresses.values())


def test_lead_contact_gives_its_email_only() -> None:
    world = World()
    world.upsert("contact", "ann", emails=[ANN, OTHER])
    world.upsert("lead", "l", contact_id="ann")
    world.upsert("opportunity", "o", lead_id="l")

    assert world.forwards("opportunity", "o") == {ANN: ["opportunity.lead_contact"]}
    assert world.forwards("lead", "l") == {ANN: ["lead.contact"]}


def test_rule_relates_an_address_to_every_record_that_it_reaches() -> None:
    world = World()
    world.upsert("contact", "ann", emails=ANN)
    opportunities = [("opportunity", f"o{number}") for number in range(3)]
    for type_, id_ in opportunities:
        world.upsert(type_, id_, contact_id="ann")

    assert set(world.backwards(ANN)) == {("contact", "ann"), *opportunities}
    assert world.matched_records(("from", ANN)) == [("contact", "ann"), *opportunities]


def test_inconsistent_table_raises_value_error() -> None:
    with pytest.raises(ValueError, match="two rules are called account"):
        ActiveRules(added=[Rule("account.address", "project", (), ADDRESSES, "is a duplicate")])
    with pytest.raises(ValueError, match="there is no rule called account"):
        ActiveRules(disabled=["account.adress"])
    with pytest.raises(ValueError, match="stakeholder does not start at contact"):
        ActiveRules([Rule("odd", "account", (primary_contact, stakeholders), EMAIL, "cannot be")])
    with pytest.raises(ValueError, match="only a lead has a Contact section"):
        ActiveRules([Rule("odd", "account", (), CONTACT_SECTION, "cannot be")])
