"""Comparison of addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.addresses import normalise


@pytest.mark.parametrize(
    "written, compared",
    [
        ("  Ann@Fabrikam.COM\t", "ann@fabrikam.com"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("ann@BÜCHER.example", "ann@xn--bcher-kva.example"),
        ("ann@XN--BCHER-KVA.example", "ann@xn--bcher-kva.example"),
        ("ann@bu\u0308cher.example", "ann@xn--bcher-kva.example"),  # decomposed
        ("ann@faß.example", "ann@xn--fa-hia.example"),  # not "fass": UTS-46 without the transition
        ("ann@bücher。example", "ann@xn--bcher-kva.example"),  # an ideographic full stop
        ("ann@１２７.bücher.example", "ann@127.xn--bcher-kva.example"),  # full-width digits
        ("jörg@fabrikam.com", "jörg@fabrikam.com"),  # the local part is not a domain
        ("two@signs@bücher.example", "two@signs@xn--bcher-kva.example"),
        ("\u200b \ufeffann@fabrikam.com\u200e\u00a0\u2060", "ann@fabrikam.com"),  # invisible at both ends
        ("an\u200bn@fabrikam.com", "an\u200bn@fabrikam.com"),  # within, it is part of the address
        ("jo\u0308rg@fabrikam.com", "jörg@fabrikam.com"),  # decomposed
        ("JO\u0308RG@BÜCHER.example", "jörg@xn--bcher-kva.example"),
        ("jo\u0308rg", "jo\u0308rg"),  # no address, so no local part
    ],
)
def test_addresses_compare_trimmed_lower_cased_and_with_an_ascii_domain(written: str, compared: str) -> None:
    assert normalise(written) == compared


@pytest.mark.parametrize(
    "refused",
    [
        "ann@-bücher.example",
        "ann@bü_cher.example",
        "ann@xn--zzzzzz99999.example",
        "ann@bü..example",
        f"ann@{'ü' * 100}.example",
    ],
)
def test_a_domain_that_idna_refuses_is_only_lower_cased(refused: str) -> None:
    assert normalise(refused.upper()) == refused


@pytest.mark.parametrize(
    "no_address", ["", "Undisclosed Recipients", "/o=Contoso/cn=Ann", "ann@", "BÜCHER.example"]
)
def test_text_that_is_no_address_is_trimmed_and_lower_cased(no_address: str) -> None:
    assert normalise(f" {no_address} ") == no_address.lower()


@pytest.mark.parametrize(
    "one, other",
    [
        ("ann+crm@x.com", "ann@x.com"),
        ("a.nn@x.com", "ann@x.com"),
        ("ann@googlemail.com", "ann@gmail.com"),
        ("ann@x.com.", "ann@x.com"),
    ],
)
def test_local_parts_are_not_folded(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


ANYTHING = (
    st.text()
    | st.builds("{}@{}".format, st.text(), st.text())
    | st.builds("{}@{}.xn--{}".format, st.text(), st.text(), st.text("abc-0189ü"))
)


def test_a_text_that_is_too_long_for_an_address_takes_no_time() -> None:
    """NFC would take an hour for it, in which the process does nothing else."""
    text = " A" + "\u0300\u0316" * 300_000 + "@ü.de"
    assert normalise(text) == text.strip().lower()


@given(ANYTHING)
def test_normalising_twice_changes_nothing(address: str) -> None:
    assert normalise(normalise(address)) == normalise(address)


@given(ANYTHING)
def test_case_and_surrounding_space_are_ignored(address: str) -> None:
    assert normalise(f"\t{address.lower()} ") == normalise(address)
