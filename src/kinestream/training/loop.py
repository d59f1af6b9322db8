"""One training loop for every model.

A step's batch is cut into `parts`, dealt to the processes; gradients are averaged over the parts. Everything random
in a part follows from (seed, step, part): no generator state has to be saved, a resumed run takes the same next step,
and the loss does not depend on how many processes share the parts.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from kinestream.errors import BadInputError, KinestreamError, MissingExtraError
from kinestream.training.config import LoopConfig
from kinestream.training.state import load_run_state, newest_run_state, save_run_state

Batch = dict[str, Tensor]


class Task(Protocol):
    """What a recipe brings: data, a loss and a way to look at the result."""

    @property
    def model(self) -> nn.Module:
        """The network that is trained."""

    def batch(self, rows: int, rng: np.random.Generator) -> Batch:
        """A part of a batch, on the CPU; a pure function of its arguments."""

    def losses(self, batch: Batch, generator: torch.Generator, progress: float) -> dict[str, Tensor]:
        """Scalar terms of a part's loss; "total" carries the gradient. `progress` is step / steps."""

    def validate(self, step: int, folder: Path) -> Mapping[str, float]:
        """Held-out figures of the model as it is (averaged weights), with samples written into `folder`."""

    def export(self, folder: Path, step: int) -> None:
        """Write the model as a checkpoint that the rest of the package loads."""


class _LossModule(nn.Module):
    """Forward is the loss, so that the distributed wrapper sees every parameter's gradient."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model = task.model
        self._task = [task]

    def forward(self, batch: Batch, generator: torch.Generator, progress: float) -> dict[str, Tensor]:
        return self._task[0].losses(batch, generator, progress)


def learning_rate_at(config: LoopConfig, step: int) -> float:
    """Learning rate of optimiser step `step` (0-based)."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.decay == "drop":
        return config.learning_rate if step < 0.95 * config.steps else config.final_learning_rate
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    share = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * share


def bf16_is_native(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 rather than emulating it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def _accelerator(config: LoopConfig) -> Any:
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
    except ImportError:
        raise MissingExtraError("training", "train") from None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    use_bf16 = config.precision == "bf16" or (config.precision == "auto" and bf16_is_native(device))
    AcceleratorState._reset_state()  # an earlier run of this process may have had another precision
    return Accelerator(mixed_precision="bf16" if use_bf16 else "no", cpu=device.type == "cpu")


class _Log:
    """Lines of JSON and TensorBoard scalars, written by the main process only."""

    def __init__(self, folder: Path, main: bool) -> None:
        self._file, self._board = None, None
        if main:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise MissingExtraError("training", "train") from None
            self._file = (folder / "log.jsonl").open("a", encoding="utf-8")
            self._board = SummaryWriter(str(folder / "tensorboard"))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if self._file is not None and self._board is not None:
            self._file.write(json.dumps({"step": step, **{k: round(v, 6) for k, v in values.items()}}) + "\n")
            self._file.flush()
            for name, value in values.items():
                self._board.add_scalar(name, value, step)


def run(task: Task, config: LoopConfig, folder: Path, *, resume: bool, info: dict[str, Any]) -> None:
    """Train to `config.steps`, with checkpoints, log and samples under `folder`; export to `folder`/model at the end.

    `info` is what must be equal for a resumed run (model, data and recipe settings). KinestreamError when the loss is
    no longer finite.
    """
    accelerator = _accelerator(config)
    folder.mkdir(parents=True, exist_ok=True)
    main, world, rank = accelerator.is_main_process, accelerator.num_processes, accelerator.process_index
    if config.parts % world:
        raise BadInputError(f"[loop] parts must be a multiple of the {world} processes, got {config.parts}")
    optimizer = torch.optim.AdamW(
        [p for p in task.model.parameters() if p.requires_grad],
        lr=config.learning_rate, betas=(0.9, config.beta2), weight_decay=config.weight_decay,
    )  # fmt: skip
    found = newest_run_state(folder) if resume else None
    if found is not None:
        start, ema = load_run_state(found, task.model, optimizer, info)
    else:
        start, ema = 0, {k: v.detach().clone().float() for k, v in task.model.state_dict().items()}
    ema = {k: v.to(accelerator.device) for k, v in ema.items()}
    wrapped, optimizer = accelerator.prepare(_LossModule(task), optimizer)
    log = _Log(folder, main)
    began, timed_from = time.monotonic(), start
    bar = tqdm(range(start, config.steps), initial=start, total=config.steps, disable=not main, mininterval=2.0)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(config, step)
        terms = _step(accelerator, wrapped, optimizer, task, config, step, world, rank)
        _update_ema(ema, task.model, min(config.ema_decay, (1 + step) / (10 + step)))
        done = step + 1
        if done % config.log_every == 0 or done == config.steps:
            values = {name: float(accelerator.reduce(value, "mean")) for name, value in terms.items()}
            if not math.isfinite(values["total"]):
                raise KinestreamError(
                    f"the loss is no longer finite at step {done}: lower the learning rate and resume"
                )
            seconds = time.monotonic() - began
            values |= {"learning_rate": learning_rate_at(config, step), "steps_per_s": (done - timed_from) / seconds}
            log.write(done, values)
            bar.set_postfix({k: f"{v:.4g}" for k, v in list(values.items())[:4]})
        if main and (done % config.save_every == 0 or done == config.steps):
            save_run_state(folder, done, task.model, ema, _inner(optimizer), info)
        if main and (done % config.validate_every == 0 or done == config.steps):
            with _Averaged(task.model, ema), torch.no_grad():
                log.write(done, task.validate(done, folder / "samples"))
    if main:
        with _Averaged(task.model, ema):
            task.export(folder / "model", config.steps)
    accelerator.wait_for_everyone()


def _inner(optimizer: Any) -> torch.optim.Optimizer:
    inner: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
    return inner


def _step(
    accelerator: Any,
    wrapped: nn.Module,
    optimizer: Any,
    task: Task,
    config: LoopConfig,
    step: int,
    world: int,
    rank: int,
) -> dict[str, Tensor]:
    sums: dict[str, Tensor] = {}
    own = config.parts // world
    for index in range(own):
        seed = (config.seed, step, rank * own + index)
        batch = task.batch(config.batch_size // config.parts, np.random.default_rng(seed))
        batch = {name: value.to(accelerator.device) for name, value in batch.items()}
        generator = torch.Generator().manual_seed(
            int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]) >> 1
        )
        last = index == own - 1
        with nullcontext() if last else accelerator.no_sync(wrapped), accelerator.autocast():
            terms = wrapped(batch, generator, step / config.steps)
        accelerator.backward(terms["total"] / own)
        for name, value in terms.items():
            sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach() / own
    accelerator.clip_grad_norm_(wrapped.parameters(), config.clip_norm)
    optimizer.step()
    optimizer.zero_grad()
    return sums


@torch.no_grad()
def _update_ema(ema: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            ema[name].lerp_(value.float(), 1 - decay)
        else:
            ema[name].copy_(value)


class _Averaged:
    """The model with its averaged weights while inside, in eval mode; the raw ones come back after."""

    def __init__(self, model: nn.Module, ema: dict[str, Tensor]) -> None:
        self._model, self._ema = model, ema

    def __enter__(self) -> None:
        self._raw = {k: v.detach().clone() for k, v in self._model.state_dict().items()}
        self._model.load_state_dict({k: v.to(self._raw[k]) for k, v in self._ema.items()})
        self._model.eval()

    def __exit__(self, *_: object) -> None:
        self._model.load_state_dict(self._raw)
        self._model.train()
