"""The server as a process: the release binary, started, watched and ended by these tests."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("AMBROTYPE", REPOSITORY / ".build/release/ambrotype"))


LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent() -> None:
    """In the child: so that a run that is itself killed leaves no server behind."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class StartFailed(AssertionError):
    """The server ended, or said nothing, before it was ready."""


class Server:
    """One `ambrotype serve`, on a free port of the loopback unless told otherwise.

    `config` is the path of a configuration file, `environment` is added to the environment. Standard
    error goes to `log`, which outlives restarts. `prefix` is a command that executes the server's. `node` is its name
    among several that share the directory. Use as a context manager, or call `stop`.
    """

    def __init__(self, data_dir: Path, config: Path | None = None, log: Path | None = None,
                 listen: str = "127.0.0.1:0", environment: dict[str, str] | None = None,
                 prefix: list[str] | None = None, node: str | None = None):
        self.data_dir = Path(data_dir)
        self.config = config
        self.log = log or self.data_dir.with_suffix(".log")
        self.listen = listen
        self.environment = environment or {}
        self.prefix = prefix or []
        self.node = node
        self.url = ""
        self.process: subprocess.Popen | None = None
        self._said: list[str] = []

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *_) -> None:
        self.stop()

    def start(self, seconds: float = 60) -> "Server":
        """Starts it and waits until it says `ready URL`."""
        return self.launch().wait_until_ready(seconds)

    def launch(self) -> "Server":
        """Starts it and does not wait. To be called by a thread that outlives it (see `die_with_parent`)."""
        self._command = [*self.prefix, str(BINARY), "serve", "--data-dir", str(self.data_dir), "--listen", self.listen]
        if self.config:
            self._command += ["--config", str(self.config)]
        if self.node:
            self._command += ["--node", self.node]
        assert self.process is None or self.process.poll() is not None, "it runs already"
        self._said, self.url, self._ready = [], "", threading.Event()
        environment = {"AMBROTYPE_LOG_FORMAT": "text"} | os.environ | self.environment
        with open(self.log, "ab") as log:
            # A session of its own: a Ctrl-C for pytest must not reach the server first.
            self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=log, text=True,
                                            env=environment, start_new_session=True, preexec_fn=die_with_parent)
        threading.Thread(target=self._read, args=(self.process, self._ready), daemon=True).start()
        return self

    def wait_until_ready(self, seconds: float = 60) -> "Server":
        if not self._ready.wait(seconds) or not self.url:
            code = self.process.poll()
            self.kill()
            ended = "was not ready in time" if code is None else f"ended with status {code}"
            raise StartFailed(f"{' '.join(self._command)}\n{ended}; it said:\n{self.tail()}")
        return self

    def _read(self, process: subprocess.Popen, ready: threading.Event) -> None:
        for line in process.stdout:
            self._said.append(line)
            if line.startswith("ready "):
                self.url = line.split()[1].rstrip("/")
                ready.set()
        ready.set()  # it ended

    def restart(self) -> "Server":
        """Starts it again on the same data and the same port, so that clients need no new address."""
        return self.relaunch().wait_until_ready()

    def relaunch(self) -> "Server":
        """The same without waiting."""
        self.listen = self.url.removeprefix("http://") or self.listen
        return self.launch()

    def terminate(self) -> None:
        """Asks it to stop, and does not wait."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = 60) -> int:
        """Its exit status, once it ended."""
        return self.process.wait(seconds)

    def stop(self, seconds: float = 60) -> int | None:
        """Ends it as an operator would; its exit status, or None if it never ran."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.terminate()
            try:
                self.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"no end {seconds} s after SIGTERM\n{self.tail()}") from None
        return self.process.returncode

    def kill(self) -> None:
        """Ends it as a power failure would (though the page cache survives)."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)

    @property
    def pid(self) -> int:
        return self.process.pid

    def tail(self, lines: int = 20) -> str:
        """The last it said, on both streams."""
        try:
            log = self.log.read_text(errors="replace").splitlines()[-lines:]
        except OSError:
            log = []
        return "".join(self._said[-lines:]) + "\n".join(log)

    # Memory and processor time, as the kernel counts them (proc(5)).

    def resident_bytes(self) -> int:
        return self._status("VmRSS")

    def peak_resident_bytes(self) -> int:
        """The largest resident size since the start or the last `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def _status(self, key: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {key} in /proc/{self.pid}/status")


def processor_seconds(pid: int) -> float:
    """Processor time of a process and its ended children, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def eventually(condition, seconds: float = 30, message: str = ""):
    """Waits for `condition` to return something true, and returns it."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {message or condition}; last: {value!r}")
        time.sleep(0.05)
