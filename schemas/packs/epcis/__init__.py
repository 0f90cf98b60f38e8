"""The EPCIS pack: serialization events in XML (1.2, 2.0) and JSON-LD (2.0). Start reading at `engine.py`."""

from schemas.packs.epcis.engine import build
from schemas.packs.epcis.items import item_search
from schemas.packs.epcis.json_document import json_document
from schemas.packs.epcis.options import Options
from schemas.packs.epcis.xml_document import xml_document

DOCUMENTS = {"epcis-json": json_document, "epcis-xml": xml_document}

__all__ = ["DOCUMENTS", "Options", "build", "item_search"]
