"""What the tokenizer of a dance model loses of dances that it never saw, and how it uses its codes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from kinestream.checkpoints.dance import MusicToDanceModel
from kinestream.data.layout import MOTION_FOLDER, read_features
from kinestream.evaluation.findings import CLIP_FIGURES, without_interval
from kinestream.evaluation.items import Item
from kinestream.evaluation.pieces import piece_key, read_tensors, write_tensors
from kinestream.evaluation.result import Figure
from kinestream.evaluation.settings import Progress
from kinestream.metrics import bootstrap_rows, mpjpe_mm
from kinestream.nn.rvq import perplexity
from kinestream.training.dance.rvq_vae import ERROR_WINDOW, reconstruct
from kinestream.training.motion_layouts import motion_layout

SPLITS = ("train", "val", "test")
_RESAMPLES = 2000


def token_figures(
    model: MusicToDanceModel, items: Sequence[Item], root: Path, pieces: Path, digest: str, progress: Progress
) -> list[Figure]:
    """MPJPE over windows of 240 frames, the share of codes that no dance of the data set uses, and perplexities.

    Every window begins at the recording's heading: a heading that drifts over a minute would turn the whole body and
    count as a bent one. `pieces` keeps the codes that the data set uses.
    """
    errors, frames, codes = list[float](), list[int](), list[Tensor]()
    with progress("reconstructing dances", "dances") as update:
        for number, item in enumerate(items, start=1):
            tokens, total, count = _reconstructed(model, item.features())
            errors.append(total)
            frames.append(count)
            codes.append(tokens)
            update(number, len(items))
    error = bootstrap_rows(
        lambda sums, counts: sums.sum() / counts.sum(),
        torch.tensor(errors, dtype=torch.float64)[:, None],
        torch.tensor(frames, dtype=torch.float64)[:, None],
        resamples=_RESAMPLES,
    )
    used, dances = _used_codes(model, root, pieces, digest, progress)
    size, levels = model.tokenizer.config.num_codes, model.tokenizer.config.num_codebooks
    dead = 1.0 - float(used.double().mean())
    spread = perplexity(torch.cat(codes), size).tolist()
    return [
        Figure("mpjpe_mm", *CLIP_FIGURES["mpjpe_mm"][:3],
               f"of the tokenizer, root aligned, windows of {ERROR_WINDOW} frames, {len(items)} dances",
               "bootstrap over dances, 95 %", error),
        Figure("dead_codes", "Dead codes", "", "lower",
               f"share of {levels} x {size} codes that none of all {dances} dances uses, mirrored copies among them",
               "none", without_interval(dead, used.numel())),
        *(
            Figure(f"perplexity_{level}", f"Perplexity, codebook {level + 1}", "", "higher",
                   f"as many of {size} codes, used equally often, would be as varied; dances of the split", "none",
                   without_interval(value, len(items)))
            for level, value in enumerate(spread)
        ),
    ]  # fmt: skip


@torch.no_grad()
def _reconstructed(model: MusicToDanceModel, features: Tensor) -> tuple[Tensor, float, int]:
    """Codes, the sum of the frames' errors in mm, and the number of frames, whole token steps."""
    clip = features[: len(features) - len(features) % model.tokenizer.config.frames_per_step]
    tokens, given = reconstruct(model.tokenizer, model.statistics, clip)
    joints = motion_layout(model.layout).joints_m
    total = sum(
        len(real) * float(mpjpe_mm(joints(own), joints(real)))
        for own, real in zip(given.split(ERROR_WINDOW), clip.split(ERROR_WINDOW), strict=True)
    )
    return tokens, total, len(clip)


@torch.no_grad()
def _used_codes(
    model: MusicToDanceModel, root: Path, pieces: Path, digest: str, progress: Progress
) -> tuple[Tensor, int]:
    """Which codes [K, N] the dances of all splits use, and how many dances these are."""
    names = [
        name
        for split in SPLITS
        if (listed := root / "split" / f"{split}.txt").is_file()
        for name in dict.fromkeys(listed.read_text(encoding="utf-8").split())
        if (root / MOTION_FOLDER / f"{name}.npy").is_file()
    ]
    kept = pieces / f"codes-{piece_key(digest, _motions_digest(root, names))}.safetensors"
    if (found := read_tensors(kept)) is not None:
        return found["used"].bool(), len(names)
    config = model.tokenizer.config
    used = torch.zeros(config.num_codebooks, config.num_codes, dtype=torch.bool)
    with progress("codes of all dances", "dances") as update:
        for number, name in enumerate(names, start=1):
            clip = torch.from_numpy(read_features(root / MOTION_FOLDER / f"{name}.npy"))
            clip = clip[: len(clip) - len(clip) % config.frames_per_step]
            if len(clip):
                for level, own in enumerate(model.encode(clip[None])[0].unbind(dim=-1)):
                    used[level, own] = True
            update(number, len(names))
    write_tensors(kept, {"used": used.to(torch.uint8)})
    return used, len(names)


def _motions_digest(root: Path, names: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        path = root / MOTION_FOLDER / f"{name}.npy"
        digest.update(f"{name} {path.stat().st_size} {path.stat().st_mtime_ns}\n".encode())
    return digest.hexdigest()
