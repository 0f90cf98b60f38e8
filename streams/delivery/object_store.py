"""Owns one folder or bucket: objects are created, never overwritten (DEL-04, IDM-05), through obstore.

What "delivered" promises: the object is whole or absent at any moment. A bucket's PUT is atomic by its protocol. In a
folder obstore writes `<name>#1` and links it to its name, so a crash leaves at most such a staging file, which no
listing shows. obstore does not sync; this module syncs the file and its folders before it says DELIVERED. A power cut
before that may leave a short object under the name: the retry finds it, and it is a CONFLICT, never a silent success.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, cast

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, ObjectStore, from_url

from schemas.canonical import canonical_json
from streams.delivery import answers
from streams.delivery.protocol import Envelope, Outcome, OutcomeKind, Probed
from streams.delivery.rounds import Rounds
from streams.delivery.secrets import SHORTEST
from topology.partner import ObjectStorePartner
from topology.sections import ClaimStore

OBJECT_STORE_SLOTS = 8
"""Open writes to one object store at a time."""
CLIENT_OPTIONS = frozenset(
    {"allow_http", "allow_invalid_certificates", "connect_timeout", "proxy_url", "proxy_excludes", "root_certificate"}
)
"""Names in `options` that concern the HTTP client; every other one is a setting of the store."""


MISCONFIGURED = re.compile(r"<Code>KMS\.|<Message>[^<]*(?:Object ?Lock|[Rr]etain)")
"""In S3's answer 400: no key of KMS that can be used; no Object Lock in this bucket; a date that it does not take."""


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def object_path(prefix: str, date: str, batch_id_hex: str, suffix: str = ".json") -> str:
    """Where a batch lies (DEL-04): `<prefix>/year=YYYY/month=MM/day=DD/batch_<id><suffix>`, from its event date
    (YYYY-MM-DD), its id and the form of its first attempt alone, so that a retry writes to the same place. Raises
    ValueError for another date."""
    match = re.fullmatch(r"(\d{4})-(\d{2})-(\d{2})", date, re.ASCII)
    if match is None:
        raise ValueError(f"date {date!r} of batch {batch_id_hex}: expected YYYY-MM-DD")
    parts = [part for part in prefix.split("/") if part]
    name = f"batch_{batch_id_hex}{suffix}"
    return "/".join([*parts, f"year={match[1]}", f"month={match[2]}", f"day={match[3]}", name])


def sidecar_path(path: str) -> str:
    """Where the metadata of an object lies in a store that keeps no attributes."""
    return str(PurePosixPath(path).with_suffix(".meta.json"))


class ObjectStoreSink:
    """Writes each batch as one object, create-only. Metadata (DEL-05) are the object's attributes where the store
    has them, else a sidecar beside it, written after it; of several attempts the first one's metadata stay."""

    def __init__(self, name: str, partner: ObjectStorePartner, now: Callable[[], datetime] = utc_now) -> None:
        """Opens nothing yet. Raises ValueError for a URL or option that obstore does not know (not for a folder or
        server that is away: that is an outcome)."""
        self.name = name
        self._partner = partner
        self._secrets = secrets_of(partner)
        self._folder = folder_of(partner.url)
        self._store: ObjectStore | None = None if self._folder else open_bucket(f"partner {name}", partner)
        self._threads: ThreadPoolExecutor | None = None
        """That write to a folder; its own ones, since a disk that hangs must not hold up others."""
        self._writes: list[Future[Outcome]] = []
        """That may not have come back yet, attempts that were given up among them."""
        self._rounds = Rounds(_sync)
        self._now = now
        self._locking: tuple[dict[str, str], ObjectStore] | None = None
        """The headers of a lock, and the same bucket with them; its requests are writes."""

    async def send(self, envelope: Envelope) -> Outcome:
        """See Sink. The whole attempt takes at most `partner.timeout` seconds."""
        try:
            async with asyncio.timeout(self._partner.timeout):
                return await self._send(envelope)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  (law 5: whatever the client raises is this attempt's outcome)
            # What is known about a failed put is judged where it is done; anything else may follow a good put.
            return self._unknown(error)

    async def close(self) -> None:
        self._store = None if self._folder else self._store
        self._locking = None
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)

    async def probe(self) -> Probed:
        """See Probing. A bucket is listed, one level below the prefix; a folder is looked at. Nothing is written."""
        try:
            async with asyncio.timeout(self._partner.timeout):
                if self._folder is not None:
                    return await asyncio.to_thread(_writable, self._folder)
                assert self._store is not None
                await obstore.list_with_delimiter_async(self._store, self._partner.prefix or None)
        except PermissionDeniedError as error:
            text = answers.excerpt(cause_of(error), self._secrets)
            return Probed(None, f"it may not be listed, which need not mean that nothing can be written: {text}")
        except Exception as error:  # noqa: BLE001  (obstore raises several kinds)
            return Probed(False, answers.excerpt(cause_of(error), self._secrets))
        return Probed(True, "it can be listed; whether it can be written was not tried")

    async def _send(self, envelope: Envelope) -> Outcome:
        try:
            store = self._store = self._store or LocalStore(self._folder, mkdir=True)
            to_write = self._to_write(store)
        except Exception as error:  # noqa: BLE001  (obstore raises several kinds; nothing was written)
            return answers.fault(error, sent=False, secrets=self._secrets)
        if isinstance(store, LocalStore):
            threads = self._threads = self._threads or ThreadPoolExecutor(OBJECT_STORE_SLOTS, "folder")
            self._writes = [write for write in self._writes if not write.done()]
            if len(self._writes) >= OBJECT_STORE_SLOTS:  # one more would wait behind them, and be held until they end
                return Outcome(OutcomeKind.FAILED, f"not sent: {len(self._writes)} writes to it have not come back")
            self._writes.append(threads.submit(self._create, store, envelope))
            return await asyncio.wrap_future(self._writes[-1])
        attributes = {"Content-Type": envelope.content_type, **envelope.metadata}
        try:
            await obstore.put_async(
                to_write, envelope.path, envelope.body, mode="create", attributes=attributes,
                use_multipart=False,
            )  # fmt: skip
        except AlreadyExistsError:
            try:
                found = await obstore.get_async(store, envelope.path)
                difference = _other_size(found.meta["size"], envelope)
                difference = difference or _other_bytes(sha256(await found.bytes_async()).digest(), envelope)
            except FileNotFoundError:
                # S3 answers 409 while another write to the name is under way: it may yet take effect.
                return Outcome(OutcomeKind.UNKNOWN, f"{envelope.path}: another write is in progress")
            return _existing(difference, envelope)
        except (asyncio.CancelledError, TimeoutError):
            raise
        except Exception as error:  # noqa: BLE001  (obstore raises several kinds, told apart below)
            return self._put_failed(error, local=False)
        return Outcome(OutcomeKind.DELIVERED, f"created: {envelope.path}")

    def _create(self, store: LocalStore, envelope: Envelope) -> Outcome:
        """The same in a folder, with sidecar and sync, on one thread: three hops to others, and their ways back to the
        loop, took longer than the writing."""
        outcome = Outcome(OutcomeKind.DELIVERED, f"created: {envelope.path}")
        try:
            obstore.put(store, envelope.path, envelope.body, mode="create", use_multipart=False)
        except AlreadyExistsError:
            found = obstore.get(store, envelope.path)
            difference = _other_size(found.meta["size"], envelope)
            difference = difference or _other_bytes(sha256(found.bytes()).digest(), envelope)
            outcome = _existing(difference, envelope)
            if difference:
                return outcome
        except Exception as error:  # noqa: BLE001  (as above)
            return self._put_failed(error, local=True)
        self._write_sidecar(store, envelope)
        self._make_last(envelope.path)
        return outcome

    def _to_write(self, store: ObjectStore) -> ObjectStore:
        """The store as objects are written to it. obstore takes headers for a client and not for a request, so one with
        a lock (its date changes at midnight) is opened once a day (ADR 24)."""
        lock = self._partner.object_lock
        if lock is None:
            return store
        headers = lock.headers(self._now())
        if self._locking is None or self._locking[0] != headers:
            self._locking = headers, open_bucket(f"partner {self.name}", self._partner, headers)
        return self._locking[1]

    def _write_sidecar(self, store: LocalStore, envelope: Envelope) -> None:
        meta = canonical_json({"content_type": envelope.content_type, **envelope.metadata})
        try:
            obstore.put(store, sidecar_path(envelope.path), meta, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return  # an earlier attempt wrote it; its clock stays

    def _put_failed(self, error: Exception, *, local: bool) -> Outcome:
        """What is known after a put that raised."""
        text = answers.excerpt(cause_of(error), self._secrets)
        if isinstance(error, PermissionDeniedError | UnauthenticatedError | PermissionError):
            return Outcome(OutcomeKind.STOPPED, text)
        if local:
            # The object gets its name by the last step, which did not happen.
            return Outcome(OutcomeKind.FAILED, text)
        status, detail = _http_status(error)
        if status == 404 or (status == 400 and MISCONFIGURED.search(detail)):
            # No bucket, or one without the lock or the key: that is our configuration, and no fault of this batch.
            return Outcome(OutcomeKind.STOPPED, text)
        if status == 429 or (status == 503 and "<Code>SlowDown</Code>" in detail):
            return Outcome(OutcomeKind.PAUSED, text, answers.DEFAULT_PAUSE)
        if status is not None and 300 <= status < 500:
            return Outcome(OutcomeKind.REFUSED, text)
        if status is None and re.search(r"inner: Http\(\n\s+HttpError \{\n\s+kind: Connect,\n", detail):
            return Outcome(OutcomeKind.FAILED, text)
        return Outcome(OutcomeKind.UNKNOWN, text)

    def _unknown(self, error: Exception) -> Outcome:
        return Outcome(OutcomeKind.UNKNOWN, answers.excerpt(f"no answer: {cause_of(error)}", self._secrets))

    def _make_last(self, path: str) -> None:
        """Makes an object, its sidecar and the folders that name them survive a power cut. Raises OSError."""
        assert self._folder is not None
        root = self._folder
        _sync(root / path)
        _sync(root / sidecar_path(path))
        self._rounds.sync(folder for folder in (root / path).parents if folder.is_relative_to(root))


def _sync(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _writable(folder: Path) -> Probed:
    """Whether objects could be created in a folder, which is made if it is not there."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return Probed(True, "it can be written" if there == folder else f"it can be made in {there}")
    return Probed(False, f"{there} is no folder that can be written")


def _other_size(size: int, envelope: Envelope) -> str | None:
    """How the size of a stored object differs from that of the envelope's body; None if it does not."""
    expected = len(envelope.body)
    return f"stored object has {size} bytes, ours {expected}" if size != expected else None


def _other_bytes(stored: bytes, envelope: Envelope) -> str | None:
    """How the SHA-256 of a stored object differs from that of the envelope's body; None if it does not."""
    if stored == envelope.body_digest:
        return None
    return f"stored digest {stored.hex()} differs from {envelope.body_digest.hex()}"


def _existing(difference: str | None, envelope: Envelope) -> Outcome:
    """What an object means that was there before."""
    if difference:
        return Outcome(OutcomeKind.CONFLICT, f"{envelope.path}: {difference}")
    return Outcome(OutcomeKind.DELIVERED, f"already there: {envelope.path}")


def _http_status(error: Exception) -> tuple[int | None, str]:
    """The HTTP status behind an obstore error, if an answer came, and the error's debug text. obstore gives both as
    text only. The last part counts, in which a server's words stand escaped on one line and cannot imitate ours."""
    detail = str(error).rpartition("\n\nDebug source:\n")[2]
    match = re.search(r"inner: Status \{\n\s+status: (\d{3}),\n", detail)
    return (int(match[1]) if match else None), detail


def cause_of(error: Exception) -> str:
    """What a person needs to know of an obstore error: not the long URL in front, not the debug text behind, but the
    system's own words out of it where the request was not answered."""
    shown, _, detail = str(error).partition("\n\nDebug source:\n")
    place, _, cause = shown.partition(" - ")
    system = re.search(r'\b(?:message|error): "([^"]*)"', detail) if "HTTP error" in cause else None
    return f"{cause or place} ({system[1]})" if system else cause or place or type(error).__name__


def secrets_of(place: ObjectStorePartner | ClaimStore) -> frozenset[str]:
    """Values of options that no ack and no log may show."""
    secret = re.compile("secret|token|key|sas|pass", re.IGNORECASE)
    return frozenset(value for name, value in place.options.items() if secret.search(name) and len(value) >= SHORTEST)


def folder_of(url: str) -> Path | None:
    """The absolute folder behind `file:///abs` or `file:relative`; None for a bucket."""
    if not url.startswith("file:"):
        return None
    path = url.removeprefix("file:")
    return Path(path.removeprefix("//") if path.startswith("//") else path).absolute()


def open_bucket(
    name: str, place: ObjectStorePartner | ClaimStore, headers: Mapping[str, str] | None = None
) -> ObjectStore:
    """The bucket behind a URL; `name` says in errors whose it is; `headers` go, signed, with every request. One call of
    it is one request: a retry inside would turn "unknown, then refused connection" into a known failure. Raises
    ValueError for a URL or option that obstore does not know."""
    assert place.url is not None
    options = {key.lower(): value for key, value in place.options.items()}
    if place.encryption is not None:
        options |= place.encryption.options
    if headers:
        options["checksum_algorithm"] = "SHA256"
    client: dict[str, Any] = {key: options.pop(key) for key in CLIENT_OPTIONS & options.keys()}
    for switch in ("allow_http", "allow_invalid_certificates"):
        if switch in client:
            client[switch] = client[switch].lower() in ("true", "1", "yes")
    if options.get("endpoint", "").startswith("http://"):
        client.setdefault("allow_http", True)
    client["timeout"] = timedelta(seconds=place.timeout)
    client["default_headers"] = dict(headers or {})
    if checksum := options.get("checksum_algorithm", options.get("aws_checksum_algorithm")):
        # S3 takes no object that is to be locked without a checksum and this word for it; obstore sends the checksum.
        client["default_headers"]["x-amz-sdk-checksum-algorithm"] = checksum.upper()
    try:
        build = cast(Any, from_url)
        return cast(
            ObjectStore, build(place.url, config=options, client_options=client, retry_config={"max_retries": 0})
        )
    except (BaseError, ValueError, TypeError) as error:
        text = answers.excerpt(str(error), secrets_of(place))
        raise ValueError(f"{name}: {place.url} with options {sorted(options)}: {text}") from None
