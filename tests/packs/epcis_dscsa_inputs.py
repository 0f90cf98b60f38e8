"""Documents as GS1 US's DSCSA guideline has them, made here: a lot commissioned, packed into a case, and shipped."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from schemas.pack import Pack
from tests.packs.epcis_inputs import COMMISSIONING, CONTEXT, PACKING, SHIPPING, pack

GTIN = "00300010123455"
"""Of `urn:epc:id:sgtin:030001.0012345`; it carries the National Drug Code 0001-0123-45."""
CASE = PACKING["parentID"]
ITEMS = PACKING["childEPCs"]
MAKER, BUYER = "0300011111116", "0399999999991"
PRODUCT = {
    "additionalTradeItemIdentification": "0001-0123-45",
    "additionalTradeItemIdentificationTypeCode": "US_FDA_NDC",
    "regulatedProductName": "Examplamide",
    "manufacturerOfTradeItemPartyName": "Example Pharma",
    "dosageFormType": "TABLET",
    "strengthDescription": "100mg",
    "netContentDescription": "60ct",
}
ADDRESS = {
    "name": "Example Pharma",
    "streetAddressOne": "1 Main Street",
    "city": "Trenton",
    "state": "NJ",
    "postalCode": "08601",
    "countryCode": "US",
}
NOTICE = "Seller has complied with each applicable subsection of FDCA Sec. 581(27)(A)-(G)."
NAMESPACE = "http://epcis.gs1us.org/hc/ns"

Document = dict[str, Any]


def good() -> Document:
    """A JSON-LD document that has all that is asked."""
    commissioning = {**COMMISSIONING, "epcList": list(ITEMS)}
    packing = {**PACKING, "eventTime": "2026-03-02T08:10:00Z"}
    shipping = {**SHIPPING, "epcList": [CASE]}
    return copy.deepcopy(
        {
            "@context": [*CONTEXT, {"gs1ushc": f"{NAMESPACE}#"}],
            "type": "EPCISDocument",
            "schemaVersion": "2.0",
            "creationDate": "2026-03-02T10:00:00Z",
            "gs1ushc:dscsaTransactionStatement": {
                "gs1ushc:affirmTransactionStatement": "true",
                "gs1ushc:legalNotice": NOTICE,
            },
            "epcisHeader": {
                "epcisMasterData": {
                    "vocabularyList": [
                        _vocabulary("EPCClass", {"urn:epc:idpat:sgtin:030001.0012345.*": PRODUCT}),
                        _vocabulary(
                            "Location",
                            {"urn:epc:id:sgln:030001.111111.0": ADDRESS, "urn:epc:id:sgln:039999.999999.0": ADDRESS},
                        ),
                    ]
                }
            },
            "epcisBody": {"eventList": [commissioning, packing, shipping]},
        }
    )


def _vocabulary(kind: str, elements: dict[str, dict[str, str]]) -> Document:
    listed = [
        {"id": one, "attributes": [{"id": f"cbvmda:{name}", "attribute": text} for name, text in said.items()]}
        for one, said in elements.items()
    ]
    return {"type": f"urn:epcglobal:epcis:vtype:{kind}", "vocabularyElementList": listed}


def changed_by(change: Callable[[Document], Any]) -> bytes:
    """The good document after a change to it."""
    document = good()
    change(document)
    return json.dumps(document).encode()


def events(document: Document) -> list[Document]:
    found: list[Document] = document["epcisBody"]["eventList"]
    return found


def attributes(document: Document, vocabulary: int, element: int = 0) -> list[Document]:
    listed = document["epcisHeader"]["epcisMasterData"]["vocabularyList"][vocabulary]
    found: list[Document] = listed["vocabularyElementList"][element]["attributes"]
    return found


def without(document: Document, name: str, vocabulary: int = 0) -> None:
    listed = attributes(document, vocabulary)
    listed[:] = [one for one in listed if one["id"] != f"cbvmda:{name}"]


def put(document: Document, name: str, text: str) -> None:
    next(one for one in attributes(document, 0) if one["id"] == f"cbvmda:{name}")["attribute"] = text


def dscsa(profile: str = "strict", **options: Any) -> Pack:
    return pack(profile, dscsa=True, **options)


def xml_1_2() -> bytes:
    """The good document in EPCIS 1.2, the form most partners send, without white space between elements."""
    vocabularies = "".join(
        f'<Vocabulary type="urn:epcglobal:epcis:vtype:{kind}"><VocabularyElementList>{"".join(elements)}'
        "</VocabularyElementList></Vocabulary>"
        for kind, elements in (
            ("EPCClass", [_element("urn:epc:idpat:sgtin:030001.0012345.*", PRODUCT)]),
            ("Location", [_element(f"urn:epc:id:sgln:{gln}.0", ADDRESS) for gln in ("030001.111111", "039999.999999")]),
        )
    )
    epcs = "".join(f"<epc>{epc}</epc>" for epc in ITEMS)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<epcis:EPCISDocument xmlns:epcis="urn:epcglobal:epcis:xsd:1" xmlns:gs1ushc="{NAMESPACE}" \
xmlns:cbvmda="urn:epcglobal:cbv:mda" schemaVersion="1.2" creationDate="2026-03-02T10:00:00Z">
<EPCISHeader><sbdh:StandardBusinessDocumentHeader \
xmlns:sbdh="http://www.unece.org/cefact/namespaces/StandardBusinessDocumentHeader">
<sbdh:HeaderVersion>1.0</sbdh:HeaderVersion>
<sbdh:Sender><sbdh:Identifier Authority="SGLN">urn:epc:id:sgln:030001.111111.0</sbdh:Identifier></sbdh:Sender>
<sbdh:Receiver><sbdh:Identifier Authority="SGLN">urn:epc:id:sgln:039999.999999.0</sbdh:Identifier></sbdh:Receiver>
<sbdh:DocumentIdentification><sbdh:Standard>EPCglobal</sbdh:Standard><sbdh:TypeVersion>1.0</sbdh:TypeVersion>
<sbdh:InstanceIdentifier>1</sbdh:InstanceIdentifier><sbdh:Type>Events</sbdh:Type>
<sbdh:CreationDateAndTime>2026-03-02T09:31:00Z</sbdh:CreationDateAndTime></sbdh:DocumentIdentification>
</sbdh:StandardBusinessDocumentHeader>
<extension><EPCISMasterData><VocabularyList>{vocabularies}</VocabularyList></EPCISMasterData></extension>
<gs1ushc:dscsaTransactionStatement><gs1ushc:affirmTransactionStatement>true</gs1ushc:affirmTransactionStatement>\
<gs1ushc:legalNotice>{NOTICE}</gs1ushc:legalNotice></gs1ushc:dscsaTransactionStatement></EPCISHeader>
<EPCISBody><EventList>
<ObjectEvent><eventTime>2026-03-02T08:00:00Z</eventTime><eventTimeZoneOffset>+01:00</eventTimeZoneOffset>
<epcList>{epcs}</epcList><action>ADD</action><bizStep>urn:epcglobal:cbv:bizstep:commissioning</bizStep>
<disposition>urn:epcglobal:cbv:disp:active</disposition><readPoint><id>urn:epc:id:sgln:030001.111111.0</id></readPoint>
<extension><ilmd><cbvmda:lotNumber>L1</cbvmda:lotNumber>\
<cbvmda:itemExpirationDate>2028-12-31</cbvmda:itemExpirationDate></ilmd></extension></ObjectEvent>
<AggregationEvent><eventTime>2026-03-02T08:10:00Z</eventTime><eventTimeZoneOffset>+01:00</eventTimeZoneOffset>
<parentID>{CASE}</parentID><childEPCs>{epcs}</childEPCs><action>ADD</action>
<bizStep>urn:epcglobal:cbv:bizstep:packing</bizStep><disposition>urn:epcglobal:cbv:disp:in_progress</disposition>
</AggregationEvent>
<ObjectEvent><eventTime>2026-03-02T09:30:00+01:00</eventTime><eventTimeZoneOffset>+01:00</eventTimeZoneOffset>
<epcList><epc>{CASE}</epc></epcList><action>OBSERVE</action><bizStep>urn:epcglobal:cbv:bizstep:shipping</bizStep>
<disposition>urn:epcglobal:cbv:disp:in_transit</disposition><readPoint><id>urn:epc:id:sgln:030001.111111.0</id></readPoint>
<bizTransactionList><bizTransaction type="urn:epcglobal:cbv:btt:po">urn:epcglobal:cbv:bt:0300011111116:PO-1\
</bizTransaction></bizTransactionList>
<extension><sourceList><source type="urn:epcglobal:cbv:sdt:owning_party">urn:epc:id:pgln:030001.111111</source>\
</sourceList><destinationList><destination type="urn:epcglobal:cbv:sdt:owning_party">urn:epc:id:pgln:039999.999999\
</destination></destinationList></extension></ObjectEvent>
</EventList></EPCISBody></epcis:EPCISDocument>""".encode()


def _element(identifier: str, said: dict[str, str]) -> str:
    inside = "".join(f'<attribute id="urn:epcglobal:cbv:mda#{name}">{text}</attribute>' for name, text in said.items())
    return f'<VocabularyElement id="{identifier}">{inside}</VocabularyElement>'
