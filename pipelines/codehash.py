"""What a stage's code is: the parsed modules of the project that it can reach by imports."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from headworks.errors import HeadworksError
from pipelines.canon import digest
from pipelines.files import read_cache, write_cache

_DATA_SUFFIXES = {".html", ".css", ".js", ".j2", ".json", ".glsl", ".cu", ".cpp", ".h", ".txt"}


_FORM = 2
_NO_MEANING = frozenset({"ctx", "kind", "type_comment", "type_ignores"})


def normalise(source: str) -> str:
    """What a source means to the interpreter: its syntax tree, without comments and docstrings.

    Text that differs in layout, comments, quotes or docstrings alone gives the same result. Words
    that stand alone are no code; they stay where the module asks for them by `__doc__`, as a
    command line does.

    Raises:
        SyntaxError: not Python.
    """
    documented = "__doc__" in source or "use_attribute_docstrings" in source
    parts: list[str] = []

    def write(node: object) -> None:
        if isinstance(node, ast.AST):
            parts.append(f"({type(node).__name__}")
            for name, value in ast.iter_fields(node):
                # Fields that other versions of Python add are empty here, and left out.
                if name in _NO_MEANING or value is None or value == []:
                    continue
                parts.append(f" {name}=")
                write(value)
            parts.append(")")
        elif isinstance(node, list):
            parts.append("[")
            for item in node:
                if not (_words_alone(item) and not documented):
                    write(item)
            parts.append("]")
        else:
            parts.append(f"{type(node).__name__}:{node!r};")

    write(ast.parse(source))
    return "".join(parts)


def _words_alone(node: object) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imported(tree: ast.AST, module: str, is_package: bool) -> set[str]:
    """Dotted names that a module's source may import, as written (submodules not yet checked)."""
    names: set[str] = set()
    package = module if is_package else module.rpartition(".")[0]

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If):
            test = node.test
            name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
            if name == "TYPE_CHECKING":
                for later in node.orelse:
                    visit(later)
                return
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in ("import_module", "__import__") and node.args:
                argument = node.args[0]
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    names.add(argument.value)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return names


class CodeIndex:
    """Code hashes of stages.

    Args:
        packages: names of the first-party top packages.
        cache: file that remembers parsed sources between runs, or None.
    """

    def __init__(self, packages: Iterable[str], cache: Path | None = None) -> None:
        self._roots: dict[str, Path] = {}
        self._files: dict[str, Path | None] = {}
        self._parsed: dict[str, tuple[str, list[str]]] = {}
        self._data: dict[str, dict[str, str]] = {}
        self._closures: dict[str, dict[str, str]] = {}
        for name in sorted(set(packages)):
            spec = importlib.util.find_spec(name)
            if spec is None:
                raise HeadworksError(f"no package {name!r} to take code from")
            if spec.submodule_search_locations:
                self._roots[name] = Path(next(iter(spec.submodule_search_locations)))
            elif spec.origin:
                self._roots[name] = Path(spec.origin)
        self._cache_path = cache
        self._cache: dict[str, Any] = read_cache(cache) if cache is not None else {}
        self._dirty = False

    def file(self, module: str) -> Path | None:
        """Source of a first-party module, None where there is none of that name."""
        if module not in self._files:
            self._files[module] = self._find(module)
        return self._files[module]

    def _find(self, module: str) -> Path | None:
        top, *rest = module.split(".")
        root = self._roots.get(top)
        if root is None or any(not part for part in rest):
            return None
        if root.suffix == ".py":
            return root if not rest else None
        place = root.joinpath(*rest)
        if (place / "__init__.py").is_file():
            return place / "__init__.py"
        single = place.with_suffix(".py") if rest else None
        return single if single is not None and single.is_file() else None

    def _parse(self, path: Path, module: str) -> tuple[str, list[str]]:
        stat = path.stat()
        stamp = [_FORM, stat.st_size, stat.st_mtime_ns, module]
        known = self._cache.get(str(path))
        if isinstance(known, list) and len(known) == 3 and known[0] == stamp:
            return str(known[1]), list(known[2])
        source = path.read_text(encoding="utf-8")
        try:
            tree = ast.parse(source)
            text = normalise(source)
        except (SyntaxError, ValueError, RecursionError) as error:
            raise HeadworksError(f"{path}: cannot be parsed ({error})") from None
        hashed = hashlib.sha256(text.encode()).hexdigest()
        names = sorted(
            name
            for name in _imported(tree, module, path.name == "__init__.py")
            if name.split(".")[0] in self._roots
        )
        self._cache[str(path)] = [stamp, hashed, names]
        self._dirty = True
        return hashed, names

    def closure(self, module: str) -> dict[str, str]:
        """Hashes of everything first-party that importing and running a module can reach.

        Args:
            module: dotted name.

        Returns:
            module (or `package/data file`) -> SHA-256 of what it means.

        Raises:
            HeadworksError: when the module is absent or a source cannot be parsed.
        """
        if module in self._closures:
            return self._closures[module]
        if self.file(module) is None:
            raise HeadworksError(f"no module {module!r} below {sorted(self._roots)}")
        found: dict[str, str] = {}
        todo = [module]
        while todo:
            name = todo.pop()
            parts = name.split(".")
            for depth in range(1, len(parts) + 1):
                current = ".".join(parts[:depth])
                path = self.file(current)
                if path is None or current in found:
                    continue
                if current not in self._parsed:
                    self._parsed[current] = self._parse(path, current)
                    if path.name == "__init__.py":
                        self._data[current] = self._data_files(current, path.parent)
                found[current], names = self._parsed[current]
                todo.extend(names)
                found.update(self._data.get(current, {}))
        self._closures[module] = found
        return found

    @staticmethod
    def _data_files(package: str, folder: Path) -> dict[str, str]:
        """Templates, shaders and the like that lie in a package's folder (not below others)."""
        found = {}
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            if path.suffix not in _DATA_SUFFIXES or not path.is_file():
                continue
            inner = [folder.joinpath(*relative.parts[:n]) for n in range(1, len(relative.parts))]
            if any((place / "__init__.py").exists() for place in inner):
                continue
            found[f"{package}/{relative.as_posix()}"] = hashlib.sha256(
                path.read_bytes()
            ).hexdigest()
        return found

    def hash(self, module: str) -> str:
        """One hash over the closure."""
        return digest("code", self.closure(module))

    def save(self, tmp: Path) -> None:
        """Keep the parsed sources for the next run."""
        if self._dirty and self._cache_path is not None:
            write_cache(self._cache_path, self._cache, tmp)
            self._dirty = False
