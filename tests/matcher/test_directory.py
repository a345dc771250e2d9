"""The directory: the cap, what is there, which message of a key counts, tenants, and what it costs."""

import gc
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from uuid import UUID

import pytest

from services.matcher.domain.directory import Directory
from services.matcher.domain.rules import Rules
from shared.addresses import normalise

from .worlds import NOW, PLACE, TENANT, World, record


def contacts(world: World, count: int, account: str = "a") -> None:
    """Contacts c00, c01, … of one account, each modified a minute before the one before."""
    for number in range(count):
        world.put(
            "contact",
            f"c{number:02}",
            emails=f"c{number:02}@x.com",
            parent_account_id=account,
            modified_on=NOW - timedelta(minutes=number),
        )


def test_the_50_contacts_modified_last_belong_to_an_account_and_no_51st() -> None:
    world = World()
    world.put("account", "a")
    contacts(world, 52)

    assert set(world.forwards("account", "a")) == {f"c{number:02}@x.com" for number in range(50)}
    assert world.backwards("c49@x.com") == {
        ("account", "a"): ["account.contact"],
        ("contact", "c49"): ["contact.address"],
    }
    assert world.backwards("c50@x.com") == {("contact", "c50"): ["contact.address"]}


def test_an_opportunity_has_all_contacts_of_its_account() -> None:
    world = World()
    world.put("opportunity", "o", account_id="a")
    contacts(world, 52)

    assert len(world.forwards("opportunity", "o")) == 52
    assert ("opportunity", "o") in world.backwards("c51@x.com")


def test_contacts_modified_at_one_time_are_ordered_by_id_and_absent_sorts_oldest() -> None:
    world = World()
    world.put("account", "a")
    for number in reversed(range(51)):
        world.put(
            "contact", f"c{number:02}", emails=f"c{number:02}@x.com", parent_account_id="a", modified_on=NOW
        )
    world.put("contact", "a-first-id", emails="never@x.com", parent_account_id="a")

    assert set(world.forwards("account", "a")) == {f"c{number:02}@x.com" for number in range(50)}


def test_a_contact_without_an_email_takes_a_place_among_the_50() -> None:
    world = World()
    world.put("account", "a")
    contacts(world, 50)
    world.put(
        "contact",
        "silent",
        emails=[None, "second@x.com"],
        parent_account_id="a",
        modified_on=NOW + timedelta(days=1),
    )

    assert "c49@x.com" not in world.forwards("account", "a")


def test_who_becomes_the_51st_is_touched_with_who_pushed_it_out_and_nobody_else() -> None:
    world = World()
    world.put("account", "a")
    contacts(world, 50)

    pushed = world.put(
        "contact", "new", emails="new@x.com", parent_account_id="a", modified_on=NOW + timedelta(days=1)
    )
    gone = world.delete("contact", "c00")
    moved = world.put(
        "contact", "c49", emails="c49@x.com", parent_account_id="b", modified_on=NOW - timedelta(minutes=49)
    )

    assert set(pushed.addresses) == {"new@x.com", "c49@x.com"}
    assert set(gone.addresses) == {"c00@x.com", "c49@x.com"}
    assert set(moved.addresses) == {"c49@x.com"}


def test_a_new_name_or_version_touches_nothing() -> None:
    world = World()
    world.put("account", "a", primary_contact_id="c", emails="info@x.com", name="Before", version=1)

    touched = world.put("account", "a", primary_contact_id="c", emails="INFO@x.com ", name="After", version=2)

    assert not touched.addresses
    assert not touched.reordered


def test_a_new_time_touches_no_address_but_says_that_the_order_changed() -> None:
    world = World()
    world.put("account", "a", emails="info@x.com", modified_on=NOW)

    touched = world.put("account", "a", emails="info@x.com", modified_on=NOW + timedelta(days=1))

    assert not touched.addresses
    assert touched.reordered


def test_a_stakeholder_added_touches_only_that_contacts_email() -> None:
    world = World()
    for number in range(20):
        world.put("contact", f"c{number}", emails=[f"c{number}@x.com", f"second{number}@x.com"])
    world.put("opportunity", "o", stakeholder_ids=[f"c{number}" for number in range(19)])

    assert set(
        world.put("opportunity", "o", stakeholder_ids=[f"c{number}" for number in range(20)]).addresses
    ) == {"c19@x.com"}


def test_a_dangling_link_heals_when_the_record_comes_and_dangles_again_when_it_goes() -> None:
    world = World()
    world.put("opportunity", "o", contact_id="c")
    assert world.backwards("ann@x.com") == {}

    world.put("contact", "c", emails="ann@x.com")
    assert ("opportunity", "o") in world.backwards("ann@x.com")

    assert set(world.delete("contact", "c").addresses) == {"ann@x.com"}
    assert world.backwards("ann@x.com") == {}
    assert world.forwards("opportunity", "o") == {}


def test_children_of_an_account_that_is_not_there_yet_are_its_contacts_when_it_comes() -> None:
    world = World()
    contacts(world, 2)

    touched = world.put("account", "a")

    assert set(touched.addresses) == set(world.forwards("account", "a")) == {"c00@x.com", "c01@x.com"}


def test_addresses_compare_trimmed_lower_cased_and_in_idna() -> None:
    world = World()
    world.put("contact", "c", emails=" Ann@Bücher.example ")

    assert world.backwards("ANN@xn--bcher-kva.example") == {("contact", "c"): ["contact.address"]}
    assert world.backwards("ann+tag@bücher.example") == {}


def test_what_is_empty_is_no_address() -> None:
    world = World()
    world.put("contact", "c", emails=["  ", "ann@x.com"])
    world.put("opportunity", "o", contact_id="c")

    assert world.forwards("contact", "c") == {"ann@x.com": ["contact.address"]}
    assert world.forwards("opportunity", "o") == {}
    assert world.backwards("") == {}


def test_a_tenant_sees_nothing_of_another() -> None:
    world = World()
    world.put("contact", "c", emails="ann@x.com")

    assert world.directory.of("contoso").related("ann@x.com") == ()
    assert world.directory.of("contoso").addresses(("contact", "c")) == {}
    assert world.directory.tenants == [TENANT]


# -- which message of a key counts ----------------------------------------------------------------

KEY = (TENANT, "contact", "c")
LOW, HIGH = ("records", 2), ("records", 10)


def reading(directory: Directory) -> list[str]:
    return sorted(directory.of(TENANT).addresses(("contact", "c")))


@pytest.mark.parametrize("low_first", [True, False])
def test_of_a_key_in_two_partitions_the_lowest_counts_in_whichever_order_they_are_read(
    low_first: bool,
) -> None:
    directory = Directory(Rules())
    low, high = record("contact", "c", emails="low@x.com"), record("contact", "c", emails="high@x.com")
    for given, place in [(low, LOW), (high, HIGH)] if low_first else [(high, HIGH), (low, LOW)]:
        directory.apply(KEY, given, place)

    assert reading(directory) == ["low@x.com"]
    assert directory.duplicate_keys == 1

    # A tombstone is compacted away in time, and whoever starts then knows the other one only.
    directory.apply(KEY, None, LOW)

    assert reading(directory) == ["high@x.com"]
    assert directory.duplicate_keys == 0


def test_a_record_whose_last_message_is_refused_is_not_there_until_a_good_one_comes() -> None:
    directory = Directory(Rules())
    directory.apply(KEY, record("contact", "c", emails="ann@x.com"), LOW)

    touched = directory.apply(KEY, None, LOW, refused=True)

    assert set(touched.addresses) == {"ann@x.com"}
    assert reading(directory) == []
    assert directory.is_refused(KEY)

    directory.apply(KEY, record("contact", "c", emails="back@x.com"), LOW)

    assert reading(directory) == ["back@x.com"]
    assert not directory.is_refused(KEY)


def test_a_version_that_goes_down_is_counted_and_counts() -> None:
    world = World()
    world.put("contact", "c", emails="seven@x.com", version=7)
    world.put("contact", "c", emails="six@x.com", version=6)

    assert world.forwards("contact", "c") == {"six@x.com": ["contact.address"]}
    assert world.directory.versions_down == 1


# -- what it costs --------------------------------------------------------------------------------


def test_a_record_with_its_indexes_takes_less_than_1000_bytes() -> None:
    # In a process of its own: here, other tests' clients allocate beside it.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        assert alone.submit(bytes_per_record, 5_000).result() < 1000


def bytes_per_record(count: int) -> float:
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    directory = Directory(Rules())
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
        directory.apply(contact.key, contact, PLACE)
    normalise.cache_clear()  # of a fixed size, however many records there are
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    return (after - before) / count
