"""A browser's side of the viewer's connection, without a browser: for checks and timings."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headworks.viewer.state import View


class Probe:
    """Connects to a viewer, looks, moves sliders, receives pictures; a context manager.

    Args:
        url: of the viewer. view: first camera. height: of the window, pixels.

    Attributes:
        controls: label -> identifier of the panel's controls. picture: the last one, uint8
            [H, W, 3]. received: pictures so far. sizes: their heights.
    """

    def __init__(self, url: str, view: View, height: int = 512) -> None:
        import viser
        from websockets.sync.client import connect

        self.controls: dict[str, str] = {}
        self.picture: NDArray[np.uint8] | None = None
        self.received = 0
        self.sizes: list[int] = []
        self._height = height
        self._socket = connect(
            url.replace("http", "ws"), subprotocols=[f"viser-v{viser.__version__}"],  # type: ignore[list-item]
            compression=None, max_size=None,
        )  # fmt: skip
        self.look(view)

    def look(self, view: View) -> None:
        """Move the camera."""
        self._send(
            "ViewerCameraMessage", wxyz=view.wxyz, position=view.position, fov=view.fov, near=0.01,
            far=100.0, image_height=self._height, image_width=round(self._height * view.aspect),
            look_at=(0.0, 0.0, 0.0), up_direction=(0.0, 1.0, 0.0),
        )  # fmt: skip

    def set(self, label: str, value: Any) -> None:
        """Give a control another value."""
        self._send("GuiUpdateMessage", uuid=self.controls[label], updates={"value": value})

    def _send(self, kind: str, **fields: Any) -> None:
        import msgspec

        self._socket.send(msgspec.msgpack.encode({"type": kind, **fields}))

    def listen(self, seconds: float, pictures: int = 0) -> bool:
        """Receive for a while.

        Args:
            seconds: at most. pictures: stop once there were so many in all; 0: never.

        Returns:
            Whether there were.
        """
        deadline = time.monotonic() + seconds
        while not (pictures and self.received >= pictures):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            try:
                self._take(self._socket.recv(timeout=left))
            except TimeoutError:
                return False
        return True

    def _take(self, data: Any) -> None:
        import cv2
        import msgspec
        import zstandard

        size = int.from_bytes(data[8:16], "little")
        text = zstandard.ZstdDecompressor().decompress(data[16 : 16 + size])
        for message in msgspec.msgpack.decode(text)["messages"]:
            if message["type"] == "BackgroundImageMessage" and message["rgb_data"]:
                shown = cv2.imdecode(np.frombuffer(message["rgb_data"], np.uint8), cv2.IMREAD_COLOR)
                if shown is None:
                    raise ValueError("the viewer sent a picture that cannot be read")
                picture = np.ascontiguousarray(shown[..., ::-1]).astype(np.uint8, copy=False)
                self.picture = picture
                self.received += 1
                self.sizes.append(len(picture))
            elif "uuid" in message and "label" in (message.get("props") or {}):
                self.controls[message["props"]["label"]] = message["uuid"]

    def __enter__(self) -> Probe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._socket.close()
