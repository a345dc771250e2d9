from dataclasses import replace

import pytest

from services.tracking.domain.visibility import DefaultReaders, Gone, Record, User

from .worlds import ANN, BEN, CONTOSO, EVE, RENEWAL

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
def test_readers_are_everybody_a_user_or_a_group_of_the_record_s_own_tenant(
    readers: tuple[str, ...], user: User, may: bool
) -> None:
    assert OPEN.may_read(user, Record(RENEWAL, readers=readers)) is may


def test_absent_readers_are_the_tenant_s_setting() -> None:
    record = Record(RENEWAL, readers=None)
    assert OPEN.may_read(ANN, record)
    assert not CLOSED.may_read(ANN, record)
    assert CLOSED.may_read(IN_SALES, record)
    assert CLOSED.resolved(record) == ("group:sales",)


def test_an_empty_list_of_readers_is_not_an_absent_one() -> None:
    assert OPEN.resolved(Record(RENEWAL, readers=())) == ()


def test_a_token_with_too_many_groups_has_none() -> None:
    too_many = replace(IN_SALES, groups=frozenset(), groups_missing=True)
    assert not OPEN.may_read(too_many, Record(RENEWAL, readers=("group:sales",)))


def test_a_gone_record_keeps_its_readers() -> None:
    gone = Record(RENEWAL, readers=("user:oid-ann",), gone=Gone.DELETED)
    assert OPEN.may_read(ANN, gone)
    assert not OPEN.may_read(BEN, gone)
