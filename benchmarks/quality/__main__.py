"""Every figure of quality on test recordings that the model never saw.

python -m benchmarks.quality --data data/built -o docs/results/quality.json

Reconstruction by the autoencoder; whether generated clips show the content and style that held-out prompts ask for, by
a classifier trained on real clips; feet, jitter, floor and length beside those of real clips; smoothness where one
prompt follows another. A run that is stopped goes on where it was (what is made is kept in --cache). The same model,
data and seed give the same file.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import command_line, command_of, run, save
from benchmarks.quality.classifier import Classifier, ClassifierConfig, cached_classifier
from benchmarks.quality.facts import data_facts, model_facts, prompt_facts
from benchmarks.quality.plan import PROMPTS, clip_wishes, few_shot_wishes, pair_wishes
from benchmarks.quality.plausibility import plausibility
from benchmarks.quality.recognition import few_shot, recognition
from benchmarks.quality.reconstruction import autoencoded, reconstruction
from benchmarks.quality.report import table, target_rows
from benchmarks.quality.takes import Take, evenly, load_takes
from benchmarks.quality.transitions import transitions
from kinestream.checkpoints import TextToMotionModel, load_text_to_motion
from kinestream.cli.progress import progress_bar
from kinestream.data.manifest import Manifest, load_manifest
from kinestream.errors import BadInputError
from kinestream.evaluation.text.generation import OPTIONS, Acted, Studio, Wish
from kinestream.inference.networks import Mode
from kinestream.streaming import Engine

COMMAND = "python -m benchmarks.quality --data data/built -o docs/results/quality.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 where it measured, whatever the figures are."""
    options = _options()

    def bench(given: argparse.Namespace) -> None:
        command = COMMAND.replace("quality.json", "quality_fast.json") if given.fast else COMMAND
        results = measure(given, command_of(options, given, command))
        save(results, given.out)
        print(table(results))

    return run(options, bench, arguments)


def _options() -> argparse.ArgumentParser:
    options = command_line("quality", __doc__)
    options.add_argument("--data", type=Path, required=True, help="folder that `kinestream data build` wrote")
    options.add_argument("--model", type=Path, help="model folder; the packaged model without it")
    options.add_argument("-o", "--out", type=Path, required=True, help="JSON file to write")
    options.add_argument(
        "--clips", type=int, help="measure so many test recordings, evenly over the labels; default all"
    )
    options.add_argument("--pairs", type=int, default=96, help="streams of two prompts (default 96)")
    options.add_argument("--few-shot", type=int, default=4, help="clips of each few-shot content (default 4)")
    options.add_argument("--prompts", choices=sorted(PROMPTS), default="held-out", help="which sentences are asked for")
    options.add_argument("--guidance", type=float, help="guidance scale in place of the sessions' default")
    options.add_argument("--fast", action="store_true", help="generate in fast mode (extra `fast`)")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--processes", type=int, default=2, help="processes and threads (default 2)")
    options.add_argument("--cache", type=Path, default=Path(".cache/quality"), help="classifier and generated clips")
    return options


def measure(given: argparse.Namespace, command: str) -> dict[str, Any]:
    """All figures, as they go into the JSON file."""
    if min(given.pairs, given.processes) < 1 or given.few_shot < 0 or given.seed < 0:
        raise BadInputError("expected --pairs and --processes of at least 1, --few-shot and --seed of at least 0")
    torch.set_num_threads(given.processes)
    manifest = load_manifest(given.data)
    all_clips = manifest.split_clips("test", mirrored=False)
    if not all_clips:
        raise BadInputError(f"{given.data}: the manifest has no test recordings; build the data set again")
    test_clips = evenly(all_clips, given.clips)
    model = load_text_to_motion(given.model)
    fingerprint = Engine(model).fingerprint
    options = OPTIONS if given.guidance is None else replace(OPTIONS, guidance=given.guidance)
    wishes = clip_wishes(test_clips, given.seed, PROMPTS[given.prompts])
    pairs = pair_wishes(all_clips, given.pairs, given.seed, PROMPTS[given.prompts])
    rare = few_shot_wishes(manifest.clips, given.few_shot, given.seed, PROMPTS[given.prompts])
    classifier = _classifier(given, manifest)
    real = load_takes(given.data, test_clips)
    mode: Mode = "fast" if given.fast else "exact"
    with Studio(given.model, given.cache / "generated", given.processes, options, mode) as studio:
        generated = _takes(wishes, _acted(studio, wishes, "generating clips"))
        switching = _acted(studio, pairs, "generating transitions")
        rare_takes = _takes(rare, _acted(studio, rare, "generating few-shot clips"))
    results = {
        "format": "kinestream-quality",
        "version": 1,
        "command": command,
        "seed": given.seed,
        "test_recordings": len(real),
        "data": data_facts(given.data, manifest),
        "model": model_facts(model, fingerprint),
        "guidance": model.guidance if given.guidance is None else given.guidance,
        "prompts": {"kind": given.prompts, **prompt_facts(given.data, manifest, [*wishes, *pairs, *rare])},
        **_figures(model, classifier, real, generated),
        "transitions": transitions(
            load_takes(given.data, all_clips),
            pairs,
            _takes(pairs, switching),
            [one.switch_frame for one in switching],
            given.seed,
        ),
        "few_shot": few_shot(
            classifier, rare_takes, Counter(clip.content for clip in manifest.clips if not clip.mirrored)
        ),
    }
    return {"targets": target_rows(results), **results}


def _figures(
    model: TextToMotionModel, classifier: Classifier, real: Sequence[Take], generated: Sequence[Take]
) -> dict[str, Any]:
    with progress_bar("reconstructing", "clips") as update:
        error = reconstruction(model.tae, model.statistics, real, update)
    decoded = autoencoded(model.tae, model.statistics, real)
    return {
        "reconstruction": error,
        "recognition": recognition(classifier, real, generated),
        "plausibility": plausibility(real, generated),
        # Real clips through the autoencoder alone: what generated ones lose there is not the language model's doing.
        "autoencoded": {
            "recognition": recognition(classifier, real, decoded),
            "plausibility": plausibility(real, decoded),
        },
    }


def _classifier(given: argparse.Namespace, manifest: Manifest) -> Classifier:
    train = load_takes(given.data, manifest.split_clips("train"))
    val = load_takes(given.data, manifest.split_clips("val"))
    if not train or not val:
        raise BadInputError(f"{given.data}: the classifier needs clips in the splits train and val")
    with progress_bar("training the classifier", "epochs") as update:
        return cached_classifier(train, val, ClassifierConfig(), given.cache, update)


def _acted(studio: Studio, wishes: Sequence[Wish], what: str) -> list[Acted]:
    with progress_bar(what, "streams") as update:
        return studio.act(wishes, update)


def _takes(wishes: Sequence[Wish], acted: Sequence[Acted]) -> list[Take]:
    return [
        Take(wish.name, wish.content, wish.style, one.features, wish.prompt)
        for wish, one in zip(wishes, acted, strict=True)
    ]


if __name__ == "__main__":
    sys.exit(main())
