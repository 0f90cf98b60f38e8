"""Canonical events as one EPCIS document in XML, 2.0 or 1.2: what `xml_event.py` reads, written back in the order that
`xml_models.py` says. A function of the records alone, without a clock: equal batches are equal bytes.

What 1.2 has no place for is `older.py`'s to take out beforehand."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import orjson

from schemas.packs.epcis import event as ev
from schemas.packs.epcis.event import Event
from schemas.packs.epcis.header import NAMESPACE, PREFIX, Header, header_of
from schemas.packs.epcis.json_document import latest
from schemas.packs.epcis.older import to_1_2
from schemas.packs.epcis.party import NOBODY, of_event
from schemas.packs.epcis.xml_models import EVENTS, LISTED, LOCAL, OTHER, SBDH, VERSIONS, Model, Particle

_LATER = frozenset({"extension", "baseExtension"})
"""Elements in which 1.2 holds what later versions added."""
_STANDARD = frozenset({"type", *(particle.name for model in VERSIONS["1.2"].values() for particle in model.children)})
_TEXT = "#text"
_NO_NAME = re.compile(r"^(?![^\W\d])|[^\w.\-]")
"""What an XML name cannot begin with or hold."""
_PREFIXES = {"urn:epcglobal:cbv:mda": "cbvmda", "http://www.w3.org/2000/01/rdf-schema#": "rdfs"}


def xml_document(payloads: Sequence[bytes], name: str) -> bytes:
    """An EPCISDocument 2.0 of records' payloads in their order, dated like that of `json_document`.

    Its header (SBDH) names the batch, and the sender and receiver of its events where all have the same ones; where
    they have not, there is none. What the records say of shipments under US law stands beside the events: see
    `header.py`.
    """
    records = _loaded(payloads)
    return _document(records, name, "2.0", header_of(records))


def xml_document_1_2(payloads: Sequence[bytes], name: str) -> bytes:
    """The same in EPCIS 1.2, without what that cannot say; a document that tells of shipments has a header in any case.
    Raises ValueError for an event that it cannot say at all; `older.check_1_2` tells beforehand."""
    records = _loaded(payloads)
    return _document(_in_1_2(records), name, "1.2", header_of(records))


def xml_document_of_events(payloads: Sequence[bytes], name: str) -> bytes:
    """What `xml_document` was before it told of shipments."""
    return _document(_loaded(payloads), name, "2.0", None)


def xml_document_1_2_of_events(payloads: Sequence[bytes], name: str) -> bytes:
    """What `xml_document_1_2` was before it told of shipments."""
    return _document(_in_1_2(_loaded(payloads)), name, "1.2", None)


def _loaded(payloads: Sequence[bytes]) -> list[dict[str, Any]]:
    return [orjson.loads(payload) for payload in payloads]


def _in_1_2(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**record, "event": to_1_2(record["event"])} for record in records]


def _document(records: Sequence[Mapping[str, Any]], name: str, version: str, header: Header | None) -> bytes:
    """header: what is said beside the events; None: the form knows of no such thing."""
    events = [record["event"] for record in records]
    writer = _Writer(version, {} if header is None else {NAMESPACE: PREFIX})
    listed = "".join(map(writer.event, events))
    created = latest(events)
    said = header or Header()
    statement = said.statement_xml(writer.prefix(NAMESPACE)) if said.statements else ""
    declared = "".join(f" xmlns:{prefix}={quoteattr(uri)}" for uri, prefix in writer.prefixes.items())
    # The header of 2.0 has no place for elements of others; the document has.
    around, behind = (statement, "") if version == "1.2" else ("", statement)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<epcis:EPCISDocument xmlns:epcis="urn:epcglobal:epcis:xsd:{version[0]}"{declared} schemaVersion="{version}" '
        f'creationDate="{created}">{_header(records, name, created, version, said.master_data_xml() + around)}'
        f"<EPCISBody><EventList>{listed}</EventList></EPCISBody>{behind}</epcis:EPCISDocument>"
    ).encode()


def _header(records: Sequence[Mapping[str, Any]], name: str, created: str, version: str, said: str) -> str:
    """The header with what is `said` behind the SBDH. In 1.2 no header is without one: then it names every party."""
    named = [
        {record.get(role) or of_event(record["event"], end) for record in records}
        for role, end in (("sender", "source"), ("receiver", "destination"))
    ]
    if said and version == "1.2":
        named = [names - {NOBODY} or names for names in named]
    elif NOBODY in named[0] | named[1] or any(len(names) > 1 for names in named):
        return f"<EPCISHeader>{said}</EPCISHeader>" if said else ""
    parties = "".join(
        f"<sbdh:{role}><sbdh:Identifier>{escape(party)}</sbdh:Identifier></sbdh:{role}>"
        for role, names in zip(("Sender", "Receiver"), named, strict=True)
        for party in sorted(names)
    )
    return (
        f'<EPCISHeader><sbdh:StandardBusinessDocumentHeader xmlns:sbdh="{SBDH}"><sbdh:HeaderVersion>1.0'
        f"</sbdh:HeaderVersion>{parties}<sbdh:DocumentIdentification><sbdh:Standard>EPCglobal</sbdh:Standard>"
        f"<sbdh:TypeVersion>{version}</sbdh:TypeVersion><sbdh:InstanceIdentifier>{name}</sbdh:InstanceIdentifier>"
        f"<sbdh:Type>Events</sbdh:Type><sbdh:CreationDateAndTime>{created}</sbdh:CreationDateAndTime>"
        f"</sbdh:DocumentIdentification></sbdh:StandardBusinessDocumentHeader>{said}</EPCISHeader>"
    )


class _Writer:
    """Writes parts of events, and numbers the namespaces of fields of one's own as it meets them."""

    def __init__(self, version: str, usual: Mapping[str, str]) -> None:
        """usual: prefixes by namespace, beside those of the standard."""
        self.prefixes: dict[str, str] = {}
        self._usual = {**_PREFIXES, **usual}
        self._models, self._listed, self._old = VERSIONS[version], LISTED[version], version == "1.2"

    def event(self, event: Event) -> str:
        """An event. One of a type that is not the standard's is an element of its own, as the XSD has it."""
        kind = event["type"]
        if kind not in EVENTS | self._listed:
            return self._element(kind, {name: part for name, part in event.items() if name != "type"})
        written = f"<{kind}>{self.fields(event, self._models[kind])}</{kind}>"
        return written if kind in self._listed else f"<extension>{written}</extension>"

    def fields(self, part: Event, model: Model) -> str:
        """What a part holds, in the order of its model."""
        known = {"type", *(particle.name for particle in model.children)}
        return "".join(self._particle(part, particle, known) for particle in model.children)

    def _particle(self, part: Event, particle: Particle, known: Container[str]) -> str:
        name, kind = particle.name, particle.type
        if self._old and name in _LATER:
            inside = self._later(part, self._models[kind], name)
            return f"<{name}>{inside}</{name}>" if inside else ""
        if self._old and name in (OTHER, LOCAL):
            named = {key: part[key] for key in part if (key[:1] == "{" or ":" in key) == (name == OTHER)}
            return self._own(named, _STANDARD)
        if name == OTHER:
            return self._own(part, known)
        if name in part:
            return self._field(name, kind, part[name])
        return f"<{name}/>" if kind == "EPCList" and particle.least else ""

    def _later(self, part: Event, model: Model, name: str) -> str:
        """What 1.2 holds in an `extension`: fields without a namespace stand in the innermost, of the event alone."""
        if name == "extension":
            return self.fields(part, model)
        return "".join(self._particle(part, one, ()) for one in model.children if one.name not in _LATER)

    def _field(self, name: str, kind: str, part: Any) -> str:
        if kind == "EPCList":
            inside = self._texts("epc", part)
        elif kind == "QuantityList":
            inside = "".join(
                f"<quantityElement>{self.fields(one, self._models['QuantityElement'])}</quantityElement>"
                for one in part
            )
        elif name in ev.PAIR_LISTS:
            inside = "".join(self._pair(one, name) for one in part)
        elif name == "persistentDisposition":
            inside = "".join(self._texts(key, part.get(key, ()), name) for key in ("unset", "set"))
        elif kind == "CorrectiveIDs":
            inside = self._texts("correctiveEventID", part)
        elif name == "sensorElementList":
            inside = "".join(f"<sensorElement>{''.join(self._sensor(one))}</sensorElement>" for one in part)
        elif name == "certificationInfo":
            return self._texts(name, part)
        elif isinstance(part, dict):
            inside = self.fields(part, self._models[kind])
        else:
            return self._texts(name, part if isinstance(part, list) else [part])
        return f"<{name}>{inside}</{name}>"

    def _pair(self, pair: Event, within: str) -> str:
        name = ev.PAIR_LISTS[within][0]
        kind = f" type={quoteattr(self._value('type', pair['type'], within))}" if "type" in pair else ""
        return f"<{name}{kind}>{escape(pair.get(name, ''))}</{name}>"

    def _sensor(self, element: Event) -> Iterator[str]:
        if ev.SENSOR_METADATA in element:
            yield self._attributes(ev.SENSOR_METADATA, element[ev.SENSOR_METADATA])
        for report in element.get(ev.SENSOR_REPORT, ()):
            yield self._attributes(ev.SENSOR_REPORT, report)
        yield self._own(element, {ev.SENSOR_METADATA, ev.SENSOR_REPORT})

    def _attributes(self, name: str, part: Event) -> str:
        """An element of attributes. A field of one's own with parts has no place there but as JSON."""
        found = f"<{name}"
        for key, one in part.items():
            text = self._value(key, one, name) if isinstance(one, str) else orjson.dumps(one).decode()
            found += f" {self._name(key)}={quoteattr(text)}"
        return found + "/>"

    def _own(self, part: Event, known: Container[str] = ()) -> str:
        """Fields of one's own: those that are not `known`."""
        names = [name for name in part if name not in known and name != _TEXT]
        return "".join(self._element(name, part[name]) for name in names)

    def _element(self, name: str, part: Any) -> str:
        if isinstance(part, list):
            return "".join(self._element(name, one) for one in part)
        inside = escape(part) if isinstance(part, str) else escape(part.get(_TEXT, "")) + self._own(part)
        return f"<{self._name(name)}>{inside}</{self._name(name)}>"

    def _name(self, name: str) -> str:
        """`prefix:local` of `{namespace}local`. What no XML name can hold is written as SQL/XML does (ISO 9075-14)."""
        if name[:1] == "{":
            namespace, _, local = name[1:].rpartition("}")
        else:
            namespace, _, local = name.rpartition(":")
        local = _NO_NAME.sub(lambda found: f"_x{ord(found[0]):04X}_" if found[0] else "_", local)
        return f"{self.prefix(namespace)}:{local}" if namespace else local

    def prefix(self, namespace: str) -> str:
        """The prefix of a namespace, which is declared from now on."""
        if namespace not in self.prefixes:
            self.prefixes[namespace] = self._usual.get(namespace, f"ext{len(self.prefixes) + 1}")
        return self.prefixes[namespace]

    def _texts(self, name: str, items: Iterable[str], within: str = "") -> str:
        return "".join(f"<{name}>{escape(self._value(name, one, within))}</{name}>" for one in items)

    def _value(self, name: str, text: str, within: str = "") -> str:
        vocabulary = ev.vocabulary_of(name, within)
        if vocabulary is None:
            return text
        return vocabulary.full_urn(text) if self._old else vocabulary.full(text)
