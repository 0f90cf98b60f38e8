"""The domain packs, by the name a pipeline's YAML uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, cast

from pydantic import BaseModel

from schemas.errors import Finding
from schemas.pack import ItemSearch, Pack
from schemas.packs.manifest import Manifest, Sample

PACKS: Mapping[str, str] = {"cold_chain": "schemas.packs.cold_chain", "epcis": "schemas.packs.epcis"}


def load_pack(name: str, options: Mapping[str, Any], profile: str, *, state: bool = False) -> Pack:
    """The pack `name`, configured. `options` is the pack's own part of the pipeline file; `state`: the pipeline asks
    the pack's state rules, so what they decide is left to them. A pack without such rules has no such pipelines.

    Raises KeyError for an unknown pack and pydantic.ValidationError for wrong options.
    """
    build = cast(Callable[..., Pack], import_module(PACKS[name]).build)
    return build(options=options, profile=profile, **({"state": True} if state else {}))


def options_model(name: str) -> type[BaseModel] | None:
    """The model of a pack's options, for messages that say what is allowed; None for a pack that offers none."""
    return cast(type[BaseModel] | None, getattr(import_module(PACKS[name]), "Options", None))


Document = Callable[[Sequence[bytes], str], bytes]
"""Makes one document of the payloads of a batch's records, in their order, and the batch's name; pure."""


def documents(name: str) -> Mapping[str, Document]:
    """The documents of its field that a pack can make of a batch, by the name that a partner's `body` gives them."""
    return cast(Mapping[str, Document], getattr(import_module(PACKS[name]), "DOCUMENTS", {}))


def document_checks(name: str) -> Mapping[str, Callable[[bytes], Sequence[Finding]]]:
    """Of documents that cannot say everything, by the name that a partner's `body` gives them: what a record's payload
    holds that such a document cannot say, as refusals and as warnings. Pure; raises nothing for the pack's payloads."""
    checks = getattr(import_module(PACKS[name]), "DOCUMENT_CHECKS", {})
    return cast(Mapping[str, Callable[[bytes], Sequence[Finding]]], checks)


def editable(name: str, payload: bytes, record: str) -> bytes | None:
    """A canonical payload as a publisher of the pack's field would send it, indented for a person to correct and
    publish; `record`: what it may call itself. Read with the options it was validated with, it is the same record, but
    for what the pack's page names. None where the pack has no such form, or none that says all of it. Pure."""
    write = getattr(import_module(PACKS[name]), "editable", None)
    return None if write is None else cast(bytes | None, write(payload, record))


def brief(name: str, data: bytes) -> Mapping[str, str]:
    """What a record is in a few words of its field, by name, for a line that people read; `data`: its payload, or its
    original. Empty where the pack says nothing of it. Pure; raises nothing."""
    tell = getattr(import_module(PACKS[name]), "brief", None)
    return {} if tell is None else cast(Mapping[str, str], tell(data))


def load_sample(name: str) -> tuple[Sample, Callable[[int, int], Manifest]]:
    """A pack's shipped sample, and what it must come to, by the number of its messages and a seed."""
    module = import_module(PACKS[name] + ".sample")
    return module.sample, module.manifest


def item_search(name: str, text: str) -> ItemSearch | None:
    """How records about the thing that a text names are found; None where it names none to this pack."""
    search = cast(Callable[[str], ItemSearch | None] | None, getattr(import_module(PACKS[name]), "item_search", None))
    return None if search is None else search(text)
