"""The oracle of the law: the addresses of a record, written by hand from the documentation.

It has no table and no index, and shares no code with the matcher except for the normal form of addresses.
"""

from collections.abc import Iterable

from shared.addresses import normalise
from shared.records import Account, AnyRecord, Contact, CustomRecord, Lead, Opportunity

Db = dict[tuple[str, str], AnyRecord]


def addresses(db: Db, record: AnyRecord) -> set[tuple[str, str]]:
    """(rule, normalised address) of a record."""
    found: list[tuple[str, str | None]] = []
    match record:
        case Account():
            found.append(("account.primary_contact", email(db, record.primary_contact_id)))
            first = sorted(children(db, record.id), key=lambda contact: contact.id)
            first.sort(
                key=lambda contact: contact.modified_on.timestamp() if contact.modified_on else -1e18,
                reverse=True,
            )
            found += [("account.contact", email(db, contact.id)) for contact in first[:50]]
            found += [("account.address", address) for address in all_addresses(record)]
        case Opportunity():
            found.append(("opportunity.contact", email(db, record.contact_id)))
            found += [("opportunity.stakeholder", email(db, id_)) for id_ in record.stakeholder_ids or ()]
            found += [("opportunity.address", address) for address in all_addresses(record)]
            if record.account_id:
                found += [
                    ("opportunity.account_contact", email(db, contact.id))
                    for contact in children(db, record.account_id)
                ]
            lead = db.get(("lead", record.lead_id or ""))
            if isinstance(lead, Lead):
                found.append(("opportunity.lead", lead.contact.email if lead.contact else None))
                found.append(("opportunity.lead_contact", email(db, lead.contact_id)))
        case Lead():
            found.append(("lead.contact_section", record.contact.email if record.contact else None))
            found.append(("lead.contact", email(db, record.contact_id)))
            found += [("lead.address", address) for address in all_addresses(record)]
        case Contact():
            found += [("contact.address", address) for address in all_addresses(record)]
        case CustomRecord():
            for lookup in (record.lookups or {}).values():
                found += lookup_addresses(db, db.get((lookup.type, lookup.id)) if lookup else None)
    return {(rule, normalise(address)) for rule, address in found if address and address.strip()}


def lookup_addresses(db: Db, record: AnyRecord | None) -> list[tuple[str, str | None]]:
    if isinstance(record, Account):
        primary = email(db, record.primary_contact_id)
        return [
            ("custom.account_primary_contact", primary),
            *(("custom.account_address", address) for address in all_addresses(record)),
        ]
    if isinstance(record, Contact):
        return [("custom.contact_address", address) for address in all_addresses(record)]
    return []


def email(db: Db, contact_id: str | None) -> str | None:
    contact = db.get(("contact", contact_id or ""))
    return contact.emails[0] if contact and contact.emails else None


def all_addresses(record: AnyRecord) -> Iterable[str]:
    return [address for address in record.emails or () if address]


def children(db: Db, account_id: str) -> list[Contact]:
    return [
        record
        for record in db.values()
        if isinstance(record, Contact) and record.parent_account_id == account_id
    ]


def reasons(
    db: Db, participants: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], set[tuple[str, str, str]]]:
    """Record -> (rule, role, address) for participants of (role, address). It reads every record."""
    found: dict[tuple[str, str], set[tuple[str, str, str]]] = {}
    for ref, record in db.items():
        own = addresses(db, record)
        matching = {
            (rule, role, normalise(address))
            for role, address in participants
            for rule, own_address in own
            if own_address == normalise(address)
        }
        if matching:
            found[ref] = matching
    return found
