"""Who may talk to the viewer: pages that it served itself, opened on this machine.

Every page that a browser shows may open a websocket to 127.0.0.1, whichever site it comes from; and
a site may give its own name the address 127.0.0.1 (DNS rebinding). A request is refused unless
its Host is a loopback name, and its Origin, which browsers always send with a websocket, that same
host. Programs send no Origin and are let in: whoever runs programs here needs no page.
"""

from __future__ import annotations

import contextlib
import functools
import http
import ipaddress
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from headworks.errors import HeadworksError

_LOCK = threading.Lock()


def admitted(host: str | None, origins: list[str]) -> bool:
    """Whether a request comes from this machine and from a page of the viewer.

    Args:
        host: the Host header. origins: all Origin headers; browsers send one, programs none.
    """
    if host is None or not _loopback(host):
        return False
    # A forwarded port has another number here than there: Host tells the browser's.
    return all(origin == f"http://{host}" for origin in origins)


def _loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    if name is None:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Servers of `websockets` that are started within refuse whom `admitted` refuses.

    viser passes no such rule on to the library, so the library's `serve` is given one.

    Raises:
        HeadworksError: no server was started by way of it: the rule would not hold.
    """
    import websockets.asyncio.server as library
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    started: list[int] = []
    real = library.serve

    @functools.wraps(real, updated=())
    def serve(*args: Any, **kwargs: Any) -> Any:
        inner = kwargs.get("process_request")

        def checked(connection: Any, request: Any) -> Any:
            hosts = request.headers.get_all("Host")
            host = hosts[0] if len(hosts) == 1 else None
            if not admitted(host, request.headers.get_all("Origin")):
                text = b"The viewer answers pages of its own, opened on this machine.\n"
                head = Headers({"Content-Type": "text/plain", "Content-Length": str(len(text))})
                return Response(http.HTTPStatus.FORBIDDEN.value, "Forbidden", head, text)
            return None if inner is None else inner(connection, request)

        started.append(1)
        return real(*args, **{**kwargs, "process_request": checked})

    with _LOCK:
        library.serve = serve  # type: ignore[assignment, misc]
        try:
            yield
        finally:
            library.serve = real  # type: ignore[misc]
    if not started:
        raise HeadworksError(
            "the viewer cannot keep other sites out with this version of viser; "
            "pip install 'viser==1.1.1'"
        )
