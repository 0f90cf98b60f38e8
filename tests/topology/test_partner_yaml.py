"""What `partners.yaml` may say of an HTTP partner, and how a mistake in it is named: file, line, what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from topology.credentials import Secret
from topology.load import TopologyError, load_pipeline
from topology.model import Pipeline
from topology.partner import HttpPartner, ObjectStorePartner

PIPELINE = """\
pipeline: demo
pack: cold_chain
partition_by: [sensor_id]
idempotency: [sensor_id, event_time]
partner: clinic
"""


def load(
    folder: Path, *lines: str, pipeline: str = "", kind: str = "http", url: str = "https://api.example/v2"
) -> Pipeline:
    """A pipeline whose partner says these lines, the first of them on line 4."""
    (folder / "demo.yaml").write_text(PIPELINE + pipeline)
    head = ["clinic:", f"  kind: {kind}", f"  url: {url}"]
    (folder / "partners.yaml").write_text("\n".join([*head, *(f"  {line}" for line in lines)]) + "\n")
    return load_pipeline(str(folder / "demo.yaml"))


def test_everything_a_partner_may_want_is_read(tmp_path: Path) -> None:
    made = load(
        tmp_path,
        "path: /groups/{group}/batches/{batch}",
        "method: PUT",
        "headers: {X-Compliance-Standard: NIH-NSF-OSHA-EPA, X-Key: {env: API_KEY}}",
        "auth: {kind: bearer, token: {file: /run/secrets/token}}",
        "body: record",
        "compression: gzip",
        "response: {records: results, id: record_id, status: code}",
        "breaker: {failures: 5}",
        "rate: {attempts: 10, per: 60, burst: 5}",
        pipeline="batching: {max_records: 1}\n",
    )
    partner = made.partners["clinic"]
    assert isinstance(partner, HttpPartner)
    assert partner.headers["X-Key"] == Secret(env="API_KEY")


@pytest.mark.parametrize(
    ("line", "field", "words"),
    [
        (
            "path: /a/{bach}",
            "path",
            "names {bach}; allowed: {batch}, {date}, {group}, {partner}, {pipeline}, {records}",
        ),
        ("path: /a/{batch!r}", "path", "allowed: {batch}"),
        ("path: /a/{batch:>9}", "path", "allowed: {batch}"),
        ("path: '/a/{'", "path", "is no template"),
        ("path: a", "path", "allowed: text like ^/"),
        ("headers: {bad name: x}", "headers", "'bad name' is no name of a header"),
        ('headers: {X: "a\\r\\nY: b"}', "headers.X", "printable text on one line"),
        ("headers: {X: 5}", "headers.X", "should be a valid string"),
        ("headers: {X: {env: A, file: b}}", "headers.X", "allowed: `{env: NAME}` or `{file: PATH}`"),
        ("headers: {X: {}}", "headers.X", "allowed: `{env: NAME}` or `{file: PATH}`"),
        ("auth: {token: {env: A}}", "auth", "has no `kind`; allowed: bearer, basic, oauth2"),
        ("auth: {kind: Bearer}", "auth", "did you mean `bearer`?"),
        ("auth: {kind: oauth2, client: a}", "auth.client", "allowed: kind, token_url, client_id"),
        ("auth: {kind: basic, user: 'a:b', password: {env: A}}", "auth.user", "allowed: text like"),
        ("tls: {key: a}", "tls", "a key and no certificate"),
        ("body: xml", "body", "allowed: batch, json-array, json-lines, avro, record"),
        ("compression: zip", "compression", "did you mean `gzip`?"),
        ("idempotency_header: 'a b'", "idempotency_header", "text like"),
        ("connect_timeout: 0", "connect_timeout", "allowed: above 0"),
        ("response: {records: 'a['}", "response.records", "'a[' is no JMESPath expression"),
        ("response: {records: a, statuses: []}", "response.statuses", "at least 1"),
        ("breaker: {failures: -1}", "breaker.failures", "at least 0"),
        ("rate: {attempts: 0}", "rate.attempts", "at least 1"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_is_allowed(
    tmp_path: Path, line: str, field: str, words: str
) -> None:
    with pytest.raises(TopologyError) as caught:
        load(tmp_path, line)
    shown = [str(mistake) for mistake in caught.value.mistakes if mistake.field == f"clinic.{field}"]
    assert shown, caught.value
    assert shown[0].startswith(f"{tmp_path}/partners.yaml:4: clinic.{field}: ")
    assert words in shown[0]


def test_a_secret_written_where_a_reference_belongs_is_refused_and_not_shown(tmp_path: Path) -> None:
    for line in ("auth: {kind: bearer, token: open-sesame}", "auth: {kind: basic, user: us, password: open-sesame}"):
        with pytest.raises(TopologyError) as caught:
            load(tmp_path, line)
        assert "open-sesame" not in str(caught.value)
        assert "a mapping of env, file" in str(caught.value)


def test_a_partner_that_takes_one_record_needs_batches_of_one(tmp_path: Path) -> None:
    with pytest.raises(
        TopologyError, match=r"demo.yaml:\d+: batching.max_records: must be 1: partner clinic takes one"
    ):
        load(tmp_path, "body: record", pipeline="batching: {max_records: 2}\n")


def test_a_document_that_the_pack_does_not_make_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match=r"demo.yaml:5: partner: partner clinic wants `body: epcis-json`, which"):
        load(tmp_path, "body: epcis-json")


def test_what_a_bucket_does_with_an_object_is_read(tmp_path: Path) -> None:
    made = load(
        tmp_path,
        "encryption: {algorithm: 'aws:kms', kms_key: alias/waybill, bucket_key: true}",
        "object_lock: {mode: COMPLIANCE, days: 730}",
        pipeline="claims: {url: 's3://claims', encryption: {algorithm: AES256}}\n",
        kind="object-store",
        url="s3://lake",
    )
    partner = made.partners["clinic"]
    assert isinstance(partner, ObjectStorePartner)
    assert partner.encryption is not None
    assert partner.encryption.options == {
        "server_side_encryption": "aws:kms",
        "sse_kms_key_id": "alias/waybill",
        "sse_bucket_key_enabled": "true",
    }
    assert partner.object_lock is not None
    assert (partner.object_lock.mode, partner.object_lock.days) == ("COMPLIANCE", 730)
    assert made.claims.encryption is not None
    assert made.claims.encryption.algorithm == "AES256"


@pytest.mark.parametrize(
    ("url", "line", "field", "words"),
    [
        ("file:lake", "encryption: {algorithm: AES256}", "encryption", "begins with s3://"),
        ("az://lake", "object_lock: {mode: COMPLIANCE, days: 1}", "object_lock", "begins with s3://"),
        ("s3://lake", "encryption: {algorithm: AES-256}", "encryption.algorithm", "did you mean `AES256`?"),
        ("s3://lake", "encryption: {algorithm: AES256, kms_key: a}", "encryption.kms_key", "allowed with algorithm"),
        ("s3://lake", "encryption: {algorithm: 'aws:kms:dsse', bucket_key: true}", "encryption.bucket_key", "aws:kms"),
        ("s3://lake", "object_lock: {mode: COMPLIANCE}", "object_lock", "days"),
        ("s3://lake", "object_lock: {mode: COMPLIANCE, days: 0}", "object_lock.days", "at least 1"),
        ("s3://lake", "object_lock: {mode: FOREVER, days: 1}", "object_lock.mode", "allowed: GOVERNANCE, COMPLIANCE"),
        ("s3://lake",
         "encryption: {algorithm: AES256}\n  options: {AWS_SERVER_SIDE_ENCRYPTION: 'aws:kms'}",
         "options", "server_side_encryption is said by encryption"),
    ],
)  # fmt: skip
def test_a_mistake_about_a_bucket_is_named(tmp_path: Path, url: str, line: str, field: str, words: str) -> None:
    with pytest.raises(TopologyError) as caught:
        load(tmp_path, line, kind="object-store", url=url)
    shown = [str(mistake) for mistake in caught.value.mistakes if mistake.field.startswith(f"clinic.{field}")]
    assert shown, caught.value
    assert words in shown[0]
