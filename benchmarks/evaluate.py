"""How far each avatar is above the two baselines on pictures it has not seen.

    python benchmarks/evaluate.py [WORKSPACE] [--subjects NAME ...]

Reads what the pipeline left in a workspace: the evaluate artifacts, one folder per subject.
Exit code 1 when an avatar does not beat both baselines on PSNR.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from headworks.metrics.names import BASELINES, PLAIN


def evaluations(workspace: Path) -> dict[str, Path]:
    """Subject -> evaluate artifact, wherever below the workspace they lie."""
    found: dict[str, Path] = {}
    for meta in sorted(workspace.rglob("artifact.json")):
        folder = meta.parent
        hidden = any(part.startswith(".") for part in folder.relative_to(workspace).parts)
        if hidden or not (folder / "metrics.parquet").is_file():
            continue
        found[folder.parent.name if folder.name == "evaluate" else folder.name] = folder
    return found


def differences(folder: Path) -> list[tuple[str, dict[str, float], float]]:
    """One entry per protocol: its name, PSNR per method, gain over the better baseline."""
    out = []
    for protocol, methods in json.loads((folder / "metrics.json").read_text()).items():
        psnr = {method: values["psnr"] for method, values in methods.items() if "psnr" in values}
        own = [value for method, value in psnr.items() if method not in BASELINES]
        others = [psnr[method] for method in PLAIN if method in psnr]
        if own and others:
            out.append((protocol, psnr, max(own) - max(others)))
    return out


def main() -> int:
    """Print one line per subject and protocol."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("workspace", nargs="?", type=Path, default=Path("data"))
    parser.add_argument("--subjects", nargs="*", help="only these")
    arguments = parser.parse_args()
    found = evaluations(arguments.workspace)
    if arguments.subjects:
        found = {name: path for name, path in found.items() if name in arguments.subjects}
    if not found:
        print(f"{arguments.workspace}: no evaluate artifacts; run the pipeline first")
        return 2
    header = f"{'subject':24} {'protocol':44} {'avatar':>7} {'nearest':>8} {'mesh':>7} {'gain':>7}"
    print(f"PSNR in dB\n{header}\n{'-' * len(header)}")
    beaten = True
    for name, folder in found.items():
        for protocol, psnr, gain in differences(folder):
            own = next(value for method, value in psnr.items() if method not in BASELINES)
            cells = [f"{psnr[m]:.2f}" if m in psnr else "-" for m in PLAIN]
            print(f"{name:24} {protocol:44} {own:7.2f} {cells[0]:>8} {cells[1]:>7} {gain:+7.2f}")
            beaten &= gain > 0
    return 0 if beaten else 1


if __name__ == "__main__":
    sys.exit(main())
