"""What comes of prompts as people write them, and of those that no model of these data can know.

python -m benchmarks.prompts --data data/built --fast -o docs/results/prompts.json

Every sentence of benchmarks/prompts/known.json is acted --repeats times. A classifier trained on recordings names what
is done and how; metrics on the joints say which side, which way, how far, how often, how fast and how long. Each
figure stands beside that of recordings whose labels say the same, and beside what the clips of other sentences get.
A run that is stopped goes on where it was (clips are kept in --cache). Three repeats take a quarter of an hour on two
free cores in fast mode.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.prompts.figures import Row, grouped, lengths, metric_table, not_judged, rows_of, share, worst
from benchmarks.prompts.judge import as_asked
from benchmarks.prompts.recorded import composed, label_ask, usual_speeds
from benchmarks.prompts.report import table
from benchmarks.prompts.seen import Seen, observe
from benchmarks.prompts.sentences import HERE, Ask, load_known_asks, load_unknown, wordless
from benchmarks.prompts.unknown import knowing, refused
from benchmarks.quality.classifier import Classifier, ClassifierConfig, cached_classifier
from benchmarks.quality.facts import data_facts
from benchmarks.quality.takes import Take, load_takes
from kinestream.checkpoints import DEFAULT_MODEL_DIR
from kinestream.checkpoints.evaluator import load_evaluator
from kinestream.checkpoints.folder import read_model_info
from kinestream.cli.progress import progress_bar
from kinestream.conditioning.known import load_known
from kinestream.data.manifest import Manifest, load_manifest
from kinestream.errors import BadInputError, KinestreamError
from kinestream.evaluation.provenance import model_facts, run_facts
from kinestream.evaluation.text.generation import OPTIONS, Studio, Wish
from kinestream.evaluation.text.plan import seed_of
from kinestream.inference.networks import Mode
from kinestream.io.atomic import atomic_path

COMMAND = "python -m benchmarks.prompts --data data/built"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 where it measured, whatever the figures are."""
    given = _options().parse_args(arguments)
    try:
        results = measure(given)
        given.out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(given.out) as path:
            path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except KinestreamError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(table(results))
    return 0


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.prompts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True, help="folder that `kinestream data build` wrote")
    options.add_argument("--model", type=Path, help="model folder; the packaged model without it")
    options.add_argument("-o", "--out", type=Path, required=True, help="JSON file to write")
    options.add_argument("--repeats", type=int, default=3, help="clips of each sentence (default 3)")
    options.add_argument("--sentences", type=int, help="so many known and unknown prompts, evenly; default all")
    options.add_argument("--fast", action="store_true", help="generate in fast mode")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--processes", type=int, default=2, help="processes and threads (default 2)")
    options.add_argument("--cache", type=Path, default=Path(".cache/prompts"), help="classifier and generated clips")
    return options


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All figures, as they go into the JSON file."""
    few = given.sentences is not None and given.sentences < 4
    if min(given.repeats, given.processes) < 1 or given.seed < 0 or few:
        raise BadInputError(
            "expected --repeats and --processes of at least 1, --sentences of at least 4, --seed of 0 on"
        )
    torch.set_num_threads(given.processes)
    manifest = load_manifest(given.data)
    classifier = _classifier(given, manifest)
    asks, strange = (_evenly(own, given.sentences) for own in (load_known_asks(), load_unknown()))
    usual = usual_speeds(load_takes(given.data, manifest.split_clips("train", mirrored=False)))
    real = _recorded(given, manifest, classifier, usual)
    mode: Mode = "fast" if given.fast else "exact"
    rows: list[Row] = []
    with Studio(given.model, given.cache / "generated", given.processes, OPTIONS, mode) as studio:
        for repeat in range(given.repeats):
            rows += rows_of(asks, _acted(studio, classifier, asks, given.seed, f"K{repeat}"), usual)
        other = _acted(studio, classifier, strange, given.seed, "U0")
    info = read_model_info(DEFAULT_MODEL_DIR if given.model is None else given.model)
    first = [row.seen for row in rows[: len(asks)]]
    return {
        "format": "kinestream-prompts",
        "version": 1,
        "command": _command(given),
        "run": run_facts(),
        "seed": given.seed,
        "repeats": given.repeats,
        "mode": mode,
        "model": model_facts(given.model, info),
        "data": data_facts(given.data, manifest),
        "sentences": _sentence_facts(asks, strange),
        "metrics": metric_table(rows, real, usual, given.seed),
        "as_asked": share([float(as_asked(row.found)) for row in rows], [row.prompt for row in rows]),
        "by_repeat": _by_repeat(rows, len(asks)),
        "lengths": lengths(rows),
        "groups": grouped(rows, lambda ask: [ask.group]),
        "traits": grouped(rows, lambda ask: ask.traits or ["plain"]),
        "knows": {
            **knowing(load_known(), asks, strange, (load_evaluator(), first, other)),
            "without_words": refused(wordless()),
        },
        "worst": worst(rows),
    }


def _classifier(given: argparse.Namespace, manifest: Manifest) -> Classifier:
    train, val = (load_takes(given.data, manifest.split_clips(split)) for split in ("train", "val"))
    if not train or not val:
        raise BadInputError(f"{given.data}: the classifier needs clips in the splits train and val")
    with progress_bar("training the classifier", "epochs") as update:
        return cached_classifier(train, val, ClassifierConfig(), given.cache, update)


def _recorded(
    given: argparse.Namespace, manifest: Manifest, classifier: Classifier, usual: dict[str, float]
) -> list[Row]:
    """Test recordings, those of contents without one, and recordings put together, with what their labels say."""
    test = load_takes(given.data, manifest.split_clips("test", mirrored=False))
    tested = {take.content for take in test}
    rare = [clip for clip in manifest.split_clips("train", mirrored=False) if clip.content not in tested]
    takes = test + load_takes(given.data, rare)
    pairs = [(label_ask(take), take) for take in takes] + composed(test, given.seed)
    seen = observe(classifier, [take for _, take in pairs], [bool(ask.then) for ask, _ in pairs])
    rows = rows_of([ask for ask, _ in pairs], seen, usual)
    composed_from = len(takes)
    # A chain of recordings is asked for its number alone; its content is asked of each recording already.
    return [row if k < composed_from else row._replace(ask=_only_composed(row.ask)) for k, row in enumerate(rows)]


def _only_composed(ask: Ask) -> Ask:
    return ask if ask.content else Ask(ask.text, ask.group, then=("composed",), repeats=ask.repeats)


def _acted(studio: Studio, classifier: Classifier, asks: Sequence[Ask], seed: int, kind: str) -> list[Seen]:
    wishes = []
    for number, ask in enumerate(asks):
        name = f"{kind}_{number:03d}"
        content = ask.content[0] if ask.content else ""
        wishes.append(Wish(name, content, ask.style or "", ask.text, seed_of(seed, f"{name} {ask.text}")))
    with progress_bar(f"generating {kind}", "clips") as update:
        acted = studio.act(wishes, update)
    takes = [
        Take(wish.name, wish.content, wish.style, one.features, wish.prompt)
        for wish, one in zip(wishes, acted, strict=True)
    ]
    return observe(classifier, takes, [bool(ask.then) for ask in asks])


def _by_repeat(rows: Sequence[Row], prompts: int) -> list[dict[str, float]]:
    """Each repeat's own figures: how much the draw moves them."""
    found = []
    for start in range(0, len(rows), prompts):
        own = rows[start : start + prompts]
        named = [row.found["content"] for row in own if "content" in row.found]
        found.append(
            {
                "as_asked": round(sum(as_asked(row.found) for row in own) / len(own), 4),
                "content": round(sum(named) / max(1, len(named)), 4),
            }
        )
    return found


def _sentence_facts(asks: Sequence[Ask], strange: Sequence[Ask]) -> dict[str, Any]:
    files = (HERE / "known.json", HERE / "unknown.json")
    return {
        "known": len(asks),
        "unknown": len(strange),
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        "not_judged": not_judged(asks),
    }


def _evenly(asks: Sequence[Ask], count: int | None) -> list[Ask]:
    if count is None or count >= len(asks):
        return list(asks)
    return [asks[int((k + 0.5) * len(asks) / count)] for k in range(count)]


def _command(given: argparse.Namespace) -> str:
    """The command that gives the same figures, without this machine's folders."""
    extra = [
        ("--model MODEL", given.model is not None),
        (f"--repeats {given.repeats}", given.repeats != 3),
        (f"--sentences {given.sentences}", given.sentences is not None),
        (f"--seed {given.seed}", given.seed != 0),
        ("--fast", given.fast),
        ("-o docs/results/prompts.json", True),
    ]
    return " ".join([COMMAND, *(text for text, wanted in extra if wanted)])


if __name__ == "__main__":
    sys.exit(main())
