"""An activity's matches: roles, reasons, the cut, the size."""

from datetime import timedelta

import pytest

from services.matcher.domain import matching
from shared.events import ActivityMatched

from .worlds import NOW, TENANT, World, activity

ANN = "ann@fabrikam.com"


def reasons(message: ActivityMatched | None) -> dict[tuple[str, str], tuple[tuple[str, int], ...]]:
    return {(match.type, match.id): match.reasons for match in message.matches} if message else {}


@pytest.mark.parametrize("role", ["from", "to", "cc", "organizer", "required", "optional"])
def test_every_role_counts(role: str) -> None:
    world = World()
    world.put("contact", "c", emails=ANN)

    assert world.matches(("from", "stranger@x.com"), (role, "Ann@Fabrikam.com")) == [("contact", "c")]


def test_nothing_is_to_be_said_of_an_activity_that_nothing_relates_to() -> None:
    world = World()
    world.put("contact", "c", emails=ANN)

    assert world.match(("from", "stranger@x.com"), ("to", "")) is None


def test_every_record_that_matches_is_matched_sorted_by_type_and_id() -> None:
    world = World()
    world.put("project", "p", lookups={"customer": {"type": "contact", "id": "c2"}})
    world.put("contact", "c2", emails=ANN)
    world.put("contact", "c1", emails=ANN)
    world.put("opportunity", "o", contact_id="c1", stakeholder_ids=["c2"])

    message = world.match(("cc", ANN))

    assert reasons(message) == {
        ("contact", "c1"): (("contact.address", 0),),
        ("contact", "c2"): (("contact.address", 0),),
        ("opportunity", "o"): (("opportunity.contact", 0), ("opportunity.stakeholder", 0)),
        ("project", "p"): (("custom.contact_address", 0),),
    }
    assert list(reasons(message)) == sorted(reasons(message))


def test_the_rules_named_in_the_reasons_come_with_their_phrases() -> None:
    world = World()
    world.put("contact", "c", emails=ANN)
    world.put("opportunity", "o", stakeholder_ids=["c"])

    message = world.match(("cc", ANN))

    assert message
    assert message.rules == {
        "contact.address": "is an address of this contact",
        "opportunity.stakeholder": "is a stakeholder of this opportunity",
    }


def test_an_organizer_who_is_also_an_attendee_gives_one_reason_for_each_role() -> None:
    world = World()
    world.put("contact", "c", emails=ANN)

    message = world.match(("organizer", ANN), ("required", ANN), ("required", "ANN@fabrikam.com"))

    assert reasons(message) == {("contact", "c"): (("contact.address", 0), ("contact.address", 1))}


def test_a_match_keeps_five_reasons_in_the_order_of_its_participants_and_counts_the_rest() -> None:
    world = World()
    for number in range(4):
        world.put("contact", f"c{number}", emails=f"c{number}@x.com")
    world.put("opportunity", "o", contact_id="c0", stakeholder_ids=[f"c{number}" for number in range(4)])

    message = world.match(
        ("from", "c3@x.com"), *(("to", f"c{number}@x.com") for number in range(4)), ("cc", "c0@x.com")
    )

    assert message
    opportunity = message.matches[-1]
    assert opportunity.reasons == (
        ("opportunity.stakeholder", 0),
        ("opportunity.contact", 1),
        ("opportunity.stakeholder", 1),
        ("opportunity.stakeholder", 2),
        ("opportunity.stakeholder", 3),
    )
    assert opportunity.more == 3


def test_of_more_than_1000_records_the_most_recently_modified_are_kept() -> None:
    world = World()
    world.put("contact", "c", emails=ANN)
    for number in range(1002):
        world.put(
            "opportunity", f"o{number:04}", contact_id="c", modified_on=NOW - timedelta(minutes=number // 2)
        )

    message = world.match(("to", ANN))

    assert message
    assert message.truncated
    # The contact has no time and is the oldest; of o1000 and o1001, one minute older than all others, neither fits.
    assert [match.id for match in message.matches] == [f"o{number:04}" for number in range(1000)]


def test_of_more_than_1000_records_modified_at_one_time_type_and_id_decide() -> None:
    world = World()
    world.put("contact", "c", emails=ANN)
    for number in range(800):
        world.put("opportunity", f"a{number:03}", contact_id="c", modified_on=NOW)
        world.put("account", f"z{number:03}", primary_contact_id="c", modified_on=NOW)

    message = world.match(("to", ANN))

    assert message
    assert [(match.type, match.id) for match in message.matches] == [
        *(("account", f"z{number:03}") for number in range(800)),
        *(("opportunity", f"a{number:03}") for number in range(200)),
    ]


def test_the_largest_message_stays_under_512_kib() -> None:
    world = World()
    world.put("contact", "c", emails=ANN)
    tail = "ü" * 190
    for number in range(1200):
        world.put(
            "opportunity",
            f"{number:04}{tail}",
            contact_id="c",
            stakeholder_ids=["c"],
            modified_on=NOW - timedelta(minutes=number),
        )
    people = [
        ("from", ANN),
        ("to", ANN),
        ("cc", ANN),
        *(("to", f"person-{number}@somewhere-far-away.example.com") for number in range(900)),
    ]

    matched = world.matcher.match(activity(*people))

    assert matched
    assert 0.9 * 512 * 1024 < len(matched.json) < 512 * 1024
    assert matched.message.truncated
    ids = [match.id for match in matched.message.matches]
    assert ids == [f"{number:04}{tail}" for number in range(len(ids))]


def test_each_address_is_walked_back_once_and_again_only_when_it_was_touched() -> None:
    world = World()
    for number in range(3):
        world.put("contact", f"c{number}", emails=f"c{number}@x.com")
    people = [("from", "c0@x.com"), ("to", "c1@x.com"), ("cc", "c2@x.com"), ("cc", "stranger@x.com")]

    for _ in range(5):
        world.match(*people)
    assert world.directory.of(TENANT).walks == 3

    world.put("opportunity", "o", contact_id="c1")
    world.match(*people)
    assert world.directory.of(TENANT).walks == 4


def test_an_explanation_says_why_and_for_one_record_also_why_not() -> None:
    world = World()
    world.put("contact", "c", emails=[ANN, "second@fabrikam.com"])
    world.put("opportunity", "o", stakeholder_ids=["c"])

    why = list(matching.explain(world.directory, TENANT, ANN))
    why_not = list(matching.explain(world.directory, TENANT, "second@fabrikam.com", ("opportunity", "o")))

    assert [(each.ref, each.rule.name) for each in why] == [
        (("contact", "c"), "contact.address"),
        (("opportunity", "o"), "opportunity.stakeholder"),
    ]
    assert not any(each.relates for each in why_not)
    assert {each.rule.name: each.addresses for each in why_not}["opportunity.stakeholder"] == (ANN,)
