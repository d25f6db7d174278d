"""Where LPIPS's weights lie. Nothing heavy is imported: plans ask which files are at hand."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from headworks.networks.files import find_file

Net = Literal["alex", "vgg"]
BACKBONES: dict[Net, tuple[str, ...]] = {
    "vgg": ("vgg16-397923af",),
    "alex": ("alexnet-owt-7be5be79", "alexnet-owt-4df8aa71"),
}
"""torchvision's published state dicts; the digits are the beginning of the file's SHA-256."""


def lpips_files(net: Net, folder: Path | None) -> dict[str, Path | None]:
    """The two files of a LPIPS network, None where absent.

    Args:
        net: "alex" or "vgg". folder: of weights: torchvision's file under its published name, and
            the linear weights `lpips/alex.pth` or `lpips/vgg.pth` (version 0.1 of the package
            `lpips`, whose own copy is found where it is installed).
    """
    backbone = next((p for s in BACKBONES[net] if (p := find_file(folder, s))), None)
    heads = find_file(folder / "lpips", net) if folder is not None else None
    return {f"lpips {net} backbone": backbone, f"lpips {net} heads": heads or _installed(net)}


def _installed(net: Net) -> Path | None:
    """The package's own copy of the linear weights; the package is not imported."""
    spec = find_spec("lpips")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "weights" / "v0.1" / f"{net}.pth"
    return path if path.is_file() else None
