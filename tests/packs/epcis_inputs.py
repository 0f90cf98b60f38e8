"""Inputs the EPCIS tests share: events and documents of both versions and syntaxes, and a pack, all made here."""

from __future__ import annotations

import json
from typing import Any

from schemas.pack import Pack, Record, Refusal, Submission
from schemas.packs import load_pack

CONTEXT = ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld", {"ex": "https://ns.example.com/epcis/"}]
SHIPPING: dict[str, Any] = {
    "type": "ObjectEvent",
    "eventTime": "2026-03-02T09:30:00.000+01:00",
    "eventTimeZoneOffset": "+01:00",
    "epcList": ["urn:epc:id:sgtin:030001.0012345.1001", "urn:epc:id:sgtin:030001.0012345.1002"],
    "action": "OBSERVE",
    "bizStep": "shipping",
    "disposition": "in_transit",
    "readPoint": {"id": "urn:epc:id:sgln:030001.111111.0"},
    "bizTransactionList": [{"type": "po", "bizTransaction": "urn:epcglobal:cbv:bt:0300011111116:PO-1"}],
    "sourceList": [{"type": "owning_party", "source": "urn:epc:id:pgln:030001.111111"}],
    "destinationList": [{"type": "owning_party", "destination": "urn:epc:id:pgln:039999.999999"}],
    "ex:temperature": "5.5",
}
COMMISSIONING: dict[str, Any] = {
    "type": "ObjectEvent",
    "eventTime": "2026-03-02T08:00:00Z",
    "eventTimeZoneOffset": "+01:00",
    "epcList": ["urn:epc:id:sgtin:030001.0012345.1001"],
    "action": "ADD",
    "bizStep": "commissioning",
    "disposition": "active",
    "readPoint": {"id": "urn:epc:id:sgln:030001.111111.0"},
    "ilmd": {"cbvmda:lotNumber": "L1", "cbvmda:itemExpirationDate": "2028-12-31"},
}
PACKING: dict[str, Any] = {
    "type": "AggregationEvent",
    "eventTime": "2026-03-02T09:00:00Z",
    "eventTimeZoneOffset": "+01:00",
    "parentID": "urn:epc:id:sscc:030001.41234567890",
    "childEPCs": ["urn:epc:id:sgtin:030001.0012345.1001", "urn:epc:id:sgtin:030001.0012345.1002"],
    "action": "ADD",
    "bizStep": "packing",
    "disposition": "in_progress",
}

_XML = """<eventTime>2026-03-02T09:30:00.000+01:00</eventTime>
<eventTimeZoneOffset>+01:00</eventTimeZoneOffset>
<epcList><epc>urn:epc:id:sgtin:030001.0012345.1002</epc><epc>urn:epc:id:sgtin:030001.0012345.1001</epc></epcList>
<action>OBSERVE</action>
<bizStep>{step}</bizStep>
<disposition>urn:epcglobal:cbv:disp:in_transit</disposition>
<readPoint><id>urn:epc:id:sgln:030001.111111.0</id></readPoint>
<bizTransactionList><bizTransaction type="urn:epcglobal:cbv:btt:po">urn:epcglobal:cbv:bt:0300011111116:PO-1\
</bizTransaction></bizTransactionList>
{parties}
<ex:temperature>5.5</ex:temperature>"""
_PARTIES = """<sourceList><source type="urn:epcglobal:cbv:sdt:owning_party">urn:epc:id:pgln:030001.111111</source>\
</sourceList>
<destinationList><destination type="urn:epcglobal:cbv:sdt:owning_party">urn:epc:id:pgln:039999.999999</destination>\
</destinationList>"""
SHIPPING_1_2 = (
    "<ObjectEvent>"
    + _XML.format(step="urn:epcglobal:cbv:bizstep:shipping", parties=f"<extension>{_PARTIES}</extension>")
    + "</ObjectEvent>"
)
SHIPPING_2_0 = (
    "<ObjectEvent>" + _XML.format(step="https://ref.gs1.org/cbv/BizStep-shipping", parties=_PARTIES) + "</ObjectEvent>"
)
SBDH = """<EPCISHeader><sbdh:StandardBusinessDocumentHeader \
xmlns:sbdh="http://www.unece.org/cefact/namespaces/StandardBusinessDocumentHeader">
<sbdh:HeaderVersion>1.0</sbdh:HeaderVersion>
<sbdh:Sender><sbdh:Identifier Authority="SGLN">urn:epc:id:sgln:030001.111111.0</sbdh:Identifier></sbdh:Sender>
<sbdh:Receiver><sbdh:Identifier Authority="SGLN">urn:epc:id:sgln:039999.999999.0</sbdh:Identifier></sbdh:Receiver>
<sbdh:DocumentIdentification><sbdh:Standard>EPCglobal</sbdh:Standard><sbdh:TypeVersion>1.0</sbdh:TypeVersion>
<sbdh:InstanceIdentifier>1</sbdh:InstanceIdentifier><sbdh:Type>Events</sbdh:Type>
<sbdh:CreationDateAndTime>2026-03-02T09:31:00Z</sbdh:CreationDateAndTime></sbdh:DocumentIdentification>
</sbdh:StandardBusinessDocumentHeader><extension><EPCISMasterData><VocabularyList/></EPCISMasterData></extension>\
</EPCISHeader>"""


def xml(*events: str, version: str = "2.0", header: str = "") -> bytes:
    """A document of these events."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<epcis:EPCISDocument xmlns:epcis="urn:epcglobal:epcis:xsd:{version[0]}"'
        f' xmlns:ex="https://ns.example.com/epcis/" schemaVersion="{version}" creationDate="2026-03-02T10:00:00Z">'
        f"{header}<EPCISBody><EventList>\n{''.join(events)}</EventList></EPCISBody></epcis:EPCISDocument>"
    ).encode()


def document(*events: dict[str, Any] | str, **changes: Any) -> bytes:
    """A JSON-LD document of these events; text stands as it is."""
    envelope = {
        "@context": CONTEXT,
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": "2026-03-02T10:00:00Z",
        **changes,
    }
    inside = ",".join(event if isinstance(event, str) else json.dumps(event) for event in events)
    return (json.dumps(envelope)[:-1] + ',"epcisBody":{"eventList":[' + inside + "]}}").encode()


def bare(event: dict[str, Any]) -> bytes:
    """An event that stands alone."""
    return json.dumps({"@context": CONTEXT, **event}).encode()


def pack(profile: str = "strict", **options: Any) -> Pack:
    return load_pack("epcis", options, profile)


def outcomes(value: bytes | None, *, by: Pack | None = None, content_type: str | None = None) -> list[Record | Refusal]:
    unpacked = (by or pack()).unpack(Submission(value, content_type))
    found = list(unpacked.records())
    assert len(found) == unpacked.count
    return found


def only(value: bytes | None, *, by: Pack | None = None) -> Record | Refusal:
    (found,) = outcomes(value, by=by)
    return found


def record(value: bytes, *, by: Pack | None = None) -> Record:
    found = only(value, by=by)
    assert isinstance(found, Record), found
    return found


def codes_of(found: Record | Refusal) -> list[str]:
    return [finding.code for finding in (found.findings if isinstance(found, Refusal) else found.warnings)]


def refused(value: bytes | None, *, by: Pack | None = None) -> list[str]:
    found = only(value, by=by)
    assert isinstance(found, Refusal), found
    return codes_of(found)


def event_of(found: Record | Refusal) -> dict[str, Any]:
    """The canonical event of a record."""
    assert isinstance(found, Record), found
    event: dict[str, Any] = json.loads(found.payload)["event"]
    return event


def changed(event: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """An event with fields replaced, added, or (None) left out."""
    return {name: part for name, part in {**event, **changes}.items() if part is not None}
