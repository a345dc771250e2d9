"""One database for all tests of the store, which run with both drivers."""

from collections.abc import AsyncIterator, Iterator
from typing import cast

import pytest

from services.mail_ingest.store.database import Store
from shared.mongodb import Driver
from shared.topics import MAIL_INGEST
from tests.support.databases import delete_documents, scanned_database

from .stores import ANN, now, settings


@pytest.fixture(scope="session")
def lasting_database(mongodb_uri: str) -> Iterator[str]:
    """The name of a database for all tests of this package in this process."""
    with scanned_database(mongodb_uri, MAIL_INGEST) as name:
        yield name


@pytest.fixture
def mongodb_database(mongodb_uri: str, lasting_database: str) -> Iterator[str]:
    """The name of a database without documents; it is emptied at the end, which is cheaper than dropped."""
    yield lasting_database
    delete_documents(mongodb_uri, lasting_database)


@pytest.fixture(params=["motor", "pymongo"])
def driver(request: pytest.FixtureRequest) -> Driver:
    return cast("Driver", request.param)


@pytest.fixture
async def store(mongodb_uri: str, mongodb_database: str, driver: Driver) -> AsyncIterator[Store]:
    opened = Store(settings(mongodb_uri, mongodb_database), driver)
    await opened.create_indexes()
    await opened.mailboxes.enrol({ANN: ["ann@contoso.com"]}, now())
    yield opened
    await opened.close()
