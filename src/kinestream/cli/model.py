"""What `generate` and `stream` share: options that choose the model, and opening it."""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.cli.parser import Parser, positive_float, seed_int
from kinestream.cli.progress import preparing
from kinestream.errors import BadInputError

if TYPE_CHECKING:
    import torch

    from kinestream.streaming import Engine

# Smaller models than this run on one thread: two are hardly faster alone, and twenty times slower beside other work,
# because each small product waits for the thread that the system has put aside.
SMALL_MODEL = 50_000_000


def add_model_options(parser: Parser) -> None:
    """Add --seed, --model, --guidance, --no-foot-lock, --fast and --device."""
    parser.add_argument("--seed", type=seed_int, default=0, metavar="N", help="same seed, same motion (default: 0)")
    parser.add_argument("--model", type=Path, metavar="DIR", help="a model folder (default: the packaged model)")
    parser.add_argument(
        "--guidance",
        type=positive_float,
        metavar="G",
        help="classifier-free guidance: 1 is none, more follows the text more closely (default: the model's own)",
    )
    parser.add_argument(
        "--no-foot-lock", dest="foot_lock", action="store_false", help="leave sliding feet as the model made them"
    )
    parser.add_argument(
        "--fast",
        action="store_true",
        help="many times faster, nearly the same motion: few sampling steps and int8 weights, on a GPU bfloat16 (needs "
        "the extra fast where the processor has no AVX2)",
    )
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda, cuda:1 (default: cpu)")


def add_no_split(parser: argparse.ArgumentParser) -> None:
    """Add `--no-split`."""
    parser.add_argument(
        "--no-split", action="store_true", help='leave a sentence that asks for one thing after another ("walks, then '
        'bows") as one prompt; it becomes several else',
    )  # fmt: skip


def open_engine(arguments: argparse.Namespace) -> Engine:
    """The chosen model on the chosen device; BadInputError where either is not there."""
    folder: Path | None = arguments.model
    if folder is not None and not folder.is_dir():
        raise BadInputError(f"--model: {folder} is no folder; expected one that `kinestream train` or `import` wrote")
    import torch

    from kinestream.checkpoints import load_text_to_motion
    from kinestream.streaming import Engine

    device = _device(arguments.device)
    model = load_text_to_motion(folder)
    model.tae.to(device)
    model.ar.to(device)
    if device.type == "cpu" and sum(p.numel() for p in model.ar.parameters()) < SMALL_MODEL:
        torch.set_num_threads(1)
    with preparing():
        engine = Engine(model, mode="fast" if arguments.fast else "exact")
    for note in engine.notes:
        print(f"kinestream: {note}", file=sys.stderr)
    # What is loaded stays: a collection that looked through all of it would stop a stream for 0.15 s.
    gc.freeze()
    return engine


def _device(name: str) -> torch.device:
    import torch

    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise BadInputError(f"--device {name}: torch cannot compute there ({reason}); try --device cpu") from None
    return device
