"""What may stand where in EPCIS XML, as tables: the facts of the XSDs of EPCIS 1.2 and 2.0, in their order.

A line of children reads as the standard's sequence: `name:type`, then `?` for at most one, `*` for any number, `+` for
at least one, nothing for exactly one. `{other}` stands for elements of foreign namespaces, `{local}` for elements
without one, of which the standards ask nothing further (lax wildcards).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

MANY = 10**9
OTHER, LOCAL = "{other}", "{local}"
SBDH = "http://www.unece.org/cefact/namespaces/StandardBusinessDocumentHeader"


class Particle(NamedTuple):
    """A child: its name as `{namespace}local` or `local` (or OTHER, LOCAL), its type, how often it may stand."""

    name: str
    type: str
    least: int
    most: int


class Model(NamedTuple):
    """The content of an element type."""

    children: tuple[Particle, ...]
    attributes: Mapping[str, tuple[str, bool]]
    """Simple type and whether it is required, by name."""
    open: bool = False
    """Whether any other attribute may stand too."""
    value: str = ""
    """Simple type of its text, for a type without children; empty: no text."""
    any_order: bool = False
    """Whether the children may stand in any order and number."""
    only_with: tuple[str, str] | None = None
    """A child that may stand only beside another one."""
    all_at_will: bool = False
    """Whether nothing at all is asked of text and children."""


_TIMES = {"?": (0, 1), "*": (0, MANY), "+": (1, MANY)}


def _particle(word: str, namespace: str) -> Particle:
    least, most = _TIMES.get(word[-1], (1, 1))
    name, _, kind = word.rstrip("?*+").partition(":")
    if name in (OTHER, LOCAL):
        return Particle(name, "", least, most)
    if name == "sbdh":
        return Particle(f"{{{SBDH}}}{kind}", kind, least, most)
    return Particle(f"{{{namespace}}}{name}" if namespace else name, kind, least, most)


def _model(children: str = "", attributes: str = "", *, namespace: str = "", **more: object) -> Model:
    words = attributes.split()
    named = {}
    for word in words:
        name, _, kind = word.partition(":")
        named[name] = (kind.rstrip("!"), kind.endswith("!"))
    particles = tuple(_particle(word, namespace) for word in children.split())
    return Model(particles, named, **more)  # type: ignore[arg-type]


def _open(children: str, attributes: str = "") -> Model:
    return _model(children, attributes, open=True)


_DOCUMENT = "schemaVersion:decimal! creationDate:dateTime!"
_BASE_1 = "eventTime:dateTime recordTime:dateTime? eventTimeZoneOffset:string baseExtension:BaseExtension?"
_BASE_2 = (
    "eventTime:stamp recordTime:stamp? eventTimeZoneOffset:string eventID:uri? errorDeclaration:ErrorDeclaration? "
    "certificationInfo:uri? baseExtension:Others?"
)
_WHAT = "action:action bizStep:uri? disposition:uri?"
_WHERE = "readPoint:Place? bizLocation:Place?"
_WHY = "bizTransactionList:TransactionList?"
_PARTIES = "sourceList:SourceList? destinationList:DestinationList?"
_SENSED = "sensorElementList:SensorList? persistentDisposition:PersistentDisposition?"
_END = "{other}*"
_TRANSFORMED = (
    "inputEPCList:EPCList? inputQuantityList:QuantityList? outputEPCList:EPCList? outputQuantityList:QuantityList? "
    f"transformationID:uri? bizStep:uri? disposition:uri? {_WHERE} {_WHY} {_PARTIES}"
)

_COMMON: dict[str, Model] = {
    "DocumentExtension": _open("{local}+"),
    "HeaderExtension": _open("EPCISMasterData:MasterData? extension:Locals?"),
    "MasterData": _model("VocabularyList:VocabularyList extension:Locals?"),
    "VocabularyList": _model("Vocabulary:Vocabulary*"),
    "Vocabulary": _open("VocabularyElementList:VocabularyElementList? extension:Locals? {other}*", "type:uri!"),
    "VocabularyElementList": _model("VocabularyElement:VocabularyElement+"),
    "VocabularyElement": _open("attribute:Attribute* children:IDs? extension:Locals? {other}*", "id:uri!"),
    "Attribute": _model(attributes="id:uri!", open=True, all_at_will=True),
    "IDs": _open("id:uri*"),
    "Locals": _open("{local}+"),
    "Others": _open("{other}+"),
    "Body": _open("EventList:EventList? extension:Locals? {other}*"),
    "QueryResults": _model(
        "queryName:string subscriptionID:string? resultsBody:ResultsBody extension:Locals? {other}*"
    ),
    "ResultsBody": _model("EventList:EventList? VocabularyList:VocabularyList? EPCISException:Exception?"),
    "Exception": _model("reason:string {local}*"),
    "EPCList": _model("epc:string*"),
    "QuantityList": _model("quantityElement:QuantityElement*"),
    "QuantityElement": _model("epcClass:uri quantity:decimal? uom:string?", only_with=("uom", "quantity")),
    "Place": _model("id:uri extension:Locals? {other}*"),
    "TransactionList": _model("bizTransaction:Transaction+"),
    "Transaction": _model(attributes="type:uri", value="uri"),
    "SourceList": _model("source:Party+"),
    "DestinationList": _model("destination:Party+"),
    "Party": _model(attributes="type:uri!", value="uri"),
    "ILMD": _open("extension:Locals? {other}*"),
    "CorrectiveIDs": _model("correctiveEventID:uri*"),
    "SBDHeader": _model(
        "HeaderVersion:string Sender:Partner+ Receiver:Partner+ DocumentIdentification:DocumentIdentification "
        "Manifest:Manifest? BusinessScope:Scope?",
        namespace=SBDH,
    ),
    "Partner": _model("Identifier:PartnerIdentifier ContactInformation:Contact*", namespace=SBDH),
    "PartnerIdentifier": _model(attributes="Authority:string", value="string"),
    "Contact": _model(
        "Contact:string EmailAddress:string? FaxNumber:string? TelephoneNumber:string? ContactTypeIdentifier:string?",
        namespace=SBDH,
    ),
    "DocumentIdentification": _model(
        "Standard:string TypeVersion:string InstanceIdentifier:string Type:string MultipleType:boolean? "
        "CreationDateAndTime:dateTime",
        namespace=SBDH,
    ),
    "Manifest": _model("NumberOfItems:integer ManifestItem:ManifestItem+", namespace=SBDH),
    "ManifestItem": _model(
        "MimeTypeQualifierCode:string UniformResourceIdentifier:uri Description:string? LanguageCode:string?",
        namespace=SBDH,
    ),
    "Scope": _model(all_at_will=True, open=True),
}

_1_2: dict[str, Model] = {
    "EPCISDocument": _open(f"EPCISHeader:Header? EPCISBody:Body extension:DocumentExtension? {_END}", _DOCUMENT),
    "EPCISQueryDocument": _open(
        f"EPCISHeader:Header? EPCISBody:QueryBody extension:DocumentExtension? {_END}", _DOCUMENT
    ),
    "Header": _open("sbdh:StandardBusinessDocumentHeader extension:HeaderExtension? {other}*"),
    "ErrorDeclaration": _open(
        "declarationTime:dateTime reason:uri? correctiveEventIDs:CorrectiveIDs? extension:Locals? {other}*"
    ),
    "BaseExtension": _open("eventID:uri? errorDeclaration:ErrorDeclaration? extension:Locals?"),
    "ObjectEvent": _open(f"{_BASE_1} epcList:EPCList {_WHAT} {_WHERE} {_WHY} extension:ObjectExtension? {_END}"),
    "ObjectExtension": _open(f"quantityList:QuantityList? {_PARTIES} ilmd:ILMD? extension:Locals?"),
    "AggregationEvent": _open(
        f"{_BASE_1} parentID:uri? childEPCs:EPCList {_WHAT} {_WHERE} {_WHY} extension:AggregationExtension? {_END}"
    ),
    "AggregationExtension": _open(f"childQuantityList:QuantityList? {_PARTIES} extension:Locals?"),
    "QuantityEvent": _open(
        f"{_BASE_1} epcClass:uri quantity:integer bizStep:uri? disposition:uri? {_WHERE} {_WHY} "
        f"extension:Locals? {_END}"
    ),
    "TransactionEvent": _open(
        f"{_BASE_1} bizTransactionList:TransactionList parentID:uri? epcList:EPCList {_WHAT} {_WHERE} "
        f"extension:TransactionExtension? {_END}"
    ),
    "TransactionExtension": _open(f"quantityList:QuantityList? {_PARTIES} extension:Locals?"),
    "TransformationEvent": _open(f"{_BASE_1} {_TRANSFORMED} ilmd:ILMD? extension:Locals? {_END}"),
    "EventListExtension": _model("TransformationEvent:TransformationEvent? extension:Locals?"),
}

_2_0: dict[str, Model] = {
    "EPCISDocument": _1_2["EPCISDocument"],
    "EPCISQueryDocument": _1_2["EPCISQueryDocument"],
    "Header": _open("sbdh:StandardBusinessDocumentHeader? extension:HeaderExtension?"),
    "ErrorDeclaration": _open(
        "declarationTime:stamp* reason:uri* correctiveEventIDs:CorrectiveIDs* extension:Locals* {other}*"
    )._replace(any_order=True),
    "PersistentDisposition": _model("unset:uri* set:uri*"),
    "SensorList": _model("sensorElement:SensorElement+ extension:Locals?"),
    "SensorElement": _model("sensorMetadata:SensorMetadata? sensorReport:SensorReport+ extension:Locals? {other}*"),
    "SensorMetadata": _model(
        attributes="time:stamp deviceID:uri deviceMetadata:uri rawData:uri startTime:stamp endTime:stamp bizRules:uri "
        "dataProcessingMethod:uri",
        open=True,
        value="string",
    ),
    "SensorReport": _model(
        attributes="type:uri value:double component:uri stringValue:string booleanValue:boolean hexBinaryValue:hex "
        "uriValue:uri uom:string minValue:double maxValue:double sDev:double chemicalSubstance:uri microorganism:uri "
        "deviceID:uri deviceMetadata:uri rawData:uri time:stamp meanValue:double percRank:double percValue:double "
        "dataProcessingMethod:uri coordinateReferenceSystem:uri exception:uri",
        open=True,
        value="string",
    ),
    "ObjectEvent": _open(
        f"{_BASE_2} epcList:EPCList? {_WHAT} {_WHERE} {_WHY} quantityList:QuantityList? {_PARTIES} {_SENSED} "
        f"ilmd:ILMD? extension:Others? {_END}"
    ),
    "AggregationEvent": _open(
        f"{_BASE_2} parentID:uri? childEPCs:EPCList? {_WHAT} {_WHERE} {_WHY} childQuantityList:QuantityList? "
        f"{_PARTIES} {_SENSED} extension:Others? {_END}"
    ),
    "TransactionEvent": _open(
        f"{_BASE_2} bizTransactionList:TransactionList parentID:uri? epcList:EPCList? {_WHAT} {_WHERE} "
        f"quantityList:QuantityList? {_PARTIES} {_SENSED} extension:Others? {_END}"
    ),
    "TransformationEvent": _open(f"{_BASE_2} {_TRANSFORMED} {_SENSED} ilmd:ILMD? extension:Others? {_END}"),
    "AssociationEvent": _open(
        f"{_BASE_2} parentID:uri childEPCs:EPCList? childQuantityList:QuantityList? {_WHAT} {_WHERE} {_WHY} {_PARTIES} "
        f"{_SENSED} extension:Others? {_END}"
    ),
    "EventListExtension": _model("{other}+", open=True),
}

QUERY_RESULTS = "QueryResults"


def _version(number: str, own: dict[str, Model]) -> Mapping[str, Model]:
    results = f"{{urn:epcglobal:epcis-query:xsd:{number}}}{QUERY_RESULTS}"
    return {
        **_COMMON,
        **own,
        "StandardBusinessDocumentHeader": _COMMON["SBDHeader"],
        "QueryBody": Model((Particle(results, QUERY_RESULTS, 1, 1),), {}),
        "EventList": Model((), {}, open=True),
    }


VERSIONS: Mapping[str, Mapping[str, Model]] = {"1.2": _version("1", _1_2), "2.0": _version("2", _2_0)}
"""Element types by name, by the version that the namespace of the document decides."""
ROOTS: Mapping[str, tuple[str, str]] = {
    f"{{urn:epcglobal:{space}:xsd:{number}}}{name}": (name, version)
    for space, name in (("epcis", "EPCISDocument"), ("epcis-query", "EPCISQueryDocument"))
    for number, version in (("1", "1.2"), ("2", "2.0"))
}
EVENTS = frozenset({"ObjectEvent", "AggregationEvent", "TransactionEvent", "TransformationEvent", "AssociationEvent"})
LISTED: Mapping[str, frozenset[str]] = {
    "1.2": frozenset({"ObjectEvent", "AggregationEvent", "QuantityEvent", "TransactionEvent"}),
    "2.0": EVENTS,
}
"""Events that may stand in an event list directly; 1.2 has what came later inside of `extension`."""
