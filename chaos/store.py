"""An S3 store under fire: moto in a process of its own, behind a gate that plays faults; and what it holds, as files.

The bucket keeps versions, so that an object written twice shows. `python -m chaos.store` is that process: it prints its
port and ends when its standard input does, however its parent ended.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

from chaos.store_faults import Gate
from waybill.partner_sim.server import Door

CREDENTIALS = {"region": "us-east-1", "access_key_id": "test-access", "secret_access_key": "test-secret"}
STOP_SECONDS = 10.0
"""What the process has to end in before it is killed; it has nothing to save."""


class Moto:
    """The store behind, in a process of its own. Use as a context manager; any number of buckets may lie in one."""

    def __enter__(self) -> Self:
        """Raises RuntimeError if the process does not come up."""
        command = [sys.executable, "-m", "chaos.store"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        port = self.process.stdout.readline().strip()
        if not port:
            raise RuntimeError(f"`{' '.join(command)}` ended with {self.process.wait()} before it listened")
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.process.communicate(timeout=STOP_SECONDS)  # closes its standard input
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


class Store(Door):
    """Use as a context manager. Workers reach it through `partner`, the checker looks past the faults by `dump`."""

    def __init__(self, bucket: str = "lake", moto: Moto | None = None) -> None:
        """moto: holds no such bucket yet; None: one of its own, which ends with it."""
        self.gate = Gate()
        self.bucket = bucket
        self.client: Any = None
        """A boto3 client that goes past the gate; None until started."""
        self._own = ExitStack()
        self._moto = moto
        super().__init__(self.gate, "127.0.0.1", 0)

    @property
    def endpoint(self) -> str:
        """Where clients go."""
        return f"http://127.0.0.1:{self.port}"

    def partner(self, **more: Any) -> dict[str, Any]:
        """An entry of partners.yaml that delivers to the bucket."""
        return {
            "kind": "object-store",
            "url": f"s3://{self.bucket}",
            "options": {**CREDENTIALS, "endpoint": self.endpoint},
            **more,
        }

    def start(self) -> None:
        """Makes the bucket and opens the gate. Raises RuntimeError if the process does not come up."""
        import boto3  # here, because it takes long and few rounds need it

        moto = self._moto or self._own.enter_context(Moto())
        self.gate.upstream = moto.url
        self.client = boto3.client(
            "s3",
            endpoint_url=self.gate.upstream,
            region_name=CREDENTIALS["region"],
            aws_access_key_id=CREDENTIALS["access_key_id"],
            aws_secret_access_key=CREDENTIALS["secret_access_key"],
        )
        self.client.create_bucket(Bucket=self.bucket)
        self.client.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        super().start()

    def stop(self) -> None:
        """Closes the gate and ends the process."""
        super().stop()
        if self.client is not None:
            self.client.close()
        self._own.close()

    def dump(self, folder: Path) -> list[dict[str, Any]]:
        """Copies the newest version of every object into the folder, under its own path. One entry per object, by
        path: `path`, `sha256` (hex), `versions` (how often it was written or deleted), `time` (seconds since epoch when
        a write to it first came through the gate; None: never)."""
        asked: dict[str, float] = {}
        for each in self.gate.requests:
            if each["method"] == "PUT":
                asked.setdefault(unquote(each["path"]).removeprefix(f"/{self.bucket}/"), each["time"])
        versions: Counter[str] = Counter()
        for page in self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket):
            versions.update(entry["Key"] for kind in ("Versions", "DeleteMarkers") for entry in page.get(kind, []))
        found = []
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
            for entry in page.get("Contents", []):
                path, body = entry["Key"], self.client.get_object(Bucket=self.bucket, Key=entry["Key"])["Body"].read()
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(body)
                digest, written = hashlib.sha256(body).hexdigest(), asked.get(path)
                found.append({"path": path, "sha256": digest, "versions": versions[path], "time": written})
        return sorted(found, key=lambda each: each["path"])


def main() -> None:
    """Serves S3 until standard input ends."""
    from moto.server import ThreadedMotoServer  # here, because nobody else needs it, and it takes long

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
