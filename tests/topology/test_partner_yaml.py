"""What `partners.yaml` may say of an HTTP partner, and how a mistake in it is named: file, line, what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from topology.load import TopologyError, load_pipeline
from topology.model import Pipeline
from topology.partner import HttpPartner, Secret

PIPELINE = """\
pipeline: demo
pack: cold_chain
partition_by: [sensor_id]
idempotency: [sensor_id, event_time]
partner: clinic
"""


def load(folder: Path, *lines: str, pipeline: str = "") -> Pipeline:
    """A pipeline whose partner says these lines, the first of them on line 4."""
    (folder / "demo.yaml").write_text(PIPELINE + pipeline)
    head = ["clinic:", "  kind: http", "  url: https://api.example/v2"]
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
