"""One database for all tests of the store."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.support.databases import delete_documents, drop_databases


@pytest.fixture(scope="package")
def lasting_database(mongodb_uri: str) -> Iterator[str]:
    """The name of a database for all tests of this package."""
    name = f"test-{uuid4().hex[:12]}-mail-ingest"
    yield name
    drop_databases(mongodb_uri, name)


@pytest.fixture
def mongodb_database(mongodb_uri: str, lasting_database: str) -> Iterator[str]:
    """The name of a database without documents; it is emptied at the end, which is cheaper than dropped."""
    yield lasting_database
    delete_documents(mongodb_uri, lasting_database)
