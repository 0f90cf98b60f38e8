"""The pack itself: chooses the reader of a submission and wraps what it finds as records and refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from schemas import errors
from schemas.errors import Finding
from schemas.pack import (
    CANONICAL_TYPE,
    NO_COLUMNS,
    Columns,
    Listed,
    Origin,
    Refusal,
    Steps,
    Submission,
    Unpacked,
    comes_from,
    finish,
)
from schemas.packs.epcis import json_submission, xml_submission
from schemas.packs.epcis.canonical import read_canonical
from schemas.packs.epcis.judge import FIELDS, PARTIES, Rules, answer
from schemas.packs.epcis.options import Options
from schemas.packs.epcis.shipments import is_told_in
from schemas.packs.epcis.state import ItemRules
from schemas.packs.epcis.summary import summarize
from schemas.packs.jsontext import BOM
from schemas.profiles import PROFILES, Profile, check_profile

XML, JSON = xml_submission.XML, json_submission.JSON
ANY = "application/octet-stream"
AT_ONCE = 4 * 2**20
"""Bytes of JSON-LD that are judged in one go inside the worker: some 12,000 events, at a millisecond each a fifth of
what a worker may take for one step."""
_KINDS = {
    XML: XML, "text/xml": XML, JSON: JSON, "application/json": JSON, "text/json": JSON, CANONICAL_TYPE: CANONICAL_TYPE,
    ANY: ANY, "text/plain": ANY, "binary/octet-stream": ANY, "": ANY,
}  # fmt: skip


class EpcisPack:
    """Fulfils `schemas.pack.Pack` for EPCIS events."""

    name = "epcis"
    version = "epcis/1"
    fields = FIELDS
    media_types = frozenset(_KINDS.keys() - {""})

    parties: tuple[str, ...]

    def __init__(self, options: Options, profile: Profile, state: bool = False) -> None:
        """state: see build."""
        official = None if options.official_schemas is None else options.official_schemas.loaded
        self._rules = Rules(options, profile, official, state)
        self._feeds = [(feed.match, self._rules._replace(profile=feed.profile)) for feed in options.profiles]
        self.parties = PARTIES if options.dscsa else ()
        self.state_rules = ItemRules(options, lenient=profile == "lenient")
        settings = {**options.model_dump(mode="json"), "profile": profile}
        if official is not None:
            self.version = f"{EpcisPack.version}+official.{official.files.digest[:12]}"
            settings["official_schemas"] |= {"sha256": official.files.digest, "files": dict(official.files.digests)}
        self.settings: Mapping[str, Any] = MappingProxyType(settings)

    def heavy(self, submission: Submission) -> bool:
        """XML is: expat is bounded, and still it is C that reads what strangers send (VA3). So is a large document of
        JSON-LD whose shipments want all of its events judged before its first record."""
        value = submission.value
        if not value:
            return False
        kind = _kind(submission.content_type, value)
        return kind == XML or (kind == JSON and len(value) > AT_ONCE and is_told_in(value, self._rules.options))

    def singles(self, values: Sequence[bytes | None], origins: Sequence[Origin] | None = None) -> Columns:
        """See `schemas.pack.Pack`. There is no short cut: even one event has rules to pass."""
        return NO_COLUMNS

    def unpack(self, submission: Submission) -> Unpacked:
        """Never raises; see `schemas.pack.Pack`."""
        return finish(self.opening(submission))

    def opening(self, submission: Submission) -> Steps[Unpacked]:
        """See `schemas.pack.Gradual`: a document is read to its end a piece at a time, and where its shipments want
        that, its events are judged one by one."""
        value, header, rules = submission.value, submission.content_type, self._in_force(submission)
        if value is None:
            finding = Finding(errors.TOMBSTONE, "", "a null value means nothing on a raw topic")
            return Listed(CANONICAL_TYPE, [Refusal((finding,), b"null", CANONICAL_TYPE, canonical=True)])
        stated = header or ANY
        if not value[:4096].removeprefix(BOM).strip() and not value.removeprefix(BOM).strip():
            return _whole(Finding(errors.EMPTY_MESSAGE, "", "the message holds nothing"), value, stated)
        if len(value) > rules.options.max_bytes:
            message = f"{len(value)} bytes; {rules.options.max_bytes} are allowed"
            return _whole(Finding(errors.TOO_LARGE, "", message), value, stated)
        kind = _kind(header, value)
        if kind == CANONICAL_TYPE:
            outcome = read_canonical(value, rules)
            return Listed(kind, [answer(outcome, value, kind)])
        if kind == XML:
            return (yield from xml_submission.opening(value, rules))
        if kind == JSON:
            return (yield from json_submission.opening(value, rules))
        message = f"{_look(value)}: read are EPCIS documents and events in XML (1.2, 2.0) and JSON-LD (2.0)"
        return _whole(Finding(errors.UNKNOWN_CONTENT, "", message), value, stated)

    def _in_force(self, submission: Submission) -> Rules:
        """The rules of the feed it comes from, else the pipeline's own."""
        for match, rules in self._feeds:
            if comes_from(match, submission.source, submission.site):
                return rules
        return self._rules

    def summarize(self, payloads: Sequence[bytes]) -> Mapping[str, Any]:
        """See `schemas.pack.Pack` and `summary.py`."""
        return summarize(payloads)


def _kind(header: str | None, data: bytes) -> str:
    """XML, JSON, CANONICAL_TYPE, or empty for what this pack does not read."""
    name = (header or "").partition(";")[0].strip().lower()
    kind = _KINDS.get(name, XML if name.endswith("+xml") else JSON if name.endswith("+json") else "")
    if kind != ANY:
        return kind
    start = data[:64].removeprefix(BOM).lstrip() or data.removeprefix(BOM).lstrip()[:64]
    if start[:1] == b"<" or start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return XML
    return JSON if start[:1] in (b"{", b"[") else ""


def _look(value: bytes) -> str:
    start = value[:64].removeprefix(BOM).lstrip()
    if start.isascii() and start[:20].decode().isprintable():
        return f"text that begins with {start[:20].decode()!r}"
    return f"bytes that begin with {start[:8].hex(' ')}"


def _whole(finding: Finding, value: bytes, content_type: str) -> Unpacked:
    return Listed(content_type, [Refusal((finding,), value, content_type)])


def build(options: Mapping[str, Any], profile: str, state: bool = False) -> EpcisPack:
    """The configured pack. `state`: its state rules are asked, too, and what they may know is left to them. Raises
    pydantic.ValidationError for wrong options, ValueError for an unknown profile."""
    check_profile(profile, PROFILES)
    settings = Options.model_validate(options)
    if settings.dscsa and profile == "schema":
        raise ValueError("dscsa is a business rule; the profile `schema` has none: take strict or lenient")
    return EpcisPack(settings, profile, state)  # type: ignore[arg-type]  # checked above
