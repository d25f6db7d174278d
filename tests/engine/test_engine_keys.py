"""Recipe keys and code hashes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.canon import md5_tree
from pipelines.codehash import CodeIndex, normalise
from pipelines.keys import KeyMaker, recipe, recipe_key, unit_seed
from pipelines.plan import Graph, Unit
from pipelines.subjects import Subject
from stages.contract import Input, Stage

PARTS: dict[str, Any] = {
    "stage": "double",
    "version": 1,
    "code": "c" * 64,
    "params": {"factor": 2.0, "coarse": False},
    "seed": 0,
    "inputs": [("read", "", "0" * 32 + ".dir")],
}


def test_key_is_the_same_everywhere_and_for_ever() -> None:
    assert recipe_key(recipe(**PARTS)) == (
        "k1d96b293a9cd7a521e26cd80d93d1569c55dc7736323f53c75a7f8958e16ee752"
    )


@given(
    inputs=st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6), st.text(max_size=6))),
    params=st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False)),
    assets=st.dictionaries(st.text(max_size=5), st.text(max_size=5)),
)
def test_the_quick_way_to_keys_gives_the_same_keys(
    inputs: list[tuple[str, str, str]], params: dict[str, float], assets: dict[str, str]
) -> None:
    parts = {**PARTS, "params": params, "assets": assets}
    made = recipe(**{**parts, "inputs": inputs})
    maker = KeyMaker(recipe(**{**parts, "inputs": []}))
    assert maker.key(made["inputs"]) == recipe_key(made)


def test_key_does_not_depend_on_order() -> None:
    parts = {**PARTS, "inputs": [("b", "", "1"), ("a", "", "2")], "params": {"x": 1, "y": 2}}
    other = {**PARTS, "inputs": [("a", "", "2"), ("b", "", "1")], "params": {"y": 2, "x": 1}}
    assert recipe_key(recipe(**parts)) == recipe_key(recipe(**other))


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "triple"},
        {"version": 2},
        {"code": "d" * 64},
        {"params": {"factor": 2.5, "coarse": False}},
        {"params": {"factor": 2, "coarse": False}},
        {"seed": 1},
        {"inputs": [("read", "", "1" * 32 + ".dir")]},
        {"inputs": [("read", "a", "0" * 32 + ".dir")]},
        {"inputs": []},
    ],
)
def test_every_ingredient_changes_the_key(change: dict[str, Any]) -> None:
    assert recipe_key(recipe(**{**PARTS, **change})) != recipe_key(recipe(**PARTS))


def test_not_a_number_has_no_key() -> None:
    with pytest.raises(ValueError, match="JSON"):
        recipe_key(recipe(**{**PARTS, "params": {"factor": float("nan")}}))


def test_seed_depends_on_inputs_and_project_but_not_on_code() -> None:
    seed = unit_seed(recipe(**PARTS))
    assert seed == unit_seed(recipe(**{**PARTS, "code": "d" * 64, "params": {}}))
    assert seed != unit_seed(recipe(**{**PARTS, "seed": 1}))
    assert seed != unit_seed(recipe(**{**PARTS, "inputs": [("read", "", "1")]}))


def test_folder_digest_is_the_one_of_dvc(tmp_path: Path) -> None:
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db.local import LocalHashFileDB
    from dvc_data.hashfile.state import StateNoop
    from dvc_objects.fs.local import localfs

    folder = tmp_path / "raw"
    (folder / "sub").mkdir(parents=True)
    files = {"b.png": b"1", "a.png": b"22", "sub/ü.txt": b"333", "sub.txt": b""}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    odb = LocalHashFileDB(localfs, str(tmp_path / "odb"), state=StateNoop(), hash_name="md5")
    _, _, tree = build(odb, str(folder), localfs, "md5", dry_run=True)
    import hashlib

    digests = {name: hashlib.md5(data).hexdigest() for name, data in files.items()}
    assert md5_tree(digests) == tree.oid


SOURCE = '''"""Module."""
from __future__ import annotations

LIMIT = 3  # why


class A:
    """What it is."""

    field: int = 1
    """What the field is."""

    def f(self, x: int = 2) -> str:
        """What it does."""
        return f"{x:>3} #{'a'}"
'''


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ('"""Module."""', '"""Another text."""', False),
        ('"""Module."""\n', "", False),
        ('"""What it is."""', '"""What it was."""', False),
        ('"""What the field is."""', '"""Words."""', False),
        ('        """What it does."""\n', "", False),
        ("# why", "# because", False),
        ("\n\n\nclass", "\n\nclass", False),
        ("LIMIT = 3", "LIMIT = (3)", False),
        ("LIMIT = 3", "LIMIT = 4", True),
        ("LIMIT = 3", "LIMIT = 3.0", True),
        ("int = 2", "int = 3", True),
        ("#{'a'}", "%{'a'}", True),
        (":>3", ":<3", True),
        ("def f", "def g", True),
        ("return", "yield", True),
    ],
)
def test_comments_and_docstrings_do_not_count_and_all_else_does(
    old: str, new: str, counts: bool
) -> None:
    assert old in SOURCE
    assert (normalise(SOURCE.replace(old, new, 1)) != normalise(SOURCE)) == counts


def test_docstrings_count_where_the_module_reads_them() -> None:
    a = '"""One."""\nprint(__doc__)\n'
    assert normalise(a) != normalise(a.replace("One", "Two"))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "firstparty"
    (folder / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "main.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "import json\n"
        "if TYPE_CHECKING:\n    from firstparty import only_types\n"
        "from . import near\n"
        "def run():\n    from firstparty.deep.lazy import f\n"
        "    import importlib\n    importlib.import_module('firstparty.named')\n"
    )
    (folder / "deep" / "lazy.py").write_text("from ..far import g\ndef f(): pass\n")
    for name in ("near", "far", "named", "only_types", "unrelated"):
        (folder / f"{name}.py").write_text(f"def g(): return '{name}'\n")
    (folder / "page.html").write_text("<p>")
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("firstparty", None)
    return folder


def test_code_is_what_a_stage_can_reach(package: Path) -> None:
    found = CodeIndex(["firstparty"]).closure("firstparty.main")
    names = ["main", "near", "far", "named", "deep.lazy"]
    assert set(found) == {
        "firstparty",
        "firstparty/page.html",
        *(f"firstparty.{name}" for name in names),
    }


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("main.py", True),
        ("near.py", True),
        ("far.py", True),
        ("named.py", True),
        ("deep/lazy.py", True),
        ("page.html", True),
        ("only_types.py", False),
        ("unrelated.py", False),
    ],
)
def test_editing_reachable_code_changes_the_hash(package: Path, file: str, counts: bool) -> None:
    cache = package.parent / "cache.json"
    index = CodeIndex(["firstparty"], cache)
    before = index.hash("firstparty.main")
    index.save(package.parent)
    path = package / file
    path.write_text(path.read_text() + "\nx = 2\n")
    assert (CodeIndex(["firstparty"], cache).hash("firstparty.main") != before) == counts


def test_a_comment_does_not_change_the_hash(package: Path) -> None:
    before = CodeIndex(["firstparty"]).hash("firstparty.main")
    path = package / "far.py"
    path.write_text("# why\n" + path.read_text() + "\n\n# more\n")
    assert CodeIndex(["firstparty"]).hash("firstparty.main") == before


def test_somebody_more_is_beside_a_few_others_only() -> None:
    registry = (
        Stage("track", "toystages.read", "ReadParams", "subject", (Input("raw"),)),
        Stage("meet", "toystages.join", "JoinParams", "subject", (Input("track", peers=5),)),
    )

    def seen(count: int) -> dict[str, list[str]]:
        names = [f"s{k}" for k in range(count)]
        graph = Graph(registry, {n: Subject(n, "clip", n, {}) for n in names})
        return {n: [dep.member for dep in graph.deps[Unit("meet", n)]] for n in names}

    for count in (40, 400):
        before, after = seen(count), seen(count + 1)
        assert all(len(set(members)) == 6 for members in before.values())
        assert all(members[0] == "" and n not in members for n, members in before.items())
        assert sum(before[n] != after[n] for n in before) == 5
    assert [sorted(m) for m in seen(3).values()] == [
        ["", "s1", "s2"],
        ["", "s0", "s2"],
        ["", "s0", "s1"],
    ]
    assert seen(1) == {"s0": [""]}
