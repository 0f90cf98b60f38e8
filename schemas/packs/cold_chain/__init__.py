"""The cold-chain pack: temperature readings as JSON, CSV and logger exports. Start reading at `engine.py`."""

from schemas.packs.cold_chain.engine import build
from schemas.packs.cold_chain.options import Options
from schemas.packs.cold_chain.reading import editable

__all__ = ["Options", "build", "editable"]
