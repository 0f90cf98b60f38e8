"""The reference of everything a pipeline's YAML may say, drawn from the models themselves.

`docs/pipelines.md` holds it, and a test holds the page to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from topology.bucket import Encryption, ObjectLock
from topology.credentials import BasicAuth, BearerAuth, OAuth2Auth, Secret, Tls
from topology.model import Pipeline
from topology.partner import (
    Adaptive,
    BreakerSettings,
    HttpPartner,
    KafkaPartner,
    ObjectStorePartner,
    PostgresPartner,
    Probe,
    Rate,
    RecordAnswers,
    SftpPartner,
)
from topology.sections import (
    BATCHING_PRESETS,
    Batching,
    Chunking,
    ClaimStore,
    ItemHistory,
    Parsing,
    PartnerRule,
    Retry,
    Topic,
)

SECTIONS: Mapping[str, type[BaseModel]] = {
    "A pipeline": Pipeline,
    "`raw`": Topic,
    "`items`": ItemHistory,
    "`batching`": Batching,
    "`chunk`": Chunking,
    "`parser`": Parsing,
    "`retry`": Retry,
    "`claims`": ClaimStore,
    "`partner`, where it depends on the record": PartnerRule,
    "A partner of `kind: object-store`": ObjectStorePartner,
    "`encryption`": Encryption,
    "`object_lock`": ObjectLock,
    "A partner of `kind: http`": HttpPartner,
    "`auth` of `kind: bearer`": BearerAuth,
    "`auth` of `kind: basic`": BasicAuth,
    "`auth` of `kind: oauth2`": OAuth2Auth,
    "A secret": Secret,
    "`tls`": Tls,
    "`response`": RecordAnswers,
    "`probe`": Probe,
    "`breaker`": BreakerSettings,
    "`rate`": Rate,
    "`adaptive`": Adaptive,
    "A partner of `kind: kafka`": KafkaPartner,
    "A partner of `kind: postgres`": PostgresPartner,
    "A partner of `kind: sftp`": SftpPartner,
}
HIDDEN = {"partners"}
"""Filled in by the loader from partners.yaml."""


def reference() -> str:
    """Markdown: one table per model, and the presets of `batching`."""
    parts = []
    for title, model in SECTIONS.items():
        rows = ["| field | default | allowed | meaning |", "|---|---|---|---|"]
        for name, field in model.model_fields.items():
            if name not in HIDDEN:
                default = _default(field.get_default(call_default_factory=True))
                rows.append(f"| `{name}` | {default} | {_allowed(field)} | {field.description or 'see below'} |")
        parts.append(f"### {title}\n\n" + "\n".join(rows))
    presets = [f"| `{name}` | {p.max_records:,} | {p.linger:g} |" for name, p in BATCHING_PRESETS.items()]
    parts.append("### Presets of `batching`\n\n| preset | records | seconds |\n|---|---|---|\n" + "\n".join(presets))
    return "\n\n".join(parts) + "\n"


def _allowed(field: FieldInfo) -> str:
    """The words or the range that a field takes; empty where the meaning says it."""
    words = _words(field.annotation)
    if words:
        return ", ".join(f"`{word}`" for word in words)
    least, most = _bound(field, Ge, "ge"), _bound(field, Le, "le")
    above = _bound(field, Gt, "gt")
    if above is not None:
        return f"above {above}" + (f", to {most}" if most is not None else "")
    if least is not None:
        return f"{least} to {most}" if most is not None else f"from {least}"
    return f"to {most}" if most is not None else ""


def _words(annotation: Any) -> list[str]:
    if annotation is bool:
        return ["true", "false"]
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)]
    return [word for inner in get_args(annotation) for word in _words(inner)]


def _bound(field: FieldInfo, kind: type, name: str) -> str | None:
    found = [getattr(mark, name) for mark in field.metadata if isinstance(mark, kind)]
    return f"{found[0]:,}" if found else None


def _default(value: object) -> str:
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return "see below"
    if value is None or value in ([], {}):
        return "none" if value is None else "empty"
    if isinstance(value, list):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:.15g}`" if isinstance(value, float) else f"`{value}`"
