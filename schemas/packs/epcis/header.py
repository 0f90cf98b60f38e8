"""Owns what a document for a partner says of its shipments beside the events: the transaction statement and the master
data that they refer to, in the form of GS1 US's guideline (R1.2, R1.3), as `transaction.py` reads it.

Everything is what the shipments' own records carry (their part `transaction`); nothing is made up, and there is no
clock: equal batches say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from schemas.gs1.keys import SGLN, SGTIN, KeyType, split
from schemas.packs.epcis.older import prefix_length, stated_prefixes
from schemas.packs.epcis.transaction import AFFIRMED, Attributes, Transaction, is_shipment, read_transaction

NAMESPACE = "http://epcis.gs1us.org/hc/ns"
"""Of the statement; its usual prefix is PREFIX."""
PREFIX = "gs1ushc"
STATEMENT, _AFFIRMED, _NOTICE = "dscsaTransactionStatement", "affirmTransactionStatement", "legalNotice"
_TYPE = "urn:epcglobal:epcis:vtype:"
_MDA_XML, _MDA_JSON = "urn:epcglobal:cbv:mda#", "cbvmda:"

Vocabulary = tuple[str, Mapping[str, Attributes]]
"""Type, and attributes by identifier."""


class Header(NamedTuple):
    """What is said of all shipments of a batch."""

    statements: tuple[tuple[str, str], ...] = ()
    """Affirmation (`true`, `1`) and legal notice of the transaction statement, each pair once; none: it is not affirmed
    of every shipment."""
    vocabularies: tuple[Vocabulary, ...] = ()

    def statement_json(self, prefix: str) -> Any:
        """The statement, where there is one; of several a list. `prefix`: that of NAMESPACE."""
        said = [
            {f"{prefix}:{_AFFIRMED}": affirmed} | ({f"{prefix}:{_NOTICE}": notice} if notice else {})
            for affirmed, notice in self.statements
        ]
        return said[0] if len(said) == 1 else said

    def statement_xml(self, prefix: str) -> str:
        """The statement as elements."""
        return "".join(
            f"<{prefix}:{STATEMENT}><{prefix}:{_AFFIRMED}>{affirmed}</{prefix}:{_AFFIRMED}>"
            f"{f'<{prefix}:{_NOTICE}>{_escaped(notice)}</{prefix}:{_NOTICE}>' if notice else ''}"
            f"</{prefix}:{STATEMENT}>"
            for affirmed, notice in self.statements
        )

    def vocabulary_list_json(self) -> list[dict[str, Any]]:
        """The master data as `vocabularyList`."""
        return [
            {
                "type": _TYPE + kind,
                "vocabularyElementList": [
                    {
                        "id": identifier,
                        "attributes": [{"id": _named(name, _MDA_JSON), "attribute": said[name]} for name in said],
                    }
                    for identifier, said in elements.items()
                ],
            }
            for kind, elements in self.vocabularies
        ]

    def master_data_xml(self) -> str:
        """The master data as the header's `extension`; empty: there is none."""
        listed = "".join(
            f'<Vocabulary type="{_TYPE}{kind}"><VocabularyElementList>{"".join(map(_element, elements.items()))}'
            "</VocabularyElementList></Vocabulary>"
            for kind, elements in self.vocabularies
        )
        if not listed:
            return ""
        return f"<extension><EPCISMasterData><VocabularyList>{listed}</VocabularyList></EPCISMasterData></extension>"


def header_of(records: Sequence[Mapping[str, Any]]) -> Header:
    """What the payloads of a batch say of their shipments. Of two that tell the same thing otherwise, the later
    shipment is believed (`eventTime`, then its place in the batch)."""
    shipments = [record for record in records if is_shipment(record["event"])]
    said = [(record["event"], read_transaction(record.get("transaction", {}))) for record in shipments]
    told = sorted(((e, t) for e, t in said if t is not None), key=lambda pair: pair[0]["eventTime"])
    if not any(transaction != Transaction() for _, transaction in told):
        return Header()
    affirmed = len(told) == len(shipments) and all(one.affirmed in AFFIRMED for _, one in told)
    statements = tuple(dict.fromkeys((one.affirmed, one.notice) for _, one in told)) if affirmed else ()
    prefixes = stated_prefixes(record["event"] for record in records)
    return Header(statements, tuple(_vocabularies([one for _, one in told], prefixes)))


def _vocabularies(told: Iterable[Transaction], prefixes: set[str]) -> Iterable[Vocabulary]:
    trade_items: dict[str, Attributes] = {}
    parties: dict[str, Attributes] = {}
    for transaction in told:
        trade_items |= transaction.trade_items
        parties |= transaction.parties
    if trade_items:
        yield "EPCClass", {_class(gtin, prefixes): trade_items[gtin] for gtin in sorted(trade_items)}
    if parties:
        yield "Location", {_location(gln, prefixes): parties[gln] for gln in sorted(parties)}


def _class(gtin: str, prefixes: set[str]) -> str:
    """A GTIN as the guideline writes it; as a link where no event says how long its company prefix is."""
    parts = _parts(SGTIN, gtin, prefixes)
    return f"urn:epc:idpat:sgtin:{parts}.*" if parts else f"https://id.gs1.org/01/{gtin}"


def _location(gln: str, prefixes: set[str]) -> str:
    parts = _parts(SGLN, gln, prefixes)
    return f"urn:epc:id:sgln:{parts}.0" if parts else f"https://id.gs1.org/414/{gln}"


def _parts(kind: KeyType, value: str, prefixes: set[str]) -> str:
    length = prefix_length(kind, value, prefixes)
    return "" if length is None else ".".join(split(kind, value, length))


def _element(element: tuple[str, Attributes]) -> str:
    identifier, said = element
    inside = "".join(
        f"<attribute id={quoteattr(_named(name, _MDA_XML))}>{_escaped(text)}</attribute>" for name, text in said.items()
    )
    return f"<VocabularyElement id={quoteattr(identifier)}>{inside}</VocabularyElement>"


def _named(name: str, start: str) -> str:
    """The identifier of an attribute: of CBV's own the payload holds the bare name."""
    return name if ":" in name else start + name


def _escaped(text: str) -> str:
    return escape(text, {"\r": "&#13;"})
