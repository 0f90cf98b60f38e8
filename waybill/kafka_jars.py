"""Where Apache Kafka's jars come from: found in a cache, or fetched once with Maven; pinned versions, never half a set.

Looked for in this order: the folder named by WAYBILL_KAFKA_LIBS, then the user's cache (`$XDG_CACHE_HOME/waybill` or
`~/.cache/waybill`), shared by every checkout. What is missing is fetched there by one process while others wait.
"""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

KAFKA_VERSION = "4.2.1"  # not 4.3: it loses transaction markers (docs/adr/0011-kafka-4-2.md)
SCALA_VERSION = "2.13"
LOG4J_VERSION = "2.25.4"  # the one this Kafka depends on; the slf4j binding is not among its own dependencies
JAVA_AT_LEAST = 17
MAVEN_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
FETCH_SECONDS = 900  # a slow network; a Maven that hangs for longer is reported, not waited for

POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>waybill</groupId>
  <artifactId>kafka-libs</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_{SCALA_VERSION}</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>{LOG4J_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""


class BrokerError(Exception):
    """The local broker could not do what was asked; the message says what, where and what to do."""


class BrokerUnavailable(BrokerError):
    """This machine lacks what the local broker needs (Java or Maven); the one-line message says what to install."""


def find_java() -> str:
    """Path of a Java 17 or newer (JAVA_HOME first, then PATH); raises BrokerUnavailable."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    java = found or shutil.which("java")
    hint = f"install Java {JAVA_AT_LEAST} or newer (Debian: apt-get install openjdk-17-jre-headless)"
    if java is None:
        raise BrokerUnavailable(f"the local Kafka broker needs Java, and no `java` is on the PATH: {hint}")
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=60)
    version = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    if answer.returncode != 0 or version is None:
        raise BrokerUnavailable(f"the local Kafka broker needs Java, and `{java} -version` does not work: {hint}")
    if int(version[1]) < JAVA_AT_LEAST:
        raise BrokerUnavailable(f"the local Kafka broker needs Java {JAVA_AT_LEAST}, `{java}` is {version[1]}: {hint}")
    return java


def cache_folder() -> Path:
    """The user's cache folder for Waybill."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "waybill"


def kafka_libs(say: Callable[[str], None]) -> Path:
    """The folder holding Kafka's jars, fetched first if need be; raises BrokerUnavailable or BrokerError."""
    named = os.environ.get("WAYBILL_KAFKA_LIBS")
    if named:
        folder = Path(named)
        if not list(folder.glob("kafka_*.jar")):
            raise BrokerUnavailable(f"WAYBILL_KAFKA_LIBS={named} holds no kafka_*.jar: name the libs folder of a Kafka")
        return folder
    folder = cache_folder() / f"kafka-{KAFKA_VERSION}" / "libs"
    if not folder.is_dir():
        with only_one(cache_folder() / f"kafka-{KAFKA_VERSION}.lock"):
            if not folder.is_dir():  # another process may have fetched it while this one waited
                _fetch(folder, say)
    return folder


@contextmanager
def only_one(lock_file: Path) -> Iterator[None]:
    """Lets one process in at a time; the others wait. Raises OSError where the cache cannot be written."""
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(folder: Path, say: Callable[[str], None]) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerUnavailable(
            f"Apache Kafka {KAFKA_VERSION} is fetched with Maven, and no `mvn` is on the PATH: install Maven"
            " (Debian: apt-get install maven), or name a folder of Kafka's jars in WAYBILL_KAFKA_LIBS"
        )
    say(f"fetching Apache Kafka {KAFKA_VERSION} with Maven (once, about 45 MB) into {folder}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetch-") as scratch:
        pom = Path(scratch) / "pom.xml"
        pom.write_text(POM, encoding="utf-8")
        jars = Path(scratch) / "libs"
        command = [maven, "-q", "-B", "-f", str(pom), MAVEN_PLUGIN]
        options = [f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
        try:
            done = subprocess.run(
                command + options, capture_output=True, text=True, check=False, timeout=FETCH_SECONDS, cwd=scratch
            )
        except subprocess.TimeoutExpired as slow:
            raise BrokerError(f"Maven did not fetch Kafka's jars within {FETCH_SECONDS} s: check the network") from slow
        if done.returncode != 0 or not list(jars.glob("kafka_*.jar")):
            tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
            raise BrokerError(f"Maven could not fetch Kafka's jars (exit {done.returncode}); it said:\n{tail}")
        jars.rename(folder)  # all of them or none: a folder of this name is always whole
