"""Worker processes without the second that their imports take: forked from a process that has imported the product.

Rounds and tests start hundreds of workers, and most of what a start takes goes into the same modules. A worker that
comes from here is a process like any other, with pid, signals, environment, standard streams and exit code of its own,
and runs its module as `python -m` does. With its siblings it shares what was imported, and the seed of hashes.

`multiprocessing` has a fork server, too; its children import the main module of whoever asked, here a test runner.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, NoReturn

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("streams.runtime.worker", "topology.load", "waybill.logs", "waybill.context")
"""What `waybill worker` imports once it runs; the rest comes with the command line."""
REQUEST_BYTES = 128 * 1024
"""A command and its environment, at most."""
LOOK_SECONDS = 0.02


class Forked:
    """A process that the server has forked; used as `subprocess.Popen` is, from any thread."""

    def __init__(self, pid: int, stdin: IO[bytes], told: IO[bytes]) -> None:
        """told: where the server will tell the exit code, as a line."""
        self.pid, self.stdin = pid, stdin
        self.returncode: int | None = None
        """As Popen has it: below 0 it is the signal that has ended the process."""
        self._told = told
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit code, once it has ended. Raises ValueError where the server has ended before it."""
        with self._lock:
            if self.returncode is None:
                try:
                    line = os.read(self._told.fileno(), 32)
                except BlockingIOError:
                    return None
                self.returncode = int(line)
                self._told.close()
                self.stdin.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises TimeoutExpired where it does not end within so many seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(f"pid {self.pid}", timeout or 0.0)
            time.sleep(LOOK_SECONDS)
        return code

    def send_signal(self, sig: int) -> None:
        """Without effect where it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The server, for those who ask it. It ends with this process, however that ends."""

    def __init__(self) -> None:
        self._asking, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "chaos.fork_server", str(theirs.fileno())],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
            )  # fmt: skip

    def start(self, module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Forked:
        """A process that runs the module as `python -m` does, in the folder of this checkout.

        environment: all of it. log: what it says is added there. It has a pipe as standard input.
        """
        request = json.dumps([module, list(arguments), dict(environment)]).encode()
        if len(request) > REQUEST_BYTES:
            raise ValueError(f"a command of {len(request)} bytes; at most {REQUEST_BYTES}")
        stdin, to_stdin = os.pipe()
        told, telling = os.pipe()
        out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        answers = os.fdopen(told, "rb", buffering=0)
        try:
            with self._lock:
                socket.send_fds(self._asking, [request], [stdin, out, telling])
        finally:
            for sent in (stdin, out, telling):
                os.close(sent)
        pid = answers.readline()
        if not pid:
            raise RuntimeError(f"the fork server has ended with {self._server.wait()}: it says why on standard error")
        os.set_blocking(told, False)
        return Forked(int(pid), os.fdopen(to_stdin, "wb", buffering=0), answers)

    def close(self) -> None:
        """Ends the server. Processes that it has forked live on, and nobody hears of their ends."""
        self._asking.close()
        self._server.wait()


@cache
def fork_server() -> ForkServer:
    """That of this process, started when it is first asked for."""
    server = ForkServer()
    atexit.register(server.close)
    return server


# ---- the server's side -------------------------------------------------------------------------------


def serve(asked: socket.socket) -> None:
    """Forks on request, and tells how each process ended, until nobody can ask any more."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # else it wakes nobody
    telling: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(asked, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in selector.select()]
            if woken in ready:
                os.read(woken, 4096)
                _tell_ends(telling)
            if asked in ready:
                request, fds, _, _ = socket.recv_fds(asked, REQUEST_BYTES, 3)
                if not request:
                    return
                stdin, out, tell = fds
                pid = os.fork()
                if pid == 0:
                    selector.close()
                    _become(request, stdin, out, [asked.fileno(), woken, wake, tell, *telling.values()])
                _tell(tell, pid)
                telling[pid] = tell
                os.close(stdin)
                os.close(out)


def _tell_ends(telling: dict[int, int]) -> None:
    """Tells the exit code of each process that has ended."""
    while telling:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        tell = telling.pop(pid)
        _tell(tell, os.waitstatus_to_exitcode(status))
        os.close(tell)


def _tell(tell: int, number: int) -> None:
    with suppress(BrokenPipeError):  # who asked for it may be gone
        os.write(tell, b"%d\n" % number)


def _become(request: bytes, stdin: int, out: int, inherited: Iterable[int]) -> NoReturn:
    """In the child: it is the process that was asked for, from here on."""
    code: object = 1
    try:
        signal.set_wakeup_fd(-1)
        for number, handler in ((signal.SIGCHLD, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
            signal.signal(number, handler)
        for stream, given in enumerate((stdin, out, out)):
            os.dup2(given, stream)
        for other in (stdin, out, *inherited):
            os.close(other)
        module, arguments, environment = json.loads(request)
        os.environ.clear()
        os.environ.update(environment)
        from streams.runtime import failpoints

        failpoints.arm(os.environ.get(failpoints.VARIABLE))  # it has looked when it was imported
        sys.argv[1:] = arguments
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # noqa: BLE001 - printed, as Python does at the end of a program
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def import_all() -> None:
    """Everything that a worker would import. No thread may run when processes are forked: they would not have it."""
    from streams.runtime.garbage import STARTING

    gc.set_threshold(*STARTING)
    for module in NEEDED:
        import_module(module)
    import_module("waybill.main").build("worker")
    del sys.modules["waybill.main"]  # a worker runs it, as `__main__`
    gc.collect()
    gc.freeze()  # no collection in a worker touches what all of them share
    assert len(os.listdir("/proc/self/task")) == 1, "some module has started a thread"


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who ask, and for the workers
    import_all()
    serve(socket.socket(fileno=int(sys.argv[1])))
