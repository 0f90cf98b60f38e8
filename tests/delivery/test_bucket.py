"""What a bucket is asked to do with an object: encrypt it, lock it, and take it whole however large it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from streams.delivery.object_store import ObjectStoreSink
from streams.delivery.protocol import Envelope, Outcome
from streams.delivery.protocol import OutcomeKind as Kind
from tests.delivery.worlds import BODY, BUCKET, canned_port, envelope, run, s3, s3_client, s3_server
from topology.bucket import Encryption, ObjectLock
from topology.partner import ObjectStorePartner

LOCKED = "locked"
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
"""What the sink takes for now. The server has a clock of its own, so that locks are long."""
YEARS = 36_500
CHECKSUM = {"checksum_algorithm": "SHA256"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as url:
        client = s3_client(url)
        client.create_bucket(Bucket=LOCKED, ObjectLockEnabledForBucket=True)
        client.close()
        yield url


@pytest.fixture
def client(endpoint: str) -> Iterator[Any]:
    found = s3_client(endpoint)
    yield found
    found.close()


def partner(endpoint: str, bucket: str = BUCKET, **more: Any) -> ObjectStorePartner:
    """A bucket, with time enough on a busy machine."""
    return s3(endpoint, bucket, timeout=120).model_copy(update=more)


def deliver(to: ObjectStorePartner, *envelopes: Envelope, days: int = 0) -> list[Outcome]:
    """Sends them one after the other, each `days` later than the one before."""

    async def work() -> list[Outcome]:
        times = [NOON + timedelta(days=days * number) for number in range(len(envelopes))]
        at = iter(times)
        sink = ObjectStoreSink("p", to, lambda: next(at))
        try:
            return [await sink.send(each) for each in envelopes]
        finally:
            await sink.close()

    return run(work())


@pytest.mark.parametrize(
    ("chosen", "shown"),
    [
        (Encryption(algorithm="AES256"), {"ServerSideEncryption": "AES256"}),
        (
            Encryption(algorithm="aws:kms", kms_key="alias/waybill", bucket_key=True),
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/waybill", "BucketKeyEnabled": True},
        ),
        (Encryption(algorithm="aws:kms:dsse"), {"ServerSideEncryption": "aws:kms:dsse"}),
    ],
    ids=lambda value: value.algorithm if isinstance(value, Encryption) else "",
)
def test_every_object_is_written_encrypted_as_the_partner_says(
    endpoint: str, client: Any, chosen: Encryption, shown: dict[str, Any]
) -> None:
    one = envelope(batch=10 + len(chosen.algorithm))
    first, again = deliver(partner(endpoint, encryption=chosen), one, one._replace(attempt=2))
    assert (first.kind, again.kind) == (Kind.DELIVERED, Kind.DELIVERED)
    found = client.get_object(Bucket=BUCKET, Key=one.path)
    assert found["Body"].read() == BODY
    assert {name: found.get(name) for name in shown} == shown


def test_a_locked_object_cannot_be_deleted_and_a_retry_changes_nothing(endpoint: str, client: Any) -> None:
    one = envelope(batch=20)
    lock = ObjectLock(mode="COMPLIANCE", days=YEARS)
    outcomes = deliver(partner(endpoint, LOCKED, object_lock=lock), one, one._replace(attempt=2), days=1)
    assert [(outcome.kind, outcome.answer.split(":")[0]) for outcome in outcomes] == [
        (Kind.DELIVERED, "created"),
        (Kind.DELIVERED, "already there"),
    ]
    (version,) = client.list_object_versions(Bucket=LOCKED, Prefix=one.path)["Versions"]
    kept = client.head_object(Bucket=LOCKED, Key=one.path)
    assert kept["ObjectLockMode"] == "COMPLIANCE"
    assert kept["ObjectLockRetainUntilDate"] == NOON.replace(hour=0) + timedelta(days=YEARS + 1)
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(Bucket=LOCKED, Key=one.path, VersionId=version["VersionId"])


def test_a_bucket_that_locks_by_itself_takes_objects_that_come_with_a_checksum(endpoint: str, client: Any) -> None:
    """Its default retention holds for what brings none of its own."""
    client.create_bucket(Bucket="vault", ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 9}}
    client.put_object_lock_configuration(
        Bucket="vault", ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    to = partner(endpoint, "vault")
    one = envelope(batch=21)
    without, with_one = (
        deliver(each, one)[0] for each in (to, to.model_copy(update={"options": {**to.options, **CHECKSUM}}))
    )
    assert (without.kind, with_one.kind) == (Kind.STOPPED, Kind.DELIVERED)
    assert client.get_object(Bucket="vault", Key=one.path)["ObjectLockMode"] == "COMPLIANCE"


def test_a_worker_that_runs_for_days_locks_each_object_from_its_own_day_on(endpoint: str, client: Any) -> None:
    lock = ObjectLock(mode="GOVERNANCE", days=YEARS)
    batches = [envelope(batch=number) for number in (30, 31, 32)]
    deliver(partner(endpoint, LOCKED, object_lock=lock), *batches, days=1)
    found = [client.get_object(Bucket=LOCKED, Key=one.path)["ObjectLockRetainUntilDate"] for one in batches]
    assert [(each - found[0]).days for each in found] == [0, 1, 2]


@pytest.mark.parametrize("hour", [0, 12, 23])
def test_a_lock_lasts_at_least_its_days_and_at_most_one_more(hour: int) -> None:
    now = NOON.replace(hour=hour, minute=59)
    lasts = ObjectLock(mode="COMPLIANCE", days=7).until(now) - now
    assert timedelta(days=7) < lasts <= timedelta(days=8)


def test_a_bucket_without_object_lock_stops_the_partner_and_no_batch_dies_of_it(endpoint: str) -> None:
    lock = ObjectLock(mode="COMPLIANCE", days=YEARS)
    (outcome,) = deliver(partner(endpoint, object_lock=lock), envelope(batch=40))
    assert outcome.kind is Kind.STOPPED, outcome


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<Error><Code>KMS.DisabledException</Code><Message>off</Message></Error>", Kind.STOPPED),
        ("<Error><Code>InvalidRequest</Code><Message>Bucket is missing Object Lock Configuration</Message></Error>",
         Kind.STOPPED),
        ("<Error><Code>InvalidArgument</Code><Message>The retain until date must be in the future!</Message></Error>",
         Kind.STOPPED),
        ("<Error><Code>KeyTooLongError</Code><Message>retention/KMS. is too long</Message></Error>", Kind.REFUSED),
    ],
)  # fmt: skip
def test_a_setting_that_the_bucket_does_not_take_is_no_fault_of_the_batch(body: str, kind: Kind) -> None:
    answer = f"HTTP/1.1 400 Bad Request\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    with canned_port(answer.encode()) as port:
        (outcome,) = deliver(partner(f"http://127.0.0.1:{port}"), envelope())
    assert outcome.kind is kind, outcome


def test_a_large_body_is_one_create_only_write_and_never_in_parts(endpoint: str, client: Any) -> None:
    """obstore would upload more than 5 MiB in parts, and the end of those asks for no condition."""
    body = bytes(range(256)) * 48 * 1024  # 12 MiB
    one = envelope(body, batch=50)
    first, other = deliver(partner(endpoint), one, envelope(body[::-1], batch=50, attempt=2))
    assert (first.kind, other.kind) == (Kind.DELIVERED, Kind.CONFLICT)
    found = client.get_object(Bucket=BUCKET, Key=one.path)
    assert found["Body"].read() == body
    assert found["ETag"].strip('"') == hashlib.md5(body, usedforsecurity=False).hexdigest(), "made of parts"
    assert "Uploads" not in client.list_multipart_uploads(Bucket=BUCKET)
