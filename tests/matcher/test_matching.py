"""The matches of an activity: roles, reasons, the cut at 1,000, the size, explanations."""

from datetime import timedelta

import pytest

from services.matcher.domain import matching
from services.matcher.domain.directory_entry import RecordRef
from services.matcher.domain.matching import MAX_RECORDS
from shared.events import ActivityMatched
from shared.topics import MAX_ACTIVITY_BYTES, MAX_MATCHES_BYTES

from .worlds import NOW, TENANT, World, activity

ANN = "ann@fabrikam.com"


def reasons(message: ActivityMatched | None) -> dict[tuple[str, str], tuple[tuple[str, int], ...]]:
    return {(match.type, match.id): match.reasons for match in message.matches} if message else {}


@pytest.mark.parametrize("role", ["from", "to", "cc", "organizer", "required", "optional"])
def test_every_role_counts(role: str) -> None:
    world = World()
    world.upsert("contact", "c", emails=ANN)

    assert world.matched_records(("from", "stranger@x.com"), (role, "Ann@Fabrikam.com")) == [("contact", "c")]


def test_unrelated_activity_has_no_message() -> None:
    world = World()
    world.upsert("contact", "c", emails=ANN)

    assert world.match(("from", "stranger@x.com"), ("to", "")) is None


def test_all_related_records_match_sorted_by_type_and_id() -> None:
    world = World()
    world.upsert("project", "p", lookups={"customer": {"type": "contact", "id": "c2"}})
    world.upsert("contact", "c2", emails=ANN)
    world.upsert("contact", "c1", emails=ANN)
    world.upsert("opportunity", "o", contact_id="c1", stakeholder_ids=["c2"])

    message = world.match(("cc", ANN))

    assert reasons(message) == {
        ("contact", "c1"): (("contact.address", 0),),
        ("contact", "c2"): (("contact.address", 0),),
        ("opportunity", "o"): (("opportunity.contact", 0), ("opportunity.stakeholder", 0)),
        ("project", "p"): (("custom.contact_address", 0),),
    }
    assert list(reasons(message)) == sorted(reasons(message))


def test_message_has_the_phrases_of_its_rules() -> None:
    world = World()
    world.upsert("contact", "c", emails=ANN)
    world.upsert("opportunity", "o", stakeholder_ids=["c"])

    message = world.match(("cc", ANN))

    assert message
    assert message.rules == {
        "contact.address": "is an address of this contact",
        "opportunity.stakeholder": "is a stakeholder of this opportunity",
    }


def test_organizer_who_attends_gives_one_reason_per_role() -> None:
    world = World()
    world.upsert("contact", "c", emails=ANN)

    message = world.match(("organizer", ANN), ("required", ANN), ("required", "ANN@fabrikam.com"))

    assert reasons(message) == {("contact", "c"): (("contact.address", 0), ("contact.address", 1))}


def test_match_keeps_five_reasons_by_participant_and_counts_the_others() -> None:
    world = World()
    for number in range(4):
        world.upsert("contact", f"c{number}", emails=f"c{number}@x.com")
    world.upsert("opportunity", "o", contact_id="c0", stakeholder_ids=[f"c{number}" for number in range(4)])

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


def test_most_recently_modified_1000_records_are_kept() -> None:
    world = World()
    world.upsert("contact", "c", emails=ANN)
    for number in range(1002):
        world.upsert(
            "opportunity", f"o{number:04}", contact_id="c", modified_on=NOW - timedelta(minutes=number // 2)
        )

    message = world.match(("to", ANN))

    assert message
    assert message.truncated
    # The contact has no time, so it is the oldest. o1000 and o1001 are a minute older than all others.
    assert [match.id for match in message.matches] == [f"o{number:04}" for number in range(1000)]


def test_equal_modified_on_keeps_1000_records_by_type_and_id() -> None:
    world = World()
    world.upsert("contact", "c", emails=ANN)
    for number in range(800):
        world.upsert("opportunity", f"a{number:03}", contact_id="c", modified_on=NOW)
        world.upsert("account", f"z{number:03}", primary_contact_id="c", modified_on=NOW)

    message = world.match(("to", ANN))

    assert message
    assert [(match.type, match.id) for match in message.matches] == [
        *(("account", f"z{number:03}") for number in range(800)),
        *(("opportunity", f"a{number:03}") for number in range(200)),
    ]


def test_largest_activity_keeps_most_of_its_matches() -> None:
    world = World()
    for number in range(1_200):
        world.upsert("contact", f"00000000-0000-0000-0000-{number:012}", emails=ANN)
    small = activity(("from", ANN), subject="")
    subject = "x" * (MAX_ACTIVITY_BYTES - len(small.model_dump_json()))
    largest = small.model_copy(update={"subject": subject})
    assert len(largest.model_dump_json()) == MAX_ACTIVITY_BYTES

    result = world.matcher.match(largest)

    assert result
    assert len(result.message.matches) == MAX_RECORDS
    assert len(result.json) <= MAX_MATCHES_BYTES


def test_largest_message_stays_below_512_kib() -> None:
    world = World()
    world.upsert("contact", "c", emails=ANN)
    tail = "ü" * 190
    for number in range(1200):
        world.upsert(
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

    result = world.matcher.match(activity(*people))

    assert result
    assert 0.9 * 512 * 1024 < len(result.json) < 512 * 1024
    assert result.message.truncated
    ids = [match.id for match in result.message.matches]
    assert ids == [f"{number:04}{tail}" for number in range(len(ids))]


def test_address_is_read_backwards_once_until_a_change_affects_it() -> None:
    world = World()
    for number in range(3):
        world.upsert("contact", f"c{number}", emails=f"c{number}@x.com")
    people = [("from", "c0@x.com"), ("to", "c1@x.com"), ("cc", "c2@x.com"), ("cc", "stranger@x.com")]

    for _ in range(5):
        world.match(*people)
    assert world.directory.for_tenant(TENANT).backward_reads == 3

    world.upsert("opportunity", "o", contact_id="c1")
    world.match(*people)
    assert world.directory.for_tenant(TENANT).backward_reads == 4


def test_explanation_of_one_record_includes_rules_that_do_not_relate() -> None:
    world = World()
    world.upsert("contact", "c", emails=[ANN, "second@fabrikam.com"])
    world.upsert("opportunity", "o", stakeholder_ids=["c"])

    why = list(matching.explain(world.directory, TENANT, ANN))
    why_not = list(
        matching.explain(world.directory, TENANT, "second@fabrikam.com", RecordRef("opportunity", "o"))
    )

    assert [(each.ref, each.rule.name) for each in why] == [
        (("contact", "c"), "contact.address"),
        (("opportunity", "o"), "opportunity.stakeholder"),
    ]
    assert not any(each.relates for each in why_not)
    assert {each.rule.name: each.addresses for each in why_not}["opportunity.stakeholder"] == (ANN,)
