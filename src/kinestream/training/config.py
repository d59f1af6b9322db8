"""What a training run is: one frozen value read from a TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kinestream.errors import BadInputError

PRECISIONS = ("auto", "bf16", "fp32")


@dataclass(frozen=True)
class LoopConfig:
    """How long and how to train, whatever the model. Batch sizes count all processes together."""

    steps: int = 10_000
    """Optimiser steps of the whole run."""
    batch_size: int = 64
    """Samples of one optimiser step, over all processes."""
    parts: int = 1
    """Parts that a batch is cut into: dealt to the processes, and worked on one after the other to save memory."""
    learning_rate: float = 3e-4
    """Peak learning rate."""
    final_learning_rate: float = 0.0
    """Learning rate at the last step."""
    warmup_steps: int = 200
    """Steps of linear warm-up from zero."""
    decay: str = "cosine"
    """"cosine": from peak to final after the warm-up; "drop": peak, then final for the last 5 % (the paper's TAE)."""
    beta2: float = 0.99
    """AdamW's second beta; the first is 0.9 (MotionStreamer, appendix A: [0.9, 0.99])."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    clip_norm: float = 1.0
    """Gradients are scaled to at most this norm."""
    ema_decay: float = 0.999
    """Decay of the averaged weights that are exported; warmed up as (1 + step) / (10 + step)."""
    precision: str = "auto"
    """"bf16" autocast, "fp32", or "auto": bf16 where the device computes in it."""
    seed: int = 0
    """Everything random in the run follows from it."""
    log_every: int = 50
    """Steps between lines of the log and TensorBoard."""
    save_every: int = 500
    """Steps between checkpoints."""
    validate_every: int = 2000
    """Steps between validations and rendered samples."""

    def __post_init__(self) -> None:
        positive = ("steps", "batch_size", "parts", "log_every", "save_every", "validate_every")
        for name in positive:
            if getattr(self, name) < 1:
                raise BadInputError(f"training: {name} must be at least 1, got {getattr(self, name)}")
        if self.batch_size % self.parts:
            raise BadInputError(f"training: batch_size {self.batch_size} must be a multiple of parts {self.parts}")
        if self.learning_rate <= 0 or self.warmup_steps < 0 or not 0 <= self.ema_decay < 1:
            raise BadInputError(
                "training: learning_rate must be positive, warmup_steps not negative, ema_decay in [0, 1)"
            )
        if self.decay not in ("cosine", "drop"):
            raise BadInputError(f"training: decay must be 'cosine' or 'drop', got {self.decay!r}")
        if self.precision not in PRECISIONS:
            raise BadInputError(f"training: precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")


@dataclass(frozen=True)
class TrainConfig:
    """One run: data, model and loop. Paths are relative to where the command runs."""

    data: tuple[str, ...]
    """Folders in the HumanML3D-272 layout (`kinestream data build` makes them)."""
    model: dict[str, Any] = field(default_factory=dict)
    """Settings of the model's own configuration."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    """How to train."""
    task: dict[str, Any] = field(default_factory=dict)
    """Settings of the recipe (see the recipe's own configuration)."""


def load_train_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read TOML with the tables [loop], [model], [task] and the list `data`; overrides are "loop.steps=100"."""
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInputError(f"{path}: expected a training configuration in TOML: {error}") from None
    for override in overrides:
        _apply(raw, override)
    unknown = set(raw) - {"data", "model", "loop", "task"}
    if unknown:
        raise BadInputError(f"{path}: unknown table {', '.join(sorted(unknown))}; expected data, model, loop, task")
    data = raw.get("data")
    if not isinstance(data, list) or not data or not all(isinstance(item, str) for item in data):
        raise BadInputError(f'{path}: expected data = ["folder", ...] with at least one data set folder')
    return TrainConfig(
        data=tuple(data),
        model=dict(raw.get("model", {})),
        loop=from_table(LoopConfig, raw.get("loop", {}), "loop"),
        task=dict(raw.get("task", {})),
    )


T = TypeVar("T")


def from_table(kind: type[T], table: dict[str, Any], where: str) -> T:
    """A frozen configuration from a TOML table; BadInputError names unknown settings and wrong types."""
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(table) - set(fields))
    if unknown:
        raise BadInputError(f"[{where}] has no setting {', '.join(unknown)}; it knows: {', '.join(sorted(fields))}")
    for name, value in table.items():
        default = fields[name].default
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            table = {**table, name: float(value)}
        elif isinstance(default, tuple) and isinstance(value, list):
            table = {**table, name: tuple(value)}
        elif default is not dataclasses.MISSING and default is not None and type(value) is not type(default):
            raise BadInputError(f"[{where}] {name}: expected {type(default).__name__}, got {value!r}")
    return kind(**table)


def _apply(raw: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator:
        raise BadInputError(f"expected an override like loop.steps=100, got {override!r}")
    *tables, name = key.strip().split(".")
    node = raw
    for table in tables:
        node = node.setdefault(table, {})
        if not isinstance(node, dict):
            raise BadInputError(f"override {override!r}: {table!r} is not a table")
    try:
        node[name] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        node[name] = value.strip()
