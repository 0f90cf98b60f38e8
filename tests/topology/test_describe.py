"""What `waybill topology describe` prints, held word for word."""

from __future__ import annotations

from pathlib import Path

from topology.describe import WIDTH, describe, describe_mermaid, unwritten
from topology.load import load_pipeline
from topology.model import SHORT_NAMES, Pipeline

from .conftest import PARTNERS, Write

GOLDEN = Path(__file__).parent / "golden"


def test_the_text_is_as_recorded(demo: Pipeline) -> None:
    assert describe(demo) == (GOLDEN / "demo.txt").read_text("utf-8")


def test_the_mermaid_graph_is_as_recorded(demo: Pipeline) -> None:
    assert describe_mermaid(demo) == (GOLDEN / "demo.mmd").read_text("utf-8")


def test_everything_has_a_place_and_fits_the_page(demo: Pipeline) -> None:
    text, graph = describe(demo), describe_mermaid(demo)
    for name in [demo.raw_topic, *map(demo.topic, SHORT_NAMES), *demo.partner_names]:
        assert name in text
        assert name in graph or name in map(demo.topic, unwritten(demo))
    assert max(map(len, text.splitlines())) <= WIDTH


def test_a_deadline_of_a_partner_shows(write: Write) -> None:
    partners = PARTNERS.replace("kind: object-store", "kind: object-store\n  deadline: 21600")
    assert "keys kept for ever, given up after 6 h" in describe(load_pipeline(str(write(partners=partners))))


def test_other_settings_show(write: Write) -> None:
    path = write(
        ("pack: fake", "pack: fake\nregion: eu\non_conflict: supersede\nordering_by: revision\nregistry: http://r"),
        ("[product]", "[sensor_id]"),
        ("by: product", "by: sensor_id"),
        ("telemetry-run", "{max_reread: 9000}\nkeep: 90\nraw: {retention: 7200, timestamps: create}\nreplication: 3"),
    )
    text = describe(load_pipeline(str(path)))
    for words in (
        "(application waybill, region eu)",
        "newer revision replaces older",
        "or 9,000 records or 256 MiB to read again",
        "known for 90 s",
        "publishers' time, at most 60 s ahead, kept 2 h",
        "3 copies",
        "Confluent, with a registry",
        "eu.waybill.demo.validated",
    ):
        assert words in text


def test_no_secret_of_a_partner_is_shown(write: Write) -> None:
    partners = PARTNERS.replace(
        "http://127.0.0.1:8081/batches", "http://me:hush@127.0.0.1/x?token=hush\n  headers: {Authorization: hush}", 1
    )
    pipeline = load_pipeline(str(write(partners=partners)))
    assert "POST http://…@127.0.0.1/x, time-out 30 s" in describe(pipeline)
    assert "hush" not in describe(pipeline) + describe_mermaid(pipeline)
