"""`waybill config`: every setting in force and where it comes from, the presets, and the schema digests (VAL-04)."""

from __future__ import annotations

import json as stdlib_json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from waybill.context import Folder, Json, MaybePipeline, load_pack_of, load_with_files
from waybill.output import Code, emit, finish, line, safe
from waybill.tables import table

if TYPE_CHECKING:
    from topology.model import Pipeline
    from topology.yaml_file import Location, YamlFile


HIDDEN = "(not shown)"


class Setting(NamedTuple):
    """One value in force."""

    name: str
    value: Any
    source: str
    """file:line and the environment variables it names, `default`, or the preset it comes from."""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(config)


def config(name: MaybePipeline = None, folder: Folder = None, json: Json = False) -> None:
    """Print every setting with its source, the pack's settings, the batching presets, and all schema digests."""
    for path, pipeline in load_with_files(name, folder):
        pack = load_pack_of(pipeline)
        found = [*settings(pipeline, path), *pack_settings(pack.settings, path)]
        if json:
            for setting in found:
                emit({"kind": "setting", "pipeline": pipeline.pipeline, **setting._asdict()})
            emit({"kind": "pack", "pipeline": pipeline.pipeline, "name": pack.name, "version": pack.version})
        else:
            line(f"# {pipeline.pipeline}: {safe(str(path))}; pack {pack.name}, version {pack.version}")
            table(("setting", "value", "source"), ((s.name, as_text(s.value), s.source) for s in found),
                  wrap=("value",))  # fmt: skip
            line("")
    for preset, values in presets().items():
        if json:
            emit({"kind": "preset", "name": preset, **values})
        else:
            line(f"# batching preset {preset}: {' '.join(f'{key}={value}' for key, value in values.items())}")
    if not json:
        line("")
    digests = schema_digests()
    if json:
        for schema, digest in digests.items():
            emit({"kind": "schema", "name": schema, "sha256": digest})
    else:
        table(("schema", "SHA-256 of its canonical form"), digests.items())
    finish(Code.FINE)


def as_text(value: Any) -> str:
    """A value as the YAML would have it, on one line."""
    return value if isinstance(value, str) else stdlib_json.dumps(value, default=str, ensure_ascii=False)


def settings(pipeline: Pipeline, path: Path) -> Iterator[Setting]:
    """Every setting of a pipeline and of its partners."""
    from topology.load import PARTNERS
    from topology.partner import KafkaPartner
    from topology.yaml_file import read_yaml

    source = read_yaml(path)
    batching = source.data.get("batching")
    base = batching if isinstance(batching, str) else batching.get("base") if isinstance(batching, dict) else None
    for at, value in leaves(pipeline.model_dump(mode="json", exclude={"partners", "options"}), ()):
        setting = _setting(source, at, value, preset=base if at[0] == "batching" else None)
        yield _in_force(setting, pipeline) if value is None else setting
    beside = next((f for f in (path.parent / PARTNERS, path.parent.parent / PARTNERS) if f.is_file()), None)
    for partner, model in pipeline.partners.items():
        declared = read_yaml(beside) if beside else source
        for at, value in leaves(model.model_dump(mode="json"), (partner,)):
            if at[1:] == ("transactional_id",) and isinstance(model, KafkaPartner):
                value = model.producer_of(partner)
            yield _setting(declared, at, value)._replace(name="partners." + _name(at))


def _in_force(setting: Setting, pipeline: Pipeline) -> Setting:
    """A setting without a value, with the one that it comes to where that follows from others."""
    follows = {"raw.topic": pipeline.raw_topic, "batching.idle": pipeline.idle_seconds}.get(setting.name)
    return setting if follows is None else setting._replace(value=follows, source="default")


def _setting(source: YamlFile, at: Location, value: Any, preset: str | None = None) -> Setting:
    """A value in force. What may be a secret is shown as the file has it if it names a variable, else not at all."""
    from topology.yaml_file import is_secret, origin

    written = value_at(source.data, at)
    if written is not None or at in source.lines:
        came = origin(written, os.environ)
        if value is not None and is_secret(at, written, value):
            value = written if came else HIDDEN
        return Setting(_name(at), value, f"{source.file}:{source.line(at)}" + (f", {came}" if came else ""))
    if preset is not None:
        return Setting(_name(at), value, f"preset {preset} ({source.file}:{source.line(at)})")
    return Setting(_name(at), value, "default")


def _name(at: Location) -> str:
    from topology.yaml_file import dotted

    return dotted(at)


def value_at(data: Any, at: Location) -> Any:
    """The value a file has at a place; None where it has none."""
    for part in at:
        if not isinstance(data, dict) or part not in data:
            return None
        data = data[part]
    return data


def leaves(value: Any, at: Location) -> Iterator[tuple[Location, Any]]:
    """Every value that is no mapping, with its place; lists are one value."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from leaves(item, (*at, key))
    else:
        yield at, value


def pack_settings(values: Mapping[str, Any], path: Path) -> Iterator[Setting]:
    """Every option of the pack in force; what the file does not say is the pack's own."""
    from topology.yaml_file import read_yaml

    source = read_yaml(path)
    for at, value in leaves(dict(values), ("options",)):
        setting = _setting(source, at, value)
        yield setting._replace(source="pack") if setting.source == "default" else setting


def presets() -> dict[str, dict[str, Any]]:
    """The batching presets (BAT-02)."""
    from topology.sections import BATCHING_PRESETS

    return {name: preset.model_dump(mode="json") for name, preset in BATCHING_PRESETS.items()}


def schema_digests() -> dict[str, str]:
    """SHA-256 of the canonical form of every schema: wire messages, tables, the audit block (VAL-04)."""
    from fastavro.schema import fingerprint, to_parsing_canonical_form

    from audit.block import SCHEMA_TEXT
    from schemas.codec import NAMES, schema_text

    texts = {f"schemas/wire/{name}.avsc": schema_text(name) for name in NAMES} | {"audit/block.avsc": SCHEMA_TEXT}
    return {
        name: fingerprint(to_parsing_canonical_form(stdlib_json.loads(text)), "SHA-256") for name, text in texts.items()
    }
