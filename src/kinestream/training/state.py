"""Checkpoints of a run: weights, averaged weights and optimiser state as safetensors, everything else as JSON."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kinestream.errors import BadInputError

_KEEP = 2


def save_run_state(
    folder: Path,
    step: int,
    model: nn.Module,
    ema: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    info: dict[str, Any],
) -> Path:
    """Write `folder`/checkpoints/step-N whole or not at all, and drop all but the newest two."""
    target = folder / "checkpoints" / f"step-{step:08d}"
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file({k: v.detach().contiguous().cpu() for k, v in model.state_dict().items()}, partial / "model.safetensors")
    save_file({k: v.contiguous().cpu() for k, v in ema.items()}, partial / "ema.safetensors")
    moments = {
        f"{index}.{name}": value.detach().contiguous().cpu()
        for index, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }
    save_file(moments, partial / "optimizer.safetensors")
    (partial / "state.json").write_text(json.dumps({"step": step, **info}, indent=1), encoding="utf-8")
    if target.exists():
        shutil.rmtree(target)
    os.replace(partial, target)
    for old in sorted(target.parent.glob("step-????????"))[:-_KEEP]:
        shutil.rmtree(old)
    return target


def newest_run_state(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run, if there is one."""
    found = sorted((folder / "checkpoints").glob("step-????????"))
    return found[-1] if found else None


def load_run_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, info: dict[str, Any]
) -> tuple[int, dict[str, Tensor]]:
    """Fill model and optimiser from a checkpoint; gives its step and averaged weights.

    BadInputError when the checkpoint is damaged or was made with other settings than `info`.
    """
    try:
        saved = json.loads((path / "state.json").read_text(encoding="utf-8"))
        weights, ema, moments = (load_file(path / f"{n}.safetensors") for n in ("model", "ema", "optimizer"))
    except (OSError, ValueError, SafetensorError) as error:
        raise BadInputError(
            f"{path}: not a complete checkpoint of a run ({error}); delete it to resume from the one before"
        ) from None
    changed = sorted(key for key, value in info.items() if saved.get(key) != value)
    if changed:
        raise BadInputError(
            f"{path}: the run was made with other settings of {', '.join(changed)}; resume with the same configuration "
            "or train into another folder"
        )
    model.load_state_dict(weights)
    groups = optimizer.state_dict()["param_groups"]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in moments.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return int(saved["step"]), ema
