"""Rules whose record has several links, or ends in a contact that has several addresses."""

from .worlds import World

ANN, BOB, CAT = "ann@fabrikam.com", "bob@fabrikam.com", "cat@fabrikam.com"


def test_every_stakeholder_and_every_lookup_counts() -> None:
    world = World()
    for address in (ANN, BOB, CAT):
        world.put("contact", address.partition("@")[0], emails=address)
    world.put("opportunity", "o", stakeholder_ids=["ann", "bob", "cat"])
    lookups = {f"field_{name}": {"type": "contact", "id": name} for name in ("ann", "bob", "cat")}
    world.put("project", "p", lookups=lookups)

    assert set(world.forwards("opportunity", "o")) == {ANN, BOB, CAT}
    assert set(world.forwards("project", "p")) == {ANN, BOB, CAT}


def test_the_lead_s_contact_gives_its_email_alone() -> None:
    world = World()
    world.put("contact", "ann", emails=[ANN, BOB])
    world.put("lead", "l", contact_id="ann")
    world.put("opportunity", "o", lead_id="l")

    assert world.forwards("opportunity", "o") == {ANN: ["opportunity.lead_contact"]}
    assert world.forwards("lead", "l") == {ANN: ["lead.contact"]}


def test_a_path_leads_through_an_account_that_is_not_there() -> None:
    world = World()
    world.put("contact", "ann", emails=ANN, parent_account_id="not-there")
    world.put("opportunity", "o", account_id="not-there")

    assert world.forwards("opportunity", "o") == {ANN: ["opportunity.account_contact"]}
    assert world.backwards(ANN)["opportunity", "o"] == ["opportunity.account_contact"]


def test_one_rule_gives_an_address_to_every_record_that_it_reaches() -> None:
    world = World()
    world.put("contact", "ann", emails=ANN)
    for id_ in ("o1", "o2", "o3"):
        world.put("opportunity", id_, contact_id="ann")

    assert set(world.backwards(ANN)) == {("contact", "ann"), *(("opportunity", f"o{n}") for n in (1, 2, 3))}
    assert world.matches(("from", ANN)) == [
        ("contact", "ann"),
        *(("opportunity", f"o{n}") for n in (1, 2, 3)),
    ]
