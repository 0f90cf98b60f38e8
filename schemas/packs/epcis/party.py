"""Who sent an event and whom it is for: parties as GLNs where they can be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.gs1.characters import has_check_digit, is_digits
from schemas.gs1.uri import find_key
from schemas.kept import Kept
from schemas.packs.epcis.xml_models import SBDH
from schemas.packs.epcis.xml_text import Element

NOBODY = "none"
_ORDER = ("owning_party", "possessing_party", "location")
"""Of several sources or destinations, the one that tells who it is."""


def _party(text: str) -> str:
    key = find_key(text)
    return text if key is None else key.gln or text


_parties = Kept(_party, 2**12)


def party(text: str) -> str:
    """The GLN behind an identifier of a party or location; other texts as they are."""
    return _parties[text] if len(text) <= 200 else text


def is_gln(text: str) -> bool:
    """Whether a party is named by a GLN with a right check digit."""
    return len(text) == 13 and is_digits(text) and has_check_digit(text)


def of_header(root: Element) -> tuple[str, str]:
    """(sender, receiver) of a document's Standard Business Document Header; empty where it names none, or several, of
    which it does not say whose an event is."""
    header = root.child("EPCISHeader")
    sbdh = header.child("StandardBusinessDocumentHeader") if header else None
    if sbdh is None or sbdh.namespace != SBDH:
        return "", ""
    return _identifier(sbdh, "Sender"), _identifier(sbdh, "Receiver")


def _identifier(header: Element, role: str) -> str:
    partners = [child.child("Identifier") for child in header.children if child.local == role]
    found = {party(one.text.strip()) if one else "" for one in partners}
    return found.pop() if len(found) == 1 else ""


def of_event(event: Mapping[str, Any], end: str) -> str:
    """The `source` or `destination` of an event; NOBODY where it names none."""
    found = {pair.get("type"): pair.get(end, "") for pair in event.get(f"{end}List", ())}
    return next((party(found[kind]) for kind in _ORDER if found.get(kind)), NOBODY)
