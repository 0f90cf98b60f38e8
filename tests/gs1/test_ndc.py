"""National Drug Codes: three layouts, the billing form, and the GTIN around them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.gs1.characters import has_check_digit
from schemas.gs1.keys import NotAKey
from schemas.gs1.ndc import LAYOUTS, Ndc, gtin_of_ndc, ndc_of_gtin, parse_ndc


def ndc(text: str) -> Ndc:
    found = parse_ndc(text)
    assert isinstance(found, Ndc), found
    return found


@pytest.mark.parametrize(
    ("text", "eleven", "tens"),
    [
        ("0001-0123-45", "00001012345", {"0001012345"}),  # 4-4-2
        ("50242-040-62", "50242004062", {"5024204062"}),  # 5-3-2
        ("60575-4112-1", "60575411201", {"6057541121"}),  # 5-4-1
        ("60575-4112-01", "60575411201", {"6057541121"}),  # the billing form with hyphens
        ("60575411201", "60575411201", {"6057541121"}),
        ("00001012345", "00001012345", {"0001012345", "0000112345"}),  # may be 0001-0123-45 or 00001-123-45
        ("0001012345", None, {"0001012345"}),
    ],
)
def test_layouts(text: str, eleven: str | None, tens: set[str]) -> None:
    assert ndc(text).eleven == eleven
    assert set(ndc(text).tens) == tens


@pytest.mark.parametrize("text", ["", "1-2-3", "0001-0123", "12345-6789-012", "0001-0123-4x", "11111111111", "٣" * 10])
def test_what_is_no_code(text: str) -> None:
    assert isinstance(parse_ndc(text), NotAKey)


def test_the_published_example() -> None:
    assert ndc_of_gtin("00300010123455") == "0001012345"
    assert gtin_of_ndc("0001012345") == "00300010123455"
    assert gtin_of_ndc("0001012345", "5")[:3] == "503"


@pytest.mark.parametrize("gtin", ["00614141123452", "0300010123455", "", "x0300010123455"])
def test_a_gtin_without_a_code(gtin: str) -> None:
    assert ndc_of_gtin(gtin) is None


@given(st.sampled_from(LAYOUTS), st.data())
def test_a_code_is_found_in_its_gtin_from_every_form(layout: tuple[int, int, int], data: st.DataObject) -> None:
    digits = data.draw(st.text("0123456789", min_size=10, max_size=10))
    first, second = layout[0], layout[0] + layout[1]
    code = ndc("-".join((digits[:first], digits[first:second], digits[second:])))
    gtin = gtin_of_ndc(digits, data.draw(st.sampled_from("012345678")))
    assert has_check_digit(gtin)
    assert ndc_of_gtin(gtin) in code.tens
    assert code.eleven is not None
    assert ndc_of_gtin(gtin) in ndc(code.eleven).tens


@pytest.mark.parametrize(
    ("ten", "indicator"), [("000101234", "0"), ("0001012345", "9"), ("0001012345", ""), ("x" * 10, "0")]
)
def test_what_makes_no_gtin(ten: str, indicator: str) -> None:
    with pytest.raises(ValueError, match="NDC"):
        gtin_of_ndc(ten, indicator)
