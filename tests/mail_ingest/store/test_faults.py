"""Each error of MongoDB at each operation of the store leaves it by its class; on both drivers."""

from collections.abc import AsyncIterator

import pytest

from services.mail_ingest import store as package
from services.mail_ingest.store.database import Store
from shared.topics import MAIL_INGEST
from tests.support.store_faults import (
    FAULTS,
    REPRESENTATIVES,
    Fault,
    StoreCases,
    operations,
    quick_to_find_its_primary,
)

from .operations import EXPECT_DUPLICATES, OPERATIONS, prepare
from .stores import settings

CASES = StoreCases(MAIL_INGEST, OPERATIONS, EXPECT_DUPLICATES)


def test_every_operation_has_a_case() -> None:
    assert operations(package) - {"Store.close"} == OPERATIONS.keys()


@pytest.mark.parametrize("fault", REPRESENTATIVES, ids=str)
async def test_error_at_the_first_command_leaves_by_its_class(
    store: Store, mongodb_uri: str, fault: Fault
) -> None:
    await prepare(store)
    await CASES.check(store, mongodb_uri, fault, 1)


@pytest.fixture
async def quick_store(mongodb_uri: str, mongodb_database: str) -> AsyncIterator[Store]:
    store = Store(settings(quick_to_find_its_primary(mongodb_uri), mongodb_database))
    await store.create_indexes()
    yield store
    await store.close()


async def test_no_fault_makes_notified_items_seem_recorded(quick_store: Store, mongodb_uri: str) -> None:
    await prepare(quick_store)
    for fault in FAULTS:
        await CASES.check(quick_store, mongodb_uri, fault, 2, "MailboxWork.add_notified_items")


@pytest.mark.full("faults")
@pytest.mark.parametrize("fault", [each for each in FAULTS if not each.unsets_primary], ids=str)
async def test_error_at_any_command_leaves_by_its_class(store: Store, mongodb_uri: str, fault: Fault) -> None:
    await prepare(store)
    await CASES.check(store, mongodb_uri, fault, 20)


@pytest.mark.full("faults")
@pytest.mark.parametrize("fault", [each for each in FAULTS if each.unsets_primary], ids=str)
async def test_error_that_unsets_the_primary_leaves_by_its_class(
    quick_store: Store, mongodb_uri: str, fault: Fault
) -> None:
    await prepare(quick_store)
    await CASES.check(quick_store, mongodb_uri, fault, 1)
