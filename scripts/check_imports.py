"""Checks that every module of kinestream imports only from the layers above it. Exit code 1 names each violation.

    python scripts/check_imports.py [SOURCE_ROOT]

It reads the files with `ast`; nothing is imported. Imports inside functions and under TYPE_CHECKING count too: they are
dependencies all the same.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "kinestream"

# Top to bottom: a module may import its own layer and the layers before it.
LAYERS = (
    "errors",
    "rotations",
    "skeleton",
    "motion",
    "features",
    "io",
    "conditioning",
    "data",
    "nn",
    "metrics",
    "models",
    "checkpoints",
    "inference",
    "training",
    "streaming",
    "restoration",
    "evaluation",
    "server",
    "cli",
)

# Packages whose children never import each other: each model stands alone.
SEPARATE_CHILDREN = ("models",)

# Layers that do not know each other, whatever their order.
STRANGERS = (frozenset({"training", "streaming", "restoration"}),)

# Models, metrics and layers of networks see tensors; files, data sets, HTTP and clocks are for those who use them.
FORBIDDEN_LAYERS = {
    "nn": {"io", "data", "conditioning", "features"},
    "metrics": {"io", "data", "conditioning", "nn"},
    "models": {"io", "data", "conditioning", "metrics"},
}
NETWORK = {"http", "socket", "urllib", "requests", "fastapi", "uvicorn", "websockets", "aiohttp"}
FILES_AND_CLOCKS = {"pathlib", "time", "safetensors", "tempfile", "shutil"}
FORBIDDEN_EXTERNAL = {
    "nn": NETWORK | FILES_AND_CLOCKS,
    "metrics": NETWORK | FILES_AND_CLOCKS,
    "models": NETWORK | FILES_AND_CLOCKS,
    "streaming": NETWORK,
    "restoration": NETWORK,
    "training": NETWORK,
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
    for path in files:
        module = _module_name(path, source_root)
        if module == PACKAGE:  # the public surface may gather from everywhere
            continue
        parts = tuple(path.parent.relative_to(source_root).parts)
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        own = module.removeprefix(PACKAGE + ".")
        if layer_of(own) is None:
            violations.append(
                Violation(path, 1, f"{module} belongs to no layer; add it to LAYERS in {Path(__file__).name}")
            )
            continue
        for line, target in imported_modules(tree, parts, modules):
            violations += [Violation(path, line, problem) for problem in _problems(own, target)]
    return violations


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
