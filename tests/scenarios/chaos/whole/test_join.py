"""The brute-force join of the judges agrees with the oracle of the matcher's law, and has the cap of 50."""

from hypothesis import given
from hypothesis import strategies as st

from scenarios.chaos.whole.join import Join, comparable
from shared.addresses import normalise
from shared.records import AnyRecord
from tests.matcher import oracle
from tests.matcher.crms import ADDRESSES, records


@given(st.lists(records, max_size=12), st.lists(st.sampled_from(ADDRESSES), max_size=3))
def test_join_equals_the_oracle(published: list[AnyRecord], addresses: list[str]) -> None:
    db: oracle.Db = {(record.type, record.id): record for record in published}
    crm = {key: record.model_dump(mode="json") for key, record in db.items()}
    found = {
        (type_, id_, rule, normalise(addresses[index]))
        for type_, id_, rule, index in Join(crm).reasons(addresses)
    }
    participants = [("to", address) for address in addresses]
    expected = {
        (*record_id, rule, address)
        for record_id, reasons in oracle.reasons(db, participants).items()
        for rule, _, address in reasons
    }
    assert found == expected


def test_first_50_contacts_are_the_last_modified_ones() -> None:
    crm = {
        ("contact", f"c{number:02}"): {
            "emails": [f"c{number:02}@x.example"],
            "parent_account_id": "a",
            "modified_on": f"2026-11-{1 + number // 2:02}T09:00:00+00:00",
        }
        for number in range(52)
    } | {("account", "a"): {}}
    join = Join(crm)
    by_contact = [
        number
        for number in range(52)
        if ("account", "a", "account.contact", 0) in join.reasons([f"c{number:02}@x.example"])
    ]
    assert by_contact == list(range(2, 52))


def test_addresses_compare_as_the_documents_say() -> None:
    for address in ADDRESSES:
        assert comparable(f" {address} ") == normalise(address)
