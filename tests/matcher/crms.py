"""Random CRMs and histories of changes. Few ids and addresses, so that most records are related."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import strategies as st

from shared.records import AnyRecord

from .worlds import NOW, record

V = TypeVar("V")

ADDRESSES = [
    "ann@x.com",
    "bob@x.com",
    "Cid@X.com",
    "dora@bücher.example",
    "DORA@xn--bcher-kva.example",
    "not an address",
]
CONTACTS, ACCOUNTS, LEADS, OPPORTUNITIES, PROJECTS = (
    ["c1", "c2", "c3", "c4", "c5"],
    ["a1", "a2"],
    ["l1", "l2"],
    ["o1", "o2"],
    ["p1", "p2"],
)


def mostly(values: Sequence[V]) -> st.SearchStrategy[V | None]:
    """One of these values, and in some cases None."""
    return st.sampled_from([*values, *values, None])


emails = st.lists(mostly(ADDRESSES), max_size=3) | st.lists(
    st.sampled_from(ADDRESSES), min_size=1, max_size=2
)
times = st.none() | st.integers(0, 3).map(lambda minutes: NOW + timedelta(minutes=minutes))
lookup = st.sampled_from(
    [
        None,
        *({"type": "account", "id": id_} for id_ in ACCOUNTS),
        *({"type": "contact", "id": id_} for id_ in CONTACTS),
    ]
)

FIELDS: dict[str, tuple[list[str], dict[str, st.SearchStrategy[Any]]]] = {
    "contact": (CONTACTS, {"parent_account_id": mostly(ACCOUNTS)}),
    "account": (ACCOUNTS, {"primary_contact_id": mostly(CONTACTS)}),
    "lead": (
        LEADS,
        {
            "contact": st.none() | st.fixed_dictionaries({"email": mostly(ADDRESSES)}),
            "contact_id": mostly(CONTACTS),
        },
    ),
    "opportunity": (
        OPPORTUNITIES,
        {
            "contact_id": mostly(CONTACTS),
            "stakeholder_ids": st.none() | st.lists(st.sampled_from(CONTACTS), max_size=3),
            "account_id": mostly(ACCOUNTS),
            "lead_id": mostly(LEADS),
        },
    ),
    "project": (
        PROJECTS,
        {
            "lookups": st.none()
            | st.dictionaries(st.sampled_from(["customer", "partner"]), lookup, max_size=2)
        },
    ),
    "ticket": (PROJECTS, {"lookups": st.none() | st.dictionaries(st.just("customer"), lookup, max_size=1)}),
}


def _records_of(type_: str) -> st.SearchStrategy[AnyRecord]:
    ids, links = FIELDS[type_]
    return st.builds(record, st.just(type_), st.sampled_from(ids), emails=emails, modified_on=times, **links)


RECORDS_OF = {type_: _records_of(type_) for type_ in FIELDS}
"""Built once: Hypothesis takes longer to build and validate a strategy than to draw from it."""

records: st.SearchStrategy[AnyRecord] = st.sampled_from(["contact", "contact", "contact", *FIELDS]).flatmap(
    RECORDS_OF.__getitem__
)
"""Contacts are more frequent, so that a cap is reached."""

changes: st.SearchStrategy[AnyRecord | tuple[str, str]] = st.tuples(records, st.integers(0, 5)).map(
    lambda drawn: drawn[0] if drawn[1] else (drawn[0].type, drawn[0].id)
)
"""A record that comes or changes, or the (type, id) of a record to delete, which may not exist."""
