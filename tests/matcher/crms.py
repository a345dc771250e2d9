"""Random CRMs and their histories, small and dense: few ids and addresses, so that everything meets."""

from datetime import timedelta

from hypothesis import strategies as st

from shared.records import AnyRecord

from .worlds import NOW, record

IDS = ["1", "2", "3", "4"]
ADDRESSES = ["ann@x.com", "bob@x.com", "Cid@X.com", "dora@bücher.example", "DORA@xn--bcher-kva.example", "not an address"]
CONTACTS, ACCOUNTS, LEADS, OPPORTUNITIES, PROJECTS = ([f"{letter}{id_}" for id_ in IDS] for letter in "calop")


def _maybe(ids: list[str]) -> st.SearchStrategy[str | None]:
    return st.none() | st.sampled_from(ids)


emails = st.none() | st.lists(st.none() | st.sampled_from(ADDRESSES), max_size=3)
times = st.none() | st.integers(0, 3).map(lambda minutes: NOW + timedelta(minutes=minutes))
lookup = st.none() | st.one_of(
    st.builds(lambda id_: {"type": "account", "id": id_}, st.sampled_from(ACCOUNTS)),
    st.builds(lambda id_: {"type": "contact", "id": id_}, st.sampled_from(CONTACTS)),
)

records: st.SearchStrategy[AnyRecord] = st.one_of(
    st.builds(record, st.just("contact"), st.sampled_from(CONTACTS), emails=emails, modified_on=times, parent_account_id=_maybe(ACCOUNTS)),
    st.builds(record, st.just("account"), st.sampled_from(ACCOUNTS), emails=emails, modified_on=times, primary_contact_id=_maybe(CONTACTS)),
    st.builds(
        record,
        st.just("lead"),
        st.sampled_from(LEADS),
        emails=emails,
        modified_on=times,
        contact=st.none() | st.fixed_dictionaries({"email": st.none() | st.sampled_from(ADDRESSES)}),
        contact_id=_maybe(CONTACTS),
    ),
    st.builds(
        record,
        st.just("opportunity"),
        st.sampled_from(OPPORTUNITIES),
        emails=emails,
        modified_on=times,
        contact_id=_maybe(CONTACTS),
        stakeholder_ids=st.none() | st.lists(st.sampled_from(CONTACTS), max_size=3),
        account_id=_maybe(ACCOUNTS),
        lead_id=_maybe(LEADS),
    ),
    st.builds(
        record,
        st.sampled_from(["project", "ticket"]),
        st.sampled_from(PROJECTS),
        emails=emails,
        modified_on=times,
        lookups=st.none() | st.dictionaries(st.sampled_from(["customer", "partner"]), lookup, max_size=2),
    ),
)

changes: st.SearchStrategy[AnyRecord | tuple[str, str]] = records | records.map(lambda gone: (gone.type, gone.id))
"""A record that comes or changes, or (type, id) of one that goes, if it is there."""
