"""The house: pipelines/ on stages/ on headworks/; imports point down only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STOREYS = ("headworks", "stages", "pipelines")
LIGHT = {"numpy", "pydantic", "headworks", "stages", *sys.stdlib_module_names}


def imports(tree: ast.AST) -> set[str]:
    """Top packages of every import in a tree, lazy ones included."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("storey", STOREYS)
def test_imports_point_down_only(storey: str) -> None:
    above = set(STOREYS[STOREYS.index(storey) + 1 :])
    files = sorted((ROOT / storey).rglob("*.py"))
    assert files
    for path in files:
        wrong = imports(ast.parse(path.read_text())) & above
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)} from above"


def test_stages_import_nothing_heavy_when_planning() -> None:
    """Planning imports every stage's module; torch and its like must wait until they run."""
    program = (
        "import sys; from stages.registry import STAGES; [s.params_class() for s in STAGES]; "
        "print(*sorted({m.split('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = {
        *("torch", "cv2", "dlib", "zarr", "polars", "scipy", "skimage", "matplotlib", "av"),
        *("rembg", "onnxruntime", "numba", "face_alignment", "pymatting", "prefect", "dvc"),
    }
    assert not heavy & set(done.stdout.split())


def test_no_graphics_card_is_required() -> None:
    """Devices come from one place: nobody else moves tensors to CUDA by hand."""
    for storey in STOREYS:
        for path in (ROOT / storey).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
                assert not (called and node.func.attr == "cuda"), f"{path}:{node.lineno} .cuda()"  # type: ignore[attr-defined]
