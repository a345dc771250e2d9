"""The directory: the cap, affected addresses, missing records, which message of a key counts, memory."""

import gc
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from uuid import UUID

import pytest

from services.matcher.domain.active_rules import ActiveRules
from services.matcher.domain.directory import Directory
from services.matcher.domain.directory_entry import RecordRef, SourcePartition
from shared.addresses import normalise
from shared.keys import RecordKey

from .worlds import NOW, SOURCE, TENANT, World, record


def upsert_contacts(world: World, count: int, account: str = "a") -> None:
    """Adds contacts c00, c01, … to an account, each modified a minute earlier than the one before."""
    for number in range(count):
        world.upsert(
            "contact",
            f"c{number:02}",
            emails=f"c{number:02}@x.com",
            parent_account_id=account,
            modified_on=NOW - timedelta(minutes=number),
        )


def test_account_gets_its_50_last_modified_contacts_only() -> None:
    world = World()
    world.upsert("account", "a")
    upsert_contacts(world, 52)

    assert set(world.forwards("account", "a")) == {f"c{number:02}@x.com" for number in range(50)}
    assert world.backwards("c49@x.com") == {
        ("account", "a"): ["account.contact"],
        ("contact", "c49"): ["contact.address"],
    }
    assert world.backwards("c50@x.com") == {("contact", "c50"): ["contact.address"]}


def test_opportunity_gets_all_contacts_of_its_account() -> None:
    world = World()
    world.upsert("opportunity", "o", account_id="a")
    upsert_contacts(world, 52)

    assert len(world.forwards("opportunity", "o")) == 52
    assert ("opportunity", "o") in world.backwards("c51@x.com")


def test_equal_modified_on_orders_by_id_and_absent_is_oldest() -> None:
    world = World()
    world.upsert("account", "a")
    for number in reversed(range(51)):
        world.upsert(
            "contact", f"c{number:02}", emails=f"c{number:02}@x.com", parent_account_id="a", modified_on=NOW
        )
    world.upsert("contact", "a-first-id", emails="never@x.com", parent_account_id="a")

    assert set(world.forwards("account", "a")) == {f"c{number:02}@x.com" for number in range(50)}


def test_contact_without_email_counts_among_the_50() -> None:
    world = World()
    world.upsert("account", "a")
    upsert_contacts(world, 50)
    world.upsert(
        "contact",
        "no-email",
        emails=[None, "second@x.com"],
        parent_account_id="a",
        modified_on=NOW + timedelta(days=1),
    )

    assert "c49@x.com" not in world.forwards("account", "a")


def test_only_contacts_that_enter_or_leave_the_50_are_affected() -> None:
    world = World()
    world.upsert("account", "a")
    upsert_contacts(world, 50)

    entered = world.upsert(
        "contact", "new", emails="new@x.com", parent_account_id="a", modified_on=NOW + timedelta(days=1)
    )
    deleted = world.delete("contact", "c00")
    moved = world.upsert(
        "contact", "c49", emails="c49@x.com", parent_account_id="b", modified_on=NOW - timedelta(minutes=49)
    )

    assert set(entered.addresses) == {"new@x.com", "c49@x.com"}
    assert set(deleted.addresses) == {"c00@x.com", "c49@x.com"}
    assert set(moved.addresses) == {"c49@x.com"}


def test_new_name_or_version_affects_nothing() -> None:
    world = World()
    world.upsert("account", "a", primary_contact_id="c", emails="info@x.com", name="Before", version=1)

    change = world.upsert(
        "account", "a", primary_contact_id="c", emails="INFO@x.com ", name="After", version=2
    )

    assert not change.addresses
    assert not change.order_changed


def test_new_modified_on_affects_no_address_but_changes_the_order() -> None:
    world = World()
    world.upsert("account", "a", emails="info@x.com", modified_on=NOW)

    change = world.upsert("account", "a", emails="info@x.com", modified_on=NOW + timedelta(days=1))

    assert not change.addresses
    assert change.order_changed


def test_added_stakeholder_affects_only_that_contacts_email() -> None:
    world = World()
    for number in range(20):
        world.upsert("contact", f"c{number}", emails=[f"c{number}@x.com", f"second{number}@x.com"])
    world.upsert("opportunity", "o", stakeholder_ids=[f"c{number}" for number in range(19)])

    assert set(
        world.upsert("opportunity", "o", stakeholder_ids=[f"c{number}" for number in range(20)]).addresses
    ) == {"c19@x.com"}


def test_dangling_link_heals_when_the_record_comes_and_breaks_when_it_is_deleted() -> None:
    world = World()
    world.upsert("opportunity", "o", contact_id="c")
    assert world.backwards("ann@x.com") == {}

    world.upsert("contact", "c", emails="ann@x.com")
    assert ("opportunity", "o") in world.backwards("ann@x.com")

    assert set(world.delete("contact", "c").addresses) == {"ann@x.com"}
    assert world.backwards("ann@x.com") == {}
    assert world.forwards("opportunity", "o") == {}


def test_contacts_that_precede_their_account_belong_to_it() -> None:
    world = World()
    upsert_contacts(world, 2)

    change = world.upsert("account", "a")

    assert set(change.addresses) == set(world.forwards("account", "a")) == {"c00@x.com", "c01@x.com"}


def test_addresses_compare_trimmed_lower_cased_and_in_idna() -> None:
    world = World()
    world.upsert("contact", "c", emails=" Ann@Bücher.example ")

    assert world.backwards("ANN@xn--bcher-kva.example") == {("contact", "c"): ["contact.address"]}
    assert world.backwards("ann+tag@bücher.example") == {}


def test_blank_email_is_no_address() -> None:
    world = World()
    world.upsert("contact", "c", emails=["  ", "ann@x.com"])
    world.upsert("opportunity", "o", contact_id="c")

    assert world.forwards("contact", "c") == {"ann@x.com": ["contact.address"]}
    assert world.forwards("opportunity", "o") == {}
    assert world.backwards("") == {}


def test_tenants_are_separate() -> None:
    world = World()
    world.upsert("contact", "c", emails="ann@x.com")

    assert world.directory.for_tenant("contoso").related("ann@x.com") == ()
    assert world.directory.for_tenant("contoso").addresses(RecordRef("contact", "c")) == {}
    assert world.directory.tenants == [TENANT]


# -- which message of a key counts ----------------------------------------------------------------

KEY = RecordKey(TENANT, "contact", "c")
LOW, HIGH = SourcePartition("records", 2), SourcePartition("records", 10)


def read_addresses(directory: Directory) -> list[str]:
    return sorted(directory.for_tenant(TENANT).addresses(RecordRef("contact", "c")))


@pytest.mark.parametrize("low_first", [True, False])
def test_lowest_partition_of_a_duplicate_key_counts_in_any_reading_order(
    low_first: bool,
) -> None:
    directory = Directory(ActiveRules())
    low, high = record("contact", "c", emails="low@x.com"), record("contact", "c", emails="high@x.com")
    for given, source in [(low, LOW), (high, HIGH)] if low_first else [(high, HIGH), (low, LOW)]:
        directory.upsert(KEY, given, source)

    assert read_addresses(directory) == ["low@x.com"]
    assert directory.duplicate_keys == 1

    # Compaction removes the tombstone in time, and a replica that starts then reads only the other message.
    directory.delete(KEY, LOW)

    assert read_addresses(directory) == ["high@x.com"]
    assert directory.duplicate_keys == 0


def test_record_with_invalid_last_message_is_missing_until_a_valid_one_comes() -> None:
    directory = Directory(ActiveRules())
    directory.upsert(KEY, record("contact", "c", emails="ann@x.com"), LOW)

    change = directory.mark_invalid(KEY, LOW)

    assert set(change.addresses) == {"ann@x.com"}
    assert read_addresses(directory) == []
    assert directory.is_invalid(KEY)

    directory.upsert(KEY, record("contact", "c", emails="back@x.com"), LOW)

    assert read_addresses(directory) == ["back@x.com"]
    assert not directory.is_invalid(KEY)


def test_lower_version_is_applied_and_counted() -> None:
    world = World()
    world.upsert("contact", "c", emails="seven@x.com", version=7)
    world.upsert("contact", "c", emails="six@x.com", version=6)

    assert world.forwards("contact", "c") == {"six@x.com": ["contact.address"]}
    assert world.directory.version_decreases == 1


# -- memory --------------------------------------------------------------------------------------


def test_record_with_its_indexes_needs_less_than_1000_bytes() -> None:
    # A process of its own, because clients of other tests allocate memory in this one.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        assert alone.submit(bytes_per_record, 5_000).result() < 1000


def bytes_per_record(count: int) -> float:
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    directory = Directory(ActiveRules())
    for number in range(count):
        id_, account = str(UUID(int=number << 64)), str(UUID(int=number // 10))
        contact = record(
            "contact",
            id_,
            version=number,
            modified_on=NOW + timedelta(seconds=number),
            emails=f"first.last.{number}@customer-{number}.example.com",
            parent_account_id=account,
        )
        directory.upsert(contact.key, contact, SOURCE)
    normalise.cache_clear()  # its size does not depend on the number of records
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    return (after - before) / count
