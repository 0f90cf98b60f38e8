"""A GS1 key out of a text that may be anything: an EPC URN, a Digital Link, or no GS1 identifier at all."""

from __future__ import annotations

from schemas.gs1.digital_link import parse_digital_link
from schemas.gs1.keys import Key
from schemas.gs1.urn import parse_urn


def find_key(text: str) -> Key | None:
    """The key that an EPC URN (`urn:epc:…`) or a web address names; None where it is none."""
    if text.startswith("urn:epc:"):
        found = parse_urn(text)
    elif text.startswith("http"):
        found = parse_digital_link(text)
    else:
        return None
    return found if isinstance(found, Key) else None
