"""Checks that modules import only from the layers above them, and never in a circle. Exit code 1 names each violation.

    python scripts/check_imports.py [SOURCE_ROOT]

It reads the files with `ast`; nothing is imported. Imports inside functions and under TYPE_CHECKING count too: they are
dependencies all the same.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "kinestream"

# Top to bottom: a module may import its own layer and the layers before it.
LAYERS = (
    "errors",
    "rotations",
    "skeleton",
    "motion",
    "editing",
    "features",
    "io",
    "whole_body",
    "conditioning",
    "data",
    "nn",
    "metrics",
    "models",
    "checkpoints",
    "inference",
    "training",
    "streaming",
    "capture",
    "restoration",
    "dance_video",
    "factory",
    "evaluation",
    "server",
    "cli",
)
# Layers of the design whose folders don't exist yet; docs/conventions.md says so too.
TO_COME = frozenset({"whole_body", "dance_video", "factory"})

# Packages whose children never import each other: each model stands alone.
SEPARATE_CHILDREN = ("models",)

# Layers that do not know each other, whatever their order.
STRANGERS = (
    frozenset({"training", "streaming", "restoration"}),
    frozenset({"capture", "restoration"}),
)

# Models, metrics and layers of networks see tensors; files, data sets, HTTP and clocks are for those who use them.
# Capture gives a Motion and knows no model of generation, restoration knows only Motion, a server no motion arithmetic.
FORBIDDEN_LAYERS = {
    "nn": {"io", "data", "conditioning", "features"},
    "metrics": {"io", "data", "conditioning", "nn"},
    "models": {"io", "data", "conditioning", "metrics"},
    "capture": {"data", "conditioning", "models", "checkpoints", "training", "streaming"},
    "restoration": {"data", "conditioning"},
    "server": {"rotations", "features", "nn", "metrics", "models"},
}
NETWORK = {"http", "socket", "urllib", "requests", "fastapi", "uvicorn", "websockets", "aiohttp"}
FILES_AND_CLOCKS = {"pathlib", "time", "safetensors", "tempfile", "shutil"}
FORBIDDEN_EXTERNAL = {
    layer: NETWORK | (FILES_AND_CLOCKS if layer in ("nn", "metrics", "models") else set())
    for layer in LAYERS
    if layer != "server"
}
# What loads pickles, or could. torch.load is a method and is left to the linter's eye.
FORBIDDEN_EVERYWHERE = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


@dataclass(frozen=True)
class Violation:
    """One import that goes the wrong way."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def layer_of(module: str) -> str | None:
    """The layer of a dotted module below the package (`models.causal_tae.model` -> `models`), or None."""
    top = module.split(".")[0]
    return top if top in LAYERS else None


def imported_modules(
    tree: ast.AST, package_parts: tuple[str, ...], modules: frozenset[str]
) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything imported; `from a import b` gives a.b where that is a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                kept = package_parts[: len(package_parts) - node.level + 1]
                base = ".".join([*kept, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield node.lineno, inner if inner in modules else base


def find_violations(source_root: Path) -> list[Violation]:
    """All violations in `source_root/kinestream`, in the order of files and lines."""
    package = source_root / PACKAGE
    if not package.is_dir():
        raise SystemExit(f"{package} is no package")
    files = sorted(package.rglob("*.py"))
    modules = frozenset(_module_name(path, source_root) for path in files) | frozenset(
        ".".join(path.parent.relative_to(source_root).parts) for path in files
    )
    violations = []
    places: dict[str, Path] = {}
    graph: dict[str, set[str]] = {}
    for path in files:
        module = _module_name(path, source_root)
        parts = tuple(path.parent.relative_to(source_root).parts)
        imported = list(imported_modules(ast.parse(path.read_text(encoding="utf-8"), str(path)), parts, modules))
        places[module], graph[module] = path, {target for _, target in imported} & modules - {module}
        if module == PACKAGE:  # the public surface may gather from everywhere
            continue
        own = module.removeprefix(PACKAGE + ".")
        if layer_of(own) is None:
            violations.append(
                Violation(path, 1, f"{module} belongs to no layer; add it to LAYERS in {Path(__file__).name}")
            )
            continue
        for line, target in imported:
            violations += [Violation(path, line, problem) for problem in _problems(own, target)]
    for members in circles(graph):
        short = [module.removeprefix(PACKAGE + ".") for module in members]
        violations.append(Violation(places[members[0]], 1, f"imports go in a circle: {', '.join(short)}"))
    return violations


def circles(graph: Mapping[str, Set[str]]) -> list[list[str]]:
    """Groups of modules each of which imports all others of its group, directly or not; sorted."""
    reached = {module: _reached(graph, module) for module in graph}
    groups = {frozenset(other for other in reached[module] if module in reached[other]) for module in graph}
    return sorted(sorted(group) for group in groups if group)


def _reached(graph: Mapping[str, Set[str]], start: str) -> set[str]:
    """All that a module imports, directly or not; itself only where a way leads back."""
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += graph[module]
    return found


def _module_name(path: Path, source_root: Path) -> str:
    parts = path.relative_to(source_root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _problems(own: str, target: str) -> Iterator[str]:
    layer = layer_of(own)
    assert layer is not None
    top = target.split(".")[0]
    if top != PACKAGE:
        if top in FORBIDDEN_EVERYWHERE:
            yield f"{own} imports {top}: nothing here loads pickles"
        if top in FORBIDDEN_EXTERNAL.get(layer, set()):
            yield f"{own} imports {top}: {layer} knows no network, files or clocks of that kind"
        return
    if target == PACKAGE:
        if layer != "cli":
            yield f"{own} imports the package's public surface; import the module that defines the name"
        return
    inner = target.removeprefix(PACKAGE + ".")
    other = layer_of(inner)
    if other is None:
        yield f"{own} imports {inner}, which belongs to no layer"
        return
    if LAYERS.index(other) > LAYERS.index(layer):
        yield f"{own} imports {inner}, which stands below it ({layer} < {other})"
    if other in FORBIDDEN_LAYERS.get(layer, set()):
        yield f"{own} imports {inner}: {layer} must not know {other}"
    if layer != other and any({layer, other} <= strangers for strangers in STRANGERS):
        yield f"{own} imports {inner}: {layer} and {other} do not know each other"
    if layer == other and layer in SEPARATE_CHILDREN and _child(own) != _child(inner) and _child(inner):
        yield f"{own} imports its sibling {inner}: {layer} stand alone"
    if layer == other and {_child(own), _child(inner)} == {"text", "dance"}:
        yield f"{own} imports {inner}: what text and dance share stands above both, in {layer}"


def _child(module: str) -> str:
    return ".".join(module.split(".")[1:2])


def main(argv: list[str]) -> int:
    source_root = Path(argv[0]) if argv else Path(__file__).resolve().parents[1] / "src"
    violations = find_violations(source_root)
    for violation in violations:
        print(violation, file=sys.stderr)
    print(f"import layers: {len(violations)} violation(s)")
    return 1 if violations else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
