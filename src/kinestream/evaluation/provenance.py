"""What was run on what: commit, version, and hashes of model, data and evaluator."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kinestream.checkpoints import DEFAULT_MODEL_DIR, ModelInfo
from kinestream.checkpoints.folder import INFO_NAME
from kinestream.data.manifest import MANIFEST_NAME, load_manifest
from kinestream.evaluation.items import Item

GIT_SECONDS = 10.0


def run_facts() -> dict[str, Any]:
    """Version of kinestream and, in a checkout, its commit, with "+" where files differ from it; None elsewhere."""
    try:
        installed = version("kinestream")
    except PackageNotFoundError:
        installed = ""
    return {"kinestream": installed, "commit": _commit()}


def _commit() -> str | None:
    here = Path(__file__).resolve().parent
    commit = _git(here, "rev-parse", "HEAD")
    if commit is None or _git(here, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None  # an installed package inside somebody else's repository
    return commit + ("+" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def model_facts(folder: Path | None, info: ModelInfo, packaged: Path = DEFAULT_MODEL_DIR) -> dict[str, Any]:
    """Name, kind, configuration and hash of a model folder (None: the packaged one).

    model.json holds the hashes of all weights.
    """
    where = packaged if folder is None else folder
    return {
        "name": "packaged" if folder is None else where.resolve().name,
        "kind": info.kind,
        "sha256": hashlib.sha256((where / INFO_NAME).read_bytes()).hexdigest(),
        "configs": dict(info.configs),
        "settings": dict(info.settings),
    }


def data_facts(root: Path, split: str, items: Sequence[Item], rejects: int) -> dict[str, Any]:
    """Name, licences and hash of a data set, and of what was measured of it: names, captions and motion files."""
    digest = hashlib.sha256()
    for item in sorted(items, key=lambda item: item.name):
        facts = (item.name, item.prompt, item.then, str(item.start), str(item.stop), str(item.switch_frame))
        digest.update("\0".join(facts).encode())
        for path in item.files:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    found: dict[str, Any] = {
        "name": root.resolve().name,
        "split": split,
        "measured": len(items),
        "left_out": rejects,
        "sha256": digest.hexdigest(),
    }
    if (root / MANIFEST_NAME).is_file():
        found["manifest_sha256"] = hashlib.sha256((root / MANIFEST_NAME).read_bytes()).hexdigest()
        found["sources"] = {
            name: {key: source[key] for key in ("licence", "citation") if key in source}
            for name, source in sorted(load_manifest(root).sources.items())
        }
    return found
