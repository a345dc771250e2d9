from dataclasses import replace

import pytest

from services.tracking.domain.visibility import DefaultReaders, KnownRecord, RecordAbsence, User
from tests.tracking.worlds import ANN, BEN, CONTOSO, EVE, RENEWAL

OPEN = DefaultReaders({"*": ("*",)})
CLOSED = DefaultReaders({"*": ("*",), CONTOSO: ("group:sales",)})
IN_SALES = replace(BEN, groups=frozenset({"sales"}))


@pytest.mark.parametrize(
    "readers,user,may",
    [
        (("*",), ANN, True),
        (("*",), EVE, False),
        (("user:oid-ann",), ANN, True),
        (("user:oid-ann",), BEN, False),
        (("group:sales",), IN_SALES, True),
        (("group:sales",), BEN, False),
        (("group:oid-ben",), BEN, False),
        ((), ANN, False),
        (("user:oid-eve", "group:sales"), EVE, False),
    ],
)
def test_readers_are_all_users_a_user_or_a_group_of_the_record_s_tenant(
    readers: tuple[str, ...], user: User, may: bool
) -> None:
    assert OPEN.may_read(user, KnownRecord(RENEWAL, readers=readers)) is may


def test_absent_readers_are_the_tenant_s_setting() -> None:
    record = KnownRecord(RENEWAL, readers=None)
    assert OPEN.may_read(ANN, record)
    assert not CLOSED.may_read(ANN, record)
    assert CLOSED.may_read(IN_SALES, record)
    assert CLOSED.resolve(record) == ("group:sales",)


def test_empty_readers_are_not_absent_readers() -> None:
    assert OPEN.resolve(KnownRecord(RENEWAL, readers=())) == ()


def test_token_with_too_many_groups_counts_as_having_none() -> None:
    too_many = replace(IN_SALES, groups=frozenset(), groups_missing=True)
    assert not OPEN.may_read(too_many, KnownRecord(RENEWAL, readers=("group:sales",)))


def test_absent_record_keeps_its_readers() -> None:
    deleted = KnownRecord(RENEWAL, readers=("user:oid-ann",), absence=RecordAbsence.DELETED)
    assert OPEN.may_read(ANN, deleted)
    assert not OPEN.may_read(BEN, deleted)
