"""Properties on random CRMs and histories: the two readings agree, and live matches equal the oracle's."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.matcher.domain.active_rules import ActiveRules
from services.matcher.domain.live_activities import LiveActivities
from services.matcher.domain.relations import contacts
from services.matcher.domain.rules import RULE_TABLE, Rule
from services.matcher.domain.tenant_directory import DirectoryChange, TenantDirectory
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
    for rule in RULE_TABLE
]
"""The table with a cap that small worlds reach."""
TABLES = pytest.mark.parametrize("table", [RULE_TABLE, CAP_OF_TWO], ids=["table", "cap of two"])
PARTICIPANTS = st.lists(
    st.tuples(st.sampled_from(["from", "to", "cc"]), st.sampled_from(ADDRESSES)), max_size=4
)

Pairs = set[tuple[tuple[str, str], str, str]]
"""(record, rule, address)"""
Change = AnyRecord | tuple[str, str]


def read_forwards(directory: TenantDirectory) -> Pairs:
    return {
        (ref, rule.name, address)
        for ref in directory.refs()
        for address, rules in directory.addresses(ref).items()
        for rule in rules
    }


def read_backwards(directory: TenantDirectory) -> Pairs:
    return {
        (ref, rule.name, normalise(address))
        for address in ADDRESSES
        for ref, rules in directory.related(address)
        for rule in rules
    }


def apply(world: World, change: Change) -> DirectoryChange:
    return world.delete(*change) if isinstance(change, tuple) else world.upsert_record(change)


@TABLES
@given(history=st.lists(changes, min_size=10, max_size=25))
def test_backward_reading_equals_forward_reading(table: Sequence[Rule], history: list[Change]) -> None:
    world = World(ActiveRules(table))
    for change in history:
        apply(world, change)

    directory = world.directory.for_tenant(TENANT)
    assert read_backwards(directory) == read_forwards(directory)


@given(history=st.lists(records, min_size=10, max_size=25))
def test_forward_reading_equals_the_oracle(history: list[AnyRecord]) -> None:
    world = World()
    db: oracle.Db = {}
    for record in history:
        world.upsert_record(record)
        db[record.type, record.id] = record

    expected = {(ref, *pair) for ref, record in db.items() for pair in oracle.addresses(db, record)}
    assert read_forwards(world.directory.for_tenant(TENANT)) == expected


@TABLES
@given(
    history=st.lists(changes, min_size=10, max_size=25),
    reads=st.lists(st.booleans(), min_size=25, max_size=25),
)
def test_change_affects_every_address_whose_records_or_rules_differ(
    table: Sequence[Rule], history: list[Change], reads: list[bool]
) -> None:
    world = World(ActiveRules(table))
    directory = world.directory.for_tenant(TENANT)
    for change, read_now in zip(history, reads, strict=False):
        before = read_forwards(directory)
        affected = apply(world, change).addresses
        directory = world.directory.for_tenant(TENANT)

        differing = {address for _, _, address in before ^ read_forwards(directory)}
        assert differing <= set(affected)
        if read_now:  # fills the cache, from which later changes must remove the affected addresses
            assert read_backwards(directory) == read_forwards(directory)


@given(
    history=st.lists(changes, min_size=10, max_size=25),
    participants=PARTICIPANTS,
)
def test_live_activity_has_the_matches_and_reasons_of_the_oracle_after_any_history(
    history: list[Change], participants: list[tuple[str, str]]
) -> None:
    world = World()
    db: oracle.Db = {}
    live = LiveActivities(world.matcher)
    mail = activity(*participants)
    live.apply(mail.key, mail, 1, NOW)
    published: ActivityMatched | None = None
    for change in history:
        effect = apply(world, change)
        live.mark_affected(effect.tenant, effect.addresses, order_changed=effect.order_changed)
        updates = live.next_updates(10)
        for update in updates:
            published = update.message
        live.acknowledge(updates)
        if isinstance(change, tuple):
            db.pop(change, None)
        else:
            db[change.type, change.id] = change

    expected = oracle.reasons(db, participants)
    assert count_reasons(published) == {ref: len(reasons) for ref, reasons in expected.items()}
    for match in published.matches if published else ():
        listed = {
            (rule, mail.participants[index].role.value, normalise(mail.participants[index].address))
            for rule, index in match.reasons
        }
        assert listed <= expected[match.type, match.id]
        assert len(listed) == len(match.reasons) == min(5, len(match.reasons) + match.more)


def count_reasons(published: ActivityMatched | None) -> dict[tuple[str, str], int]:
    matches = published.matches if published else ()
    return {(match.type, match.id): len(match.reasons) + match.more for match in matches}
