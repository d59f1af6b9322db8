"""Variants are trained alike: nothing is looked at on the way, and their weights alone are kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from safetensors.torch import load_file, save_file

from benchmarks.ablations.recipes import Variant
from kinestream.training.config import LoopConfig, TrainConfig, from_table
from kinestream.training.loop import Task, run

WEIGHTS = "weights.safetensors"
Settings = TypeVar("Settings")
AnyTask = TypeVar("AnyTask", bound=Task)


class Unwatched:
    """Of a task: nothing is validated or rendered on the way, variants are measured at the end, all alike."""

    def validate(self, step: int, folder: Path) -> Mapping[str, float]:
        """Give nothing."""
        return {}


class WeightsAlone(Unwatched):
    """Of a task: what is exported are the averaged weights."""

    def export(self: Task, folder: Path, step: int) -> None:
        """Write them."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in self.model.state_dict().items()}, folder / WEIGHTS)


def task_settings(config: TrainConfig, kind: type[Settings]) -> Settings:
    """A configuration's [task] as its recipe reads it."""
    table = {key: tuple(value) if isinstance(value, list) else value for key, value in config.task.items()}
    return from_table(kind, table, "task")


def trained(task: AnyTask, loop: LoopConfig, folder: Path, variant: Variant) -> AnyTask:
    """The task with the weights of a folder, training what is missing of them."""
    if not (folder / "model" / WEIGHTS).is_file():
        run(task, loop, folder, resume=True, info={"variant": variant.name})
    task.model.load_state_dict(load_file(folder / "model" / WEIGHTS))
    task.model.eval()
    return task
