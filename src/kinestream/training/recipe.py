"""From a TOML file to a run: what every recipe does the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from kinestream.training.config import TrainConfig, from_table, load_train_config
from kinestream.training.loop import Task, run

SettingsType = TypeVar("SettingsType")
TaskType = TypeVar("TaskType", bound=Task)


class Train(Protocol):
    """Trains one kind of model."""

    def __call__(
        self, config_path: str | Path, output_dir: str | Path, *, resume: bool = False, overrides: Sequence[str] = ()
    ) -> None:
        """Train from a TOML configuration into `output_dir`; with `resume`, go on from the newest checkpoint there."""


def run_info(kind: str, task: Task, config: TrainConfig, /, **more: Any) -> dict[str, Any]:
    """What must be equal for a resumed run."""
    model: Any = task.model
    return {
        "kind": kind, "model": model.config.to_json(), "data": list(config.data),
        "batch_size": config.loop.batch_size, "parts": config.loop.parts, "seed": config.loop.seed, **more,
    }  # fmt: skip


def recipe(
    kind: str,
    settings: type[SettingsType],
    task: Callable[[TrainConfig, SettingsType, Path], TaskType],
    stages: Callable[[TaskType, TrainConfig, SettingsType, Path, bool], dict[str, Any]] = lambda *_: {},
) -> Train:
    """The training of a kind of model: [task] as `settings`, then its task (given the run's folder), then the loop.

    stages: what runs before the loop with the same task; it gives more of what must be equal for a resumed run.
    """

    def train(
        config_path: str | Path, output_dir: str | Path, *, resume: bool = False, overrides: Sequence[str] = ()
    ) -> None:
        config, output = load_train_config(config_path, overrides), Path(output_dir)
        chosen = from_table(settings, config.task, "task")
        ready = task(config, chosen, output)
        info = run_info(kind, ready, config, **stages(ready, config, chosen, output, resume))
        run(ready, config.loop, output, resume=resume, info=info)

    return train
