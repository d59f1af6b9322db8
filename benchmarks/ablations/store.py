"""What a variant measured, kept beside its run, so that a finished one is never run again."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from kinestream.io.atomic import atomic_path
from kinestream.metrics import Estimate, bootstrap, over_repeats, paired_difference

FIGURES = "figures.json"


@dataclass(frozen=True)
class Measured:
    """Figures of one variant.

    Attributes:
        clips: by name the figure of every clip, in the same order for all variants of a table.
        sets: by name the figure of whole sets, once for each repeat.
        groups: what clips hang together (windows of a song); empty where they don't.
        seconds: processor time that it took.
    """

    clips: Mapping[str, list[float]] = field(default_factory=dict)
    sets: Mapping[str, list[float]] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def estimate(self, name: str) -> Estimate | None:
        """A figure with its interval: over clips, or over repeats; None where it isn't there.

        A single value, or one that no repeat moves, has no ends.
        """
        if name in self.clips:
            return bootstrap(torch.tensor(self.clips[name], dtype=torch.float64), groups=self.groups or None)
        values = self.sets.get(name, [])
        if len(set(values)) > 1:
            return over_repeats(torch.tensor(values, dtype=torch.float64))
        return Estimate(values[0], float("nan"), float("nan"), 1) if values else None

    def difference(self, base: Measured, name: str) -> Estimate | None:
        """This minus the base over the same clips; None where clips have no such figure in both."""
        if name not in self.clips or len(base.clips.get(name, ())) != len(self.clips[name]):
            return None
        own, theirs = (torch.tensor(one.clips[name], dtype=torch.float64) for one in (self, base))
        return paired_difference(own, theirs, groups=self.groups or None)


class Store:
    """Runs under one folder, one subfolder a variant."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def measured(self, name: str, settings: Mapping[str, Any], measure: Callable[[Path], Measured]) -> Measured:
        """What `measure(folder)` gives, or gave when it ran with the same settings.

        A folder that was begun with other settings is emptied; one that was begun with the same goes on.
        """
        key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        folder, begun = self.folder / name, self.folder / name / f"begun-{key[:16]}"
        if folder.exists() and not begun.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        begun.touch()
        path = folder / FIGURES
        if path.is_file():
            return Measured(**json.loads(path.read_text(encoding="utf-8")))
        before = time.process_time()
        found = measure(folder)
        found = Measured(found.clips, found.sets, found.groups, round(time.process_time() - before, 1))
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(asdict(found)), encoding="utf-8")
        return found
