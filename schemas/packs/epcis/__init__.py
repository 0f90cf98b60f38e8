"""The EPCIS pack: serialization events in XML (1.2, 2.0) and JSON-LD (2.0). Start reading at `engine.py`."""

from schemas.packs.epcis.brief import brief
from schemas.packs.epcis.engine import build
from schemas.packs.epcis.items import item_search
from schemas.packs.epcis.json_document import editable, json_document, json_document_of_events
from schemas.packs.epcis.older import check_1_2
from schemas.packs.epcis.options import Options
from schemas.packs.epcis.xml_document import (
    xml_document,
    xml_document_1_2,
    xml_document_1_2_of_events,
    xml_document_of_events,
)

DOCUMENTS = {
    "epcis-json": json_document,
    "epcis-xml": xml_document,
    "epcis-xml-1.2": xml_document_1_2,
    # As they were before, for batches whose first attempt was in that form (DI3).
    "epcis-json/events": json_document_of_events,
    "epcis-xml/events": xml_document_of_events,
    "epcis-xml-1.2/events": xml_document_1_2_of_events,
}
DOCUMENT_CHECKS = {"epcis-xml-1.2": check_1_2}

__all__ = ["DOCUMENTS", "DOCUMENT_CHECKS", "Options", "brief", "build", "editable", "item_search"]
