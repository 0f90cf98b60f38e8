"""The error codes of the EPCIS pack, beside those of `schemas.errors`."""

from __future__ import annotations

from schemas.errors import BLOCK, CODES, FATAL, WARNING, ErrorClass, Reason, register

TOLERATED = "_TOLERATED"
"""Behind a code: the same, found by the lenient profile, which lets it pass with a warning."""


def _tolerable(name: str, meaning: str, error_class: ErrorClass = FATAL) -> str:
    register(name + TOLERATED, WARNING, f"{meaning}; let pass by the lenient profile")
    return register(name, error_class, meaning)


# Reading.
MALFORMED_XML = register("MALFORMED_XML", FATAL, "not well-formed XML")
DTD_FORBIDDEN = register("DTD_FORBIDDEN", FATAL, "a document type that declares something, or an entity of its own")
WRONG_ENCODING = register("WRONG_ENCODING", FATAL, "text that is not in the encoding it declares, or in one not read")
CONTROL_CHARACTER = register("CONTROL_CHARACTER", FATAL, "a control character inside a value")
MALFORMED_DOCUMENT = register("MALFORMED_DOCUMENT", FATAL, "an envelope that does not follow the standard")
UNKNOWN_ROOT = register("UNKNOWN_ROOT", FATAL, "a root element or type that is no EPCIS document and no event")

# Structure.
UNEXPECTED_ELEMENT = _tolerable("UNEXPECTED_ELEMENT", "an element or field the standard does not know here")
UNEXPECTED_ATTRIBUTE = _tolerable("UNEXPECTED_ATTRIBUTE", "an attribute the standard does not know here")
ELEMENT_OUT_OF_ORDER = _tolerable("ELEMENT_OUT_OF_ORDER", "XML elements in another order than the standard's")
REPEATED_ELEMENT = register("REPEATED_ELEMENT", FATAL, "an element more often than the standard allows")
UNDECLARED_PREFIX = _tolerable("UNDECLARED_PREFIX", "an xsi:type whose prefix no namespace declaration explains")
STRAY_TEXT = _tolerable("STRAY_TEXT", "text between elements that hold none")
QUALIFIED_ELEMENT = _tolerable("QUALIFIED_ELEMENT", "an EPCIS element inside an event with a namespace; it has none")
UNNAMED_EXTENSION = _tolerable("UNNAMED_EXTENSION", "a field of one's own without a namespace")
UNKNOWN_EVENT_TYPE = register("UNKNOWN_EVENT_TYPE", FATAL, "an event type the standard does not know")
NOTHING_OBSERVED = register("NOTHING_OBSERVED", FATAL, "an event without the objects or readings its type needs")
ILMD_WITHOUT_ADD = register("ILMD_WITHOUT_ADD", FATAL, "instance or lot master data in an event that creates nothing")
REPEATED_VALUE = register("REPEATED_VALUE", FATAL, "a list that names the same value twice where it may not")

# Values.
BAD_TIME = register("BAD_TIME", FATAL, "a time that is no dateTime, or does not exist")
TIME_WITHOUT_ZONE = register("TIME_WITHOUT_ZONE", FATAL, "a time that does not say its zone")
TIME_OUT_OF_RANGE = register("TIME_OUT_OF_RANGE", FATAL, "a time before 1970 or after 9999")
UNKNOWN_TERM = _tolerable("UNKNOWN_TERM", "a word, or a term in GS1's namespaces, that the vocabulary does not hold")

# Business rules: the strict and lenient profiles.
BAD_IDENTIFIER = register("BAD_IDENTIFIER", FATAL, "a GS1 identifier of a wrong form")
CHECK_DIGIT_WRONG = _tolerable("CHECK_DIGIT_WRONG", "a GS1 key with a wrong check digit")
IDENTIFIER_NOT_ESCAPED = _tolerable("IDENTIFIER_NOT_ESCAPED", "a GS1 identifier with a character that belongs escaped")
WRONG_KIND_OF_IDENTIFIER = register(
    "WRONG_KIND_OF_IDENTIFIER", FATAL, "an identifier of a kind that cannot stand here, as a class among items"
)
NO_PARENT = register("NO_PARENT", FATAL, "an aggregation that adds or deletes without a parent")
OWN_CHILD = register("OWN_CHILD", FATAL, "a parent among its own children")
UNIT_MISSING = register("UNIT_MISSING", FATAL, "a measure without unit, or a unit that is no UN/ECE code")
BAD_QUANTITY = register("BAD_QUANTITY", FATAL, "a quantity that is negative, or no whole number without a unit")
DECLARED_BEFORE_EVENT = register(
    "DECLARED_BEFORE_EVENT", FATAL, "an error declared before the event that it takes back"
)
SENSOR_AFTER_EVENT = _tolerable("SENSOR_AFTER_EVENT", "a sensor reading later than its event (M122)")
SENSOR_SPAN_REVERSED = register("SENSOR_SPAN_REVERSED", FATAL, "a sensor's span that ends before it begins")
BAD_LOT = register("BAD_LOT", FATAL, "a lot number that is not 1 to 20 characters of GS1 set 82")
BAD_EXPIRY = register("BAD_EXPIRY", FATAL, "an expiration date that is no calendar date")
EVENT_ID_DIFFERS = register("EVENT_ID_DIFFERS", WARNING, "an eventID that is a CBV event hash, but not of this event")
LOT_MISSING = _tolerable("LOT_MISSING", "items commissioned without a lot number")
EXPIRY_MISSING = _tolerable("EXPIRY_MISSING", "items commissioned without an expiration date")
PARTY_MISSING = _tolerable("PARTY_MISSING", "a shipment that does not name both parties by GLN")
TRANSACTION_MISSING = _tolerable("TRANSACTION_MISSING", "a shipment that names no business transaction")
UNKNOWN_PARTNER = register("UNKNOWN_PARTNER", BLOCK, "a sender or receiver that is no configured trading partner")
TOO_MANY_ITEMS = register("TOO_MANY_ITEMS", FATAL, "more identifiers in one event than the pipeline allows")

# Transactions: the option `dscsa`.
STATEMENT_MISSING = _tolerable("STATEMENT_MISSING", "a shipment without an affirmed transaction statement", BLOCK)
OWNER_MISSING = _tolerable("OWNER_MISSING", "a shipment that does not name an owning party by GLN", BLOCK)
PARTY_DATA_MISSING = _tolerable("PARTY_DATA_MISSING", "an owning party whose name or address is not told", BLOCK)
PRODUCT_DATA_MISSING = _tolerable("PRODUCT_DATA_MISSING", "a shipped product whose data is not told in full", BLOCK)
GTIN_NOT_NDC = _tolerable("GTIN_NOT_NDC", "a shipped GTIN that carries no National Drug Code", BLOCK)
BAD_NDC = register("BAD_NDC", BLOCK, "a National Drug Code of no layout there is")
NDC_DIFFERS = register("NDC_DIFFERS", BLOCK, "a National Drug Code that is not the one in its GTIN")
CONTENTS_UNKNOWN = register("CONTENTS_UNKNOWN", BLOCK, "a shipped container of which nobody said what lies in it")
ITEM_NOT_SERIALIZED = register("ITEM_NOT_SERIALIZED", BLOCK, "a shipped product without serial number")
ITEM_WITHOUT_COMMISSIONING = register(
    "ITEM_WITHOUT_COMMISSIONING", BLOCK, "a shipped item of which nobody told that it was commissioned"
)
ITEM_WITHOUT_LOT = register("ITEM_WITHOUT_LOT", BLOCK, "a shipped item that was commissioned without lot number")
ITEM_WITHOUT_EXPIRY = register(
    "ITEM_WITHOUT_EXPIRY", BLOCK, "a shipped item that was commissioned without expiration date"
)

OFFICIAL_SCHEMA = _tolerable("OFFICIAL_SCHEMA", "what the official schemas of the deployment's folder do not take")

# A partner that takes EPCIS 1.2.
NOT_IN_1_2 = register("NOT_IN_1_2", FATAL, "an event that EPCIS 1.2, which its partner takes, cannot say")
DROPPED_IN_1_2 = register("DROPPED_IN_1_2", WARNING, "a part that the partner's EPCIS 1.2 document is sent without")
NEWER_THAN_1_2 = register("NEWER_THAN_1_2", WARNING, "a term of CBV 2.0 in an EPCIS 1.2 document")

NOT_CANONICAL = register("NOT_CANONICAL", FATAL, "a canonical record that is not what its event gives")

# State rules: what happened to an item before.
ITEM_NOT_COMMISSIONED = register(
    "ITEM_NOT_COMMISSIONED",
    BLOCK,
    "an item that was never commissioned, as far as this pipeline was told",
    Reason.TRANSIENT_FAILURE,  # what came too early passes once it is sent again behind its commissioning
)
ITEM_COMMISSIONED_TWICE = register(
    "ITEM_COMMISSIONED_TWICE", BLOCK, "an item that is commissioned already", Reason.CONFLICT
)
ITEM_DECOMMISSIONED = register("ITEM_DECOMMISSIONED", BLOCK, "an item that was decommissioned", Reason.CONFLICT)
ITEM_IN_OTHER_PARENT = register(
    "ITEM_IN_OTHER_PARENT", BLOCK, "an item packed while it lies in another container", Reason.CONFLICT
)
PACKED_INTO_ITSELF = register("PACKED_INTO_ITSELF", BLOCK, "a container packed into what lies in it", Reason.CONFLICT)
TOO_MANY_CHILDREN = register("TOO_MANY_CHILDREN", FATAL, "more items in one container than are kept track of")
ITEMS_IN_SEVERAL_DOMAINS = register(
    "ITEMS_IN_SEVERAL_DOMAINS", FATAL, "an event about items of several companies, where each has its own history"
)


def tolerated(code: str) -> str | None:
    """The warning the lenient profile gives in place of a code; None: it refuses as the others do."""
    return code + TOLERATED if code + TOLERATED in CODES else None
