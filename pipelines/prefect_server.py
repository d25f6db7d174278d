"""A Prefect server for the length of one run, where the user has none.

It dies with the run (even with SIGKILL), says nothing on the console, and keeps its database below
`.headworks/prefect`, so that `prefect server start` there shows past runs.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from pipelines.layout import Layout
from pipelines.locks import Lock
from pipelines.worker import die_with_parent

START_LIMIT_S = 180.0
SETTINGS = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLI_PROMPT": "false",
    "DO_NOT_TRACK": "1",
}


def answers(url: str, timeout_s: float = 2.0) -> bool:
    """Whether a Prefect API is up at a URL."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=timeout_s) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


class PrivateServer:
    """The server process.

    Args:
        layout: of the workspace.
        log: file for whatever the server says.
    """

    def __init__(self, layout: Layout, log: Path) -> None:
        self.url = ""
        self._layout = layout
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: Lock | None = None

    def begin(self) -> None:
        """Start the process; `wait` waits until it answers."""
        home = self._home()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api"
        environment = {**os.environ, **{k: os.environ.get(k, v) for k, v in SETTINGS.items()}}
        environment |= {
            "PREFECT_HOME": str(home),
            "PREFECT_UI_ENABLED": "0",
            "PREFECT__SERVER_EPHEMERAL": "1",
            "PREFECT__SERVER_FINAL": "1",
        }
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.prefect_server", str(port), str(os.getpid())],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _home(self) -> Path:
        """A database that no other run uses at the moment (SQLite does not like company)."""
        for number in range(100):
            name = "prefect" if number == 0 else f"prefect-{number}"
            home = self._layout.hidden / name
            lock = Lock(home / "lock", wait=False).__enter__()
            if lock.held:
                self._lock = lock
                return home
        raise OSError("a hundred runs at once in this workspace")

    def wait(self, limit_s: float = START_LIMIT_S) -> None:
        """Until it answers.

        Raises:
            OSError: when it ended or took too long.
        """
        assert self._process is not None
        until = time.monotonic() + limit_s
        while not answers(self.url):
            if self._process.poll() is not None:
                raise OSError(f"the Prefect server ended at once; see {self._log}")
            if time.monotonic() > until:
                raise OSError(f"the Prefect server did not answer in {limit_s:.0f} s")
            time.sleep(0.1)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._lock is not None:
            self._lock.__exit__(None, None, None)
            self._lock = None


def main() -> None:
    """Serve; argv: port, pid of the run."""
    die_with_parent()
    if os.getppid() != int(sys.argv[2]):
        return
    import uvicorn

    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="error",
        lifespan="on",
    )


if __name__ == "__main__":
    main()
