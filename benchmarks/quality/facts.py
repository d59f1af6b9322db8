"""What was measured on: counts of the data set, the model's identity, and whether the prompts were really held out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kinestream.checkpoints import TextToMotionModel
from kinestream.data.layout import TEXT_FOLDER, read_text_lines
from kinestream.data.manifest import MANIFEST_NAME, Manifest
from kinestream.evaluation.text.generation import Wish

SPLITS = ("train", "val", "test")


def data_facts(root: Path, manifest: Manifest) -> dict[str, Any]:
    """Recordings, hours, licences and labels of the data set, mirrored copies not counted."""
    recordings = [clip for clip in manifest.clips if not clip.mirrored]
    summary = manifest.summary()
    return {
        "manifest_sha256": hashlib.sha256((root / MANIFEST_NAME).read_bytes()).hexdigest(),
        "recordings": summary["recordings"],
        "hours": summary["hours"],
        "hours_with_mirrored": summary["hours_with_mirrored"],
        "captions": summary["captions"],
        "splits": summary["splits"],
        "pairs": summary["pairs"],
        "sources": {
            name: {key: source[key] for key in ("licence", "citation", "recordings", "hours") if key in source}
            for name, source in sorted(manifest.sources.items())
        },
        "contents": _by_split([(clip.content, clip.split) for clip in recordings]),
        "styles": _by_split([(clip.style, clip.split) for clip in recordings]),
    }


def _by_split(labelled: Sequence[tuple[str, str]]) -> dict[str, dict[str, int]]:
    counts = Counter(labelled)
    return {
        label: {split: counts[label, split] for split in SPLITS} for label in sorted({label for label, _ in labelled})
    }


def model_facts(model: TextToMotionModel, fingerprint: str) -> dict[str, Any]:
    """The measured model: hash and number of its weights, configurations, encoder and end of prompts."""
    return {
        "fingerprint": fingerprint,
        "parameters": {
            name: sum(parameter.numel() for parameter in part.parameters())
            for name, part in (("causal_tae", model.tae), ("ar_diffusion", model.ar))
        },
        "configs": {"causal_tae": model.tae.config.to_json(), "ar_diffusion": model.ar.config.to_json()},
        "text_encoder": model.text_encoder,
        "stop_threshold": model.stop_threshold,
        "provenance": dict(model.provenance),
    }


def prompt_facts(root: Path, manifest: Manifest, wishes: Sequence[Wish]) -> dict[str, Any]:
    """How many prompts were given, how many different ones, and how many of those stand among the training captions."""
    prompts = {wish.prompt for wish in wishes}
    known: set[str] = set()
    for clip in manifest.split_clips("train"):
        known.update(line.caption for line in read_text_lines(root / TEXT_FOLDER / f"{clip.name}.txt"))
    return {
        "given": len(wishes),
        "different": len(prompts),
        "training_captions": len(known),
        "also_training_captions": sorted(prompts & known),
        "examples": sorted(prompts)[:: max(1, len(prompts) // 8)][:8],
    }
