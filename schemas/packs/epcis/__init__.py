"""The EPCIS pack: serialization events in XML (1.2, 2.0) and JSON-LD (2.0). Start reading at `engine.py`."""

from schemas.packs.epcis.engine import build
from schemas.packs.epcis.options import Options

__all__ = ["Options", "build"]
