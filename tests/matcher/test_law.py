"""The law between the two readings, and live matches against the oracle, on random CRMs and histories."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.matcher.domain.directory import Crm, Touched
from services.matcher.domain.relations import contacts
from services.matcher.domain.rules import TABLE, Rule, Rules
from services.matcher.domain.window import Window
from shared.addresses import normalise
from shared.events import ActivityMatched
from shared.records import AnyRecord

from . import oracle
from .crms import ADDRESSES, changes, records
from .worlds import NOW, TENANT, World, activity

pytestmark = pytest.mark.sized("law")

CAP_OF_TWO = [
    Rule(rule.name, rule.type, (contacts.first(2),), rule.ending, rule.phrase)
    if rule.name == "account.contact"
    else rule
    for rule in TABLE
]
"""The table with a cap that small worlds reach."""
TABLES = pytest.mark.parametrize("table", [TABLE, CAP_OF_TWO], ids=["table", "cap of two"])
PEOPLE = st.lists(st.tuples(st.sampled_from(["from", "to", "cc"]), st.sampled_from(ADDRESSES)), max_size=4)

Pairs = set[tuple[tuple[str, str], str, str]]
Change = AnyRecord | tuple[str, str]


def forwards(crm: Crm) -> Pairs:
    return {
        (ref, rule.name, address)
        for ref in crm.refs()
        for address, rules in crm.addresses(ref).items()
        for rule in rules
    }


def backwards(crm: Crm) -> Pairs:
    return {
        (ref, rule.name, normalise(address))
        for address in ADDRESSES
        for ref, rules in crm.related(address)
        for rule in rules
    }


def apply(world: World, change: Change) -> Touched:
    return world.delete(*change) if isinstance(change, tuple) else world.apply(change)


@TABLES
@given(history=st.lists(changes, min_size=10, max_size=25))
def test_a_record_is_related_to_an_address_by_a_rule_exactly_where_the_rule_gives_it_the_address(
    table: Sequence[Rule], history: list[Change]
) -> None:
    world = World(Rules(table))
    for change in history:
        apply(world, change)

    crm = world.directory.of(TENANT)
    assert backwards(crm) == forwards(crm)


@given(history=st.lists(records, min_size=10, max_size=25))
def test_the_forward_reading_is_what_the_oracle_says(history: list[AnyRecord]) -> None:
    world = World()
    db: oracle.Db = {}
    for given_record in history:
        world.apply(given_record)
        db[given_record.type, given_record.id] = given_record

    crm = world.directory.of(TENANT)
    assert forwards(crm) == {(ref, *pair) for ref, each in db.items() for pair in oracle.addresses(db, each)}


@TABLES
@given(
    history=st.lists(changes, min_size=10, max_size=25),
    probes=st.lists(st.booleans(), min_size=25, max_size=25),
)
def test_a_change_touches_every_address_whose_records_or_rules_differ(
    table: Sequence[Rule], history: list[Change], probes: list[bool]
) -> None:
    world = World(Rules(table))
    crm = world.directory.of(TENANT)
    for change, probe in zip(history, probes, strict=False):
        before = forwards(crm)
        touched = apply(world, change)
        crm = world.directory.of(TENANT)

        differing = {address for _, _, address in before ^ forwards(crm)}
        assert differing <= set(touched.addresses)
        if probe:  # what is kept ready-made must be forgotten in time
            assert backwards(crm) == forwards(crm)


@given(
    history=st.lists(changes, min_size=10, max_size=25),
    people=PEOPLE,
)
def test_after_any_history_a_live_activity_has_the_matches_and_reasons_of_the_oracle(
    history: list[Change], people: list[tuple[str, str]]
) -> None:
    world = World()
    db: oracle.Db = {}
    window = Window(world.matcher)
    mail = activity(*people)
    key = (mail.tenant, mail.mailbox, mail.item)
    window.take(key, mail, 1, NOW)
    told: ActivityMatched | None = None
    for change in history:
        touched = apply(world, change)
        window.touch(touched.tenant, touched.addresses, reordered=touched.reordered)
        for word in (words := window.words(10)):
            told = word.message
        window.confirmed(words)
        if isinstance(change, tuple):
            db.pop(change, None)
        else:
            db[change.type, change.id] = change

    expected = oracle.reasons(db, people)
    assert ({} if told is None else _reasons(told)) == {ref: len(why) for ref, why in expected.items()}
    for match in told.matches if told else ():
        said = {
            (rule, mail.participants[index].role.value, normalise(mail.participants[index].address))
            for rule, index in match.reasons
        }
        assert said <= expected[match.type, match.id]
        assert len(said) == len(match.reasons) == min(5, len(match.reasons) + match.more)


def _reasons(told: ActivityMatched) -> dict[tuple[str, str], int]:
    return {(match.type, match.id): len(match.reasons) + match.more for match in told.matches}
