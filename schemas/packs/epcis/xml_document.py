"""Canonical events as one EPCIS 2.0 document in XML: what `xml_event.py` reads, written back in the order that
`xml_models.py` says. A function of the records alone, without a clock: equal batches are equal bytes."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import orjson

from schemas.packs.epcis import event as ev
from schemas.packs.epcis.event import Event
from schemas.packs.epcis.json_document import latest
from schemas.packs.epcis.party import NOBODY, of_event
from schemas.packs.epcis.xml_models import EVENTS, OTHER, SBDH, VERSIONS, Model

_MODELS = VERSIONS["2.0"]
_TEXT = "#text"
_NO_NAME = re.compile(r"^(?![^\W\d])|[^\w.\-]")
"""What an XML name cannot begin with or hold."""
_PREFIXES = {"urn:epcglobal:cbv:mda": "cbvmda", "http://www.w3.org/2000/01/rdf-schema#": "rdfs"}


def xml_document(payloads: Sequence[bytes], name: str) -> bytes:
    """An EPCISDocument of records' payloads in their order, dated like that of `json_document`.

    Its header (SBDH) names the batch, and the sender and receiver of its events where all have the same ones; where
    they have not, there is none.
    """
    records = [orjson.loads(payload) for payload in payloads]
    events = [record["event"] for record in records]
    writer = _Writer()
    listed = "".join(map(writer.event, events))
    created = latest(events)
    declared = "".join(f" xmlns:{prefix}={quoteattr(uri)}" for uri, prefix in writer.prefixes.items())
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<epcis:EPCISDocument xmlns:epcis="urn:epcglobal:epcis:xsd:2"{declared} schemaVersion="2.0" '
        f'creationDate="{created}">{_header(records, name, created)}'
        f"<EPCISBody><EventList>{listed}</EventList></EPCISBody></epcis:EPCISDocument>"
    ).encode()


def _header(records: Sequence[Mapping[str, Any]], name: str, created: str) -> str:
    senders = {record.get("sender") or of_event(record["event"], "source") for record in records}
    receivers = {record.get("receiver") or of_event(record["event"], "destination") for record in records}
    if len(senders) > 1 or len(receivers) > 1 or NOBODY in senders | receivers:
        return ""
    parties = "".join(
        f"<sbdh:{role}><sbdh:Identifier>{escape(party)}</sbdh:Identifier></sbdh:{role}>"
        for role, (party,) in (("Sender", senders), ("Receiver", receivers))
    )
    return (
        f'<EPCISHeader><sbdh:StandardBusinessDocumentHeader xmlns:sbdh="{SBDH}"><sbdh:HeaderVersion>1.0'
        f"</sbdh:HeaderVersion>{parties}<sbdh:DocumentIdentification><sbdh:Standard>EPCglobal</sbdh:Standard>"
        f"<sbdh:TypeVersion>2.0</sbdh:TypeVersion><sbdh:InstanceIdentifier>{name}</sbdh:InstanceIdentifier>"
        f"<sbdh:Type>Events</sbdh:Type><sbdh:CreationDateAndTime>{created}</sbdh:CreationDateAndTime>"
        "</sbdh:DocumentIdentification></sbdh:StandardBusinessDocumentHeader></EPCISHeader>"
    )


class _Writer:
    """Writes parts of events, and numbers the namespaces of fields of one's own as it meets them."""

    def __init__(self) -> None:
        self.prefixes: dict[str, str] = {}

    def event(self, event: Event) -> str:
        """An event. One of a type that is not the standard's is an element of its own, as the XSD has it."""
        kind = event["type"]
        if kind not in EVENTS:
            return self._element(kind, {name: part for name, part in event.items() if name != "type"})
        return f"<{kind}>{self.fields(event, _MODELS[kind])}</{kind}>"

    def fields(self, part: Event, model: Model) -> str:
        """What a part holds, in the order of its model; fields of one's own last."""
        known = {"type", *(particle.name for particle in model.children)}
        return "".join(
            self._own(part, known)
            if particle.name == OTHER
            else self._field(particle.name, particle.type, part[particle.name])
            for particle in model.children
            if particle.name == OTHER or particle.name in part
        )

    def _field(self, name: str, kind: str, part: Any) -> str:
        if kind == "EPCList":
            inside = _texts("epc", part)
        elif kind == "QuantityList":
            inside = "".join(
                f"<quantityElement>{self.fields(one, _MODELS['QuantityElement'])}</quantityElement>" for one in part
            )
        elif name in ev.PAIR_LISTS:
            inside = "".join(self._pair(one, name) for one in part)
        elif name == "persistentDisposition":
            inside = "".join(_texts(key, part.get(key, ()), name) for key in ("unset", "set"))
        elif kind == "CorrectiveIDs":
            inside = _texts("correctiveEventID", part)
        elif name == "sensorElementList":
            inside = "".join(f"<sensorElement>{''.join(self._sensor(one))}</sensorElement>" for one in part)
        elif name == "certificationInfo":
            return _texts(name, part)
        elif isinstance(part, dict):
            inside = self.fields(part, _MODELS[kind])
        else:
            return _texts(name, part if isinstance(part, list) else [part])
        return f"<{name}>{inside}</{name}>"

    def _pair(self, pair: Event, within: str) -> str:
        name = ev.PAIR_LISTS[within][0]
        kind = f" type={quoteattr(_value('type', pair['type'], within))}" if "type" in pair else ""
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
            text = _value(key, one, name) if isinstance(one, str) else orjson.dumps(one).decode()
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
        if not namespace:
            return local
        if namespace not in self.prefixes:
            self.prefixes[namespace] = _PREFIXES.get(namespace, f"ext{len(self.prefixes) + 1}")
        return f"{self.prefixes[namespace]}:{local}"


def _texts(name: str, items: Iterable[str], within: str = "") -> str:
    return "".join(f"<{name}>{escape(_value(name, one, within))}</{name}>" for one in items)


def _value(name: str, text: str, within: str = "") -> str:
    vocabulary = ev.vocabulary_of(name, within)
    return text if vocabulary is None else vocabulary.full(text)
