"""Each error of MongoDB at each operation of the store leaves it by its class; on both drivers."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from services.tracking import store as package
from services.tracking.settings import TrackingSettings
from services.tracking.store import Store
from shared.topics import TRACKING
from tests.support.store_faults import (
    FAULTS,
    REPRESENTATIVES,
    Fault,
    StoreCases,
    operations,
    quick_to_find_its_primary,
)

from .operations import EXPECT_DUPLICATES, OPERATIONS, prepare

CASES = StoreCases(TRACKING, OPERATIONS, EXPECT_DUPLICATES)


def test_every_operation_has_a_case() -> None:
    assert operations(package) - {"Store.close"} == OPERATIONS.keys()


@pytest.mark.parametrize("fault", REPRESENTATIVES, ids=str)
async def test_error_at_the_first_command_leaves_by_its_class(
    store: Store, mongodb_uri: str, fault: Fault
) -> None:
    await prepare(store)
    await CASES.check(store, mongodb_uri, fault, 1)


@pytest.fixture
async def quick_store(settings: TrackingSettings) -> AsyncIterator[Store]:
    uri = SecretStr(quick_to_find_its_primary(settings.mongodb_uri.get_secret_value()))
    store = Store(settings.model_copy(update={"mongodb_uri": uri}))
    await store.create_indexes()
    yield store
    await store.close()


async def test_no_fault_makes_suggestions_seem_stored(quick_store: Store, mongodb_uri: str) -> None:
    await prepare(quick_store)
    for fault in FAULTS:
        await CASES.check(quick_store, mongodb_uri, fault, 2, "SuggestionCollection.upsert_newer")


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
