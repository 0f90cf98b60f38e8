"""The frozen models of what a bucket does with an object that it takes: how it is encrypted, how long it is locked.

Both are S3's. Azure and GCS have them as settings of the container or bucket alone, as far as obstore goes (ADR 24).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import Field, model_validator

from schemas.settings import Settings, Whole
from schemas.wording import RulesBroken
from topology.yaml_file import Location

S3 = ("s3://", "s3a://")
OPTIONS = {
    "encryption": ("server_side_encryption", "sse_kms_key_id", "sse_bucket_key_enabled", "sse_customer_key_base64"),
    "object_lock": ("checksum_algorithm",),
}
"""obstore's own names for what a setting says; each also with `aws_` before it."""


class Encryption(Settings):
    """How S3 encrypts what is written. It goes with every write, so that a bucket policy can ask for it."""

    algorithm: Literal["AES256", "aws:kms", "aws:kms:dsse"] = Field(
        description="with S3's own keys, with a key of KMS, or twice with a key of KMS"
    )
    kms_key: str | None = Field(
        None,
        pattern=r"^[!-~]+$",
        description="id, ARN or alias of the key of KMS; none: the bucket's, or that of the account for S3",
    )
    bucket_key: bool | None = Field(
        None, description="with `aws:kms`: fewer calls of KMS by a key of the bucket's; none: as the bucket says"
    )

    @model_validator(mode="after")
    def _of_kms(self) -> Encryption:
        wrong: list[tuple[Location, str]] = []
        if self.kms_key is not None and self.algorithm == "AES256":
            wrong.append((("kms_key",), "AES256 uses S3's own keys; allowed with algorithm aws:kms or aws:kms:dsse"))
        if self.bucket_key is not None and self.algorithm != "aws:kms":
            wrong.append((("bucket_key",), f"{self.algorithm} has none; allowed with algorithm aws:kms"))
        if wrong:
            raise RulesBroken(wrong)
        return self

    @property
    def options(self) -> dict[str, str]:
        """The same in obstore's words."""
        found = {"server_side_encryption": str(self.algorithm)}
        if self.kms_key is not None:
            found["sse_kms_key_id"] = self.kms_key
        if self.bucket_key is not None:
            found["sse_bucket_key_enabled"] = str(self.bucket_key).lower()
        return found


class ObjectLock(Settings):
    """Nobody deletes or changes an object before a date (S3 Object Lock). The bucket must have been made with it."""

    mode: Literal["GOVERNANCE", "COMPLIANCE"] = Field(
        description="GOVERNANCE: who has the right may end it early; COMPLIANCE: nobody may"
    )
    days: Whole = Field(ge=1, le=36_500, description="days from the write on, to the end of the last one (UTC)")

    def until(self, now: datetime) -> datetime:
        """When the lock of an object ends that is written now: the first midnight (UTC) after `days` whole days."""
        day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return day + timedelta(days=self.days + 1)

    def headers(self, now: datetime) -> dict[str, str]:
        """The same as headers of a PUT."""
        return {
            "x-amz-object-lock-mode": self.mode,
            "x-amz-object-lock-retain-until-date": f"{self.until(now):%Y-%m-%dT%H:%M:%SZ}",
        }


def check_bucket(url: str | None, options: Mapping[str, str], **settings: Encryption | ObjectLock | None) -> None:
    """Raises RulesBroken where settings of S3 stand beside another store, or beside `options` that say the same."""
    wrong: list[tuple[Location, str]] = []
    given = {name.lower().removeprefix("aws_") for name in options}
    for name, value in settings.items():
        if value is None:
            continue
        if url is None or not url.startswith(S3):
            wrong.append(((name,), "is a setting of S3 alone; allowed with a url that begins with s3://"))
        for option in OPTIONS[name]:
            if option in given:
                wrong.append((("options",), f"{option} is said by {name}; allowed: one of the two"))
    if wrong:
        raise RulesBroken(wrong)
