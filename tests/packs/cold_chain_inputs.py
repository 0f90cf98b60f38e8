"""Inputs the cold-chain tests share: readings, exports and a pack, all made here."""

from __future__ import annotations

from typing import Any

from schemas.pack import Pack, Record, Refusal, Submission
from schemas.packs import load_pack

READING = (
    b'{"sensor_id":"FRIDGE-0017","timestamp_utc":"2026-03-01T08:15:00.250Z","temperature_c":4.73,'
    b'"zone_id":"WH-A-12","compliance_state":"within_spec","product":"refrigerator"}'
)
CSV = b"timestamp,temperature,unit,sensor_id\n2026-03-01T00:00:00Z,41.0,F,probe-1\n2026-03-01T01:00:00Z,5,C,probe-1\n"
HOBO = (
    b'\xef\xbb\xbf"Plot Title: cellar"\r\n'
    b'"#","Date Time, GMT-05:00","Temp, \xc2\xb0F (LGR S/N: 1041, SEN S/N: 1042)","Stopped (LGR S/N: 1041)"\r\n'
    b"1,10/09/16 12:00:00 AM,,Logged\r\n"
    b"1,10/09/16 12:00:00 AM,69.771,\r\n"
    b"\r\n"
    b"2,10/09/16 12:30:00 PM,69.728,\r\n"
)
EXPORT = (
    b"Device: Q-tag Fridge-tag 2\r\nVers: 0.5\r\nConf:\r\n Serial: 130400191544\r\n Zone: -5.00\r\n Temp unit: C\r\n"
    b" Alarm:\r\n  0:\r\n   T AL: -0.5, t AL: 60\r\n  1:\r\n   T AL: +8.0, t AL: 600\r\n Logging Interval: 5\r\n"
    b"Hist:\r\n TS Actv: 2023-04-17 16:43\r\n TS Report Creation: 2023-04-20 15:14\r\n"
    b" 1:\r\n  Date: 2023-04-20\r\n  Min T: +2.0, TS Min T: 13:30\r\n"
    b"  Max T: +8.5, TS Max T: 14:33\r\n  Avrg T: +4.6\r\n"
    b"  Alarm:\r\n   0:\r\n    t Acc: 0\r\n   1:\r\n    t Acc: 7, TS A: 00:00\r\n"
    b" 2:\r\n  Date: 2023-04-19\r\n  Min T: +1.5\r\n  Max T: +7.1\r\n  Avrg T: --.-\r\n"
    b"  Alarm:\r\n   0:\r\n    t Acc: 12\r\n   1:\r\n    t Acc: 0\r\n  Events: 0\r\n"
    b"Data:\r\n\tyyyy-MM-dd hh:mm\tT\tOut of limits\r\n"
    b"\t2023-04-20 00:00\t4.5\t\r\n\t2023-04-20 00:05\t--.-\tx\r\n"
    b"Cert:\r\n Vers: 1.0\r\nSig: 83847cd9\r\n"
)

TRANSPORT = (
    b"Device: Q-tag CLm doc LR\r\nVers: 1.9\r\nConf:\r\n Serial: RCPJ00099\r\n Zone: 0.00\r\n MKT Energy: 83.0\r\n"
    b" Logging Interval: 10\r\n Alarm:\r\n  1:\r\n   Type: 2, T AL: 8.0, t AL: 30\r\n  3:\r\n   Type: 0\r\n"
    b"Res:\r\n TS Actv: 2022-11-08 02:20\r\n TS Start: 2022-11-08 04:49\r\n TS Stop: 2022-11-08 05:09\r\n"
    b" Min T: 0.9, TS Min T: 2022-11-08 04:59\r\n Max T: 24.3\r\n MKT: 10.5\r\n Avrg T: 5.4\r\n"
    b" Alarm:\r\n  1:\r\n   TS S: 2022-11-08 04:50, t A: 19\r\n"
    b"Marker:\r\n\tNumber\tT\tyyyy-MM-dd hh:mm\t\r\n"
    b"Data:\r\n\tyyyy-MM-dd hh:mm\tT\tOut of limits\r\n"
    b"\t2022-11-08 04:49\t24.3\tx\r\n\t2022-11-08 04:59\t0.9\tx\r\n"
    b"Cert:\r\n Vers: 1.0\r\nSig Cert: 1c55\r\nSig: 719c\r\n"
)


def pack(profile: str = "strict", **options: Any) -> Pack:
    return load_pack("cold_chain", options, profile)


def outcomes(
    value: bytes | None, content_type: str | None = None, source: str | None = None, *, by: Pack | None = None
) -> list[Record | Refusal]:
    unpacked = (by or pack()).unpack(Submission(value, content_type, source))
    found = list(unpacked.records())
    assert len(found) == unpacked.count
    return found


def only(value: bytes | None, content_type: str | None = None, *, by: Pack | None = None) -> Record | Refusal:
    (found,) = outcomes(value, content_type, by=by)
    return found


def record(value: bytes, content_type: str | None = None, *, by: Pack | None = None) -> Record:
    found = only(value, content_type, by=by)
    assert isinstance(found, Record), found
    return found


def codes_of(found: Record | Refusal) -> list[str]:
    return [finding.code for finding in (found.findings if isinstance(found, Refusal) else found.warnings)]


def refused(value: bytes | None, content_type: str | None = None, *, by: Pack | None = None) -> list[str]:
    found = only(value, content_type, by=by)
    assert isinstance(found, Refusal), found
    return codes_of(found)


def reading(**changes: str | None) -> bytes:
    """READING's required fields with raw JSON texts changed, added, or (None) left out."""
    fields = {
        "sensor_id": '"FRIDGE-0017"',
        "timestamp_utc": '"2026-03-01T08:15:00Z"',
        "temperature_c": "4.73",
        **changes,
    }
    return ("{" + ",".join(f'"{name}":{text}' for name, text in fields.items() if text is not None) + "}").encode(
        "utf-8", "surrogatepass"
    )
