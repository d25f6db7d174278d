"""A headless Chromium, spoken to through a pipe: opens files, runs JavaScript, takes pictures."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from headworks.errors import HeadworksError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FLAGS = (
    "--headless=new", "--no-first-run", "--no-default-browser-check", "--hide-scrollbars",
    "--mute-audio", "--disable-extensions", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--disable-default-apps", "--enable-unsafe-swiftshader",
    "--use-angle=swiftshader", "--remote-debugging-pipe",
)  # fmt: skip


def find_chromium() -> str | None:
    """The browser: `HEADWORKS_CHROMIUM`, or one of the usual names on the path; None without."""
    named = os.environ.get("HEADWORKS_CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One tab of a headless Chromium with a software renderer; a context manager.

    Attributes:
        problems: errors and warnings of the console, uncaught exceptions and failed requests.
        requests: addresses that the page asked for, data URLs left out.
    """

    def __init__(self, width: int = 800, height: int = 600) -> None:
        """Start it with a window of `width` x `height` pixels.

        Raises:
            HeadworksError: when there is no Chromium.
        """
        program = find_chromium()
        if program is None:
            raise HeadworksError(
                f"no Chromium on the path ({', '.join(NAMES)}); install one, or set "
                "HEADWORKS_CHROMIUM to its program"
            )
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._buffer = b""
        self._count = 0
        self._session: str | None = None
        flags = [*_FLAGS, f"--user-data-dir={self._folder.name}", f"--window-size={width},{height}"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")  # Chromium refuses to sandbox for root
        self._start([program, *flags, "about:blank"])
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = session
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def resize(self, width: int, height: int, scale: float = 1.0, mobile: bool = False) -> None:
        """Another size of window, CSS pixels; `scale`: device pixels per CSS pixel."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=mobile,
        )  # fmt: skip

    def open(self, path: Path | str, fragment: str = "", timeout_s: float = 60.0) -> None:
        """Open a file, or an address, and wait until it has loaded."""
        address = path if isinstance(path, str) else path.resolve().as_uri()
        self._loaded = False
        self.call("Page.navigate", url=address + fragment)
        deadline = time.monotonic() + timeout_s
        while not self._loaded:
            self._receive(deadline)

    def run(self, script: str, timeout_s: float = 120.0) -> Any:
        """The value of an expression (awaited where it is a promise).

        Raises:
            HeadworksError: when it throws.
        """
        answer = self.call(
            "Runtime.evaluate", timeout_s, expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise HeadworksError(f"the page threw: {_told(answer['exceptionDetails'])}")
        return answer["result"].get("value")

    def screenshot(self) -> bytes:
        """What the window shows, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def call(self, method: str, timeout_s: float = 120.0, **params: Any) -> dict[str, Any]:
        """One command of the DevTools protocol.

        Raises:
            HeadworksError: when the browser refuses it, ends, or does not answer in time.
        """
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        text = json.dumps(message).encode() + b"\0"
        while text:
            text = text[os.write(self._out, text) :]
        deadline = time.monotonic() + timeout_s
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise HeadworksError(f"{method}: {answer['error'].get('message')}")
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            wait = deadline - time.monotonic()
            if wait <= 0 or not select.select([self._in], [], [], wait)[0]:
                raise HeadworksError("Chromium does not answer")
            part = os.read(self._in, 1 << 20)
            if not part:
                raise HeadworksError("Chromium ended by itself")
            self._buffer += part
        text, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, params: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Runtime.exceptionThrown":
            self.problems.append(_told(params["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            said = [str(a.get("value", a.get("description", ""))) for a in params["args"]]
            self.problems.append(" ".join(said))
        elif event == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(params["entry"]["text"])
        elif event == "Network.requestWillBeSent":
            address = params["request"]["url"]
            if not address.startswith("data:"):
                self.requests.append(address)

    def _start(self, command: list[str]) -> None:
        """Start the program with the protocol's pipes at its descriptors 3 and 4."""
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # Out of the way of 3 and 4 first: the one must not overwrite the other.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 16) for fd in (theirs_in, theirs_out)]
        quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
        moved = [(os.POSIX_SPAWN_DUP2, fd, 3 + i) for i, fd in enumerate(high)]
        self._pid = os.posix_spawn(
            command[0], command, os.environ, file_actions=[*quiet, *moved], setpgroup=0
        )
        for fd in (theirs_in, theirs_out, *high):
            os.close(fd)

    def close(self) -> None:
        """End the browser and what it started."""
        for gentle in (True, False):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGTERM if gentle else signal.SIGKILL)
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                if os.waitpid(self._pid, os.WNOHANG)[0]:
                    os.close(self._in)
                    os.close(self._out)
                    self._folder.cleanup()
                    return
                time.sleep(0.02)
        raise HeadworksError(f"Chromium (process {self._pid}) does not end")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()


def _told(details: dict[str, Any]) -> str:
    thrown = details.get("exception", {})
    return str(thrown.get("description") or thrown.get("value") or details.get("text"))
