"""The reference of everything a pipeline's YAML may say, drawn from the models themselves.

`docs/pipelines.md` holds it, and a test holds the page to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from topology.model import (
    BATCHING_PRESETS,
    Batching,
    Chunking,
    ClaimStore,
    HttpPartner,
    ObjectStorePartner,
    Parsing,
    PartnerRule,
    Pipeline,
    Retry,
    Topic,
)

SECTIONS: Mapping[str, type[BaseModel]] = {
    "A pipeline": Pipeline,
    "`raw`": Topic,
    "`batching`": Batching,
    "`chunk`": Chunking,
    "`parser`": Parsing,
    "`retry`": Retry,
    "`claims`": ClaimStore,
    "`partner`, where it depends on the record": PartnerRule,
    "A partner of `kind: object-store`": ObjectStorePartner,
    "A partner of `kind: http`": HttpPartner,
}
HIDDEN = {"partners"}
"""Filled in by the loader from partners.yaml."""


def reference() -> str:
    """Markdown: one table per model, and the presets of `batching`."""
    parts = []
    for title, model in SECTIONS.items():
        rows = ["| field | default | meaning |", "|---|---|---|"]
        for name, field in model.model_fields.items():
            if name not in HIDDEN:
                default = _default(field.get_default(call_default_factory=True))
                rows.append(f"| `{name}` | {default} | {field.description or 'see its own section'} |")
        parts.append(f"### {title}\n\n" + "\n".join(rows))
    presets = [f"| `{name}` | {p.max_records:,} | {p.linger:g} |" for name, p in BATCHING_PRESETS.items()]
    parts.append("### Presets of `batching`\n\n| preset | records | seconds |\n|---|---|---|\n" + "\n".join(presets))
    return "\n\n".join(parts) + "\n"


def _default(value: object) -> str:
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return "see below"
    text = re.sub(r"^'(.*)'$", r"\1", repr(value))
    return {"None": "none", "[]": "empty", "{}": "empty"}.get(text, f"`{text}`")
