"""Writes the packaged model's card from docs/model_card.md and the figures of `python -m benchmarks.quality`.

Every figure comes from the JSON file, never from this script. docs/results/model_card_notes.json holds what a person
adds: "causes" (target -> why it is missed), "recipe" and "limits" (lines). --check only says whether the card is
current.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.pages import (
    REPOSITORY,
    Json,
    bullets,
    explained,
    load,
    misses,
    number,
    provenance_lines,
    table,
    targets_table,
    written,
)

TEMPLATE = REPOSITORY / "docs" / "model_card.md"
FIGURES = REPOSITORY / "docs" / "results" / "quality.json"
NOTES = REPOSITORY / "docs" / "results" / "model_card_notes.json"
CARD = REPOSITORY / "src" / "kinestream" / "assets" / "default_model" / "MODEL_CARD.md"


def card(template: str, results: Json, notes: Json) -> str:
    """The card's text: every {{place}} of the template filled; KeyError for a place that nothing fills."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: PLACES[match.group(1)](results, notes), template).rstrip() + "\n"


def _generated_note(results: Json, notes: Json) -> str:
    return "Written by `python -m scripts.write_model_card` from `docs/model_card.md` and `docs/results/quality.json`."


def _model_table(results: Json, notes: Json) -> str:
    model = results["model"]
    rows = []
    for part, name in (("causal_tae", "Causal TAE"), ("ar_diffusion", "autoregressive diffusion")):
        sizes = ", ".join(
            f"{key} {value}" for key, value in model["configs"][part].items() if not isinstance(value, list)
        )
        rows.append([name, f"{model['parameters'][part] / 1e6:.1f} million", sizes])
    fingerprint = f"SHA-256 of the measured weights: `{model['fingerprint'][:16]}…`"
    return table(("part", "parameters", "configuration"), rows) + f"\n\n{fingerprint}"


def _settings_line(results: Json, notes: Json) -> str:
    threshold = number(results["model"]["stop_threshold"])
    return (
        f"Guidance scale {number(results['guidance'])}; a prompt ends within {threshold} of the reference end latent."
    )


def _sources_table(results: Json, notes: Json) -> str:
    rows = [
        [name, source["licence"], str(source["recordings"]), f"{source['hours']:.2f}", source["citation"]]
        for name, source in results["data"]["sources"].items()
    ]
    return table(("source", "licence", "recordings", "hours", "citation"), rows)


def _data_summary(results: Json, notes: Json) -> str:
    data = results["data"]
    splits = ", ".join(f"{own['recordings']} {split} ({own['hours']:.2f} h)" for split, own in data["splits"].items())
    return (
        f"{data['recordings']} recordings, {data['hours']:.2f} hours ({data['hours_with_mirrored']:.2f} with mirrored "
        f"copies), {data['captions']} captions. Recordings by split: {splits}."
    )


def _pairs_summary(results: Json, notes: Json) -> str:
    pairs = results["data"]["pairs"].get("train", {})
    return (
        f"of {sum(pairs.values())} training pairs {pairs.get('joined', 0)} are two clips joined by a blend, "
        f"{pairs.get('cut', 0)} are one clip cut in two."
    )


def _contents_table(results: Json, notes: Json) -> str:
    rows = [
        [content, *(str(counts[split]) for split in ("train", "val", "test"))]
        for content, counts in results["data"]["contents"].items()
        if counts["test"]
    ]
    return table(("content", "train", "validation", "test"), rows)


def _styles_line(results: Json, notes: Json) -> str:
    styles = results["data"]["styles"]
    ordered = sorted(styles, key=lambda style: (-sum(styles[style].values()), style))
    return ", ".join(f"{style} ({sum(styles[style].values())})" for style in ordered) + " recordings."


def _few_shot(results: Json, notes: Json) -> str:
    few = results["few_shot"]["by_content"]
    rare = {name: own["train"] for name, own in results["data"]["contents"].items() if not own["test"]}
    rows = [
        [
            name,
            str(count),
            f"{few[name]['named']} of {few[name]['generated']}" if name in few else "-",
            _otherwise(few.get(name)),
        ]
        for name, count in sorted(rare.items())
    ]
    most = max(rare.values(), default=1)
    told = (
        f"{len(rare)} contents have one to {most} recordings and therefore no test recording. What the model gives for "
        "them is near a copy of a recording, or a failed one; nothing below says that it could vary them. The "
        "classifier has learned them from the same recordings, so being named only means resembling those."
    )
    return f"{told}\n\n" + table(("content", "recordings", "generated clips named so", "named otherwise"), rows)


def _otherwise(own: Json | None) -> str:
    return "" if own is None else ", ".join(f"{name} ({count})" for name, count in own["named_otherwise"].items())


def _prompts_line(results: Json, notes: Json) -> str:
    prompts = results["prompts"]
    among = len(prompts["also_training_captions"])
    return (
        f"{results['test_recordings']} clips are generated with the labels of the test recordings, from "
        f"{prompts['kind']} sentences: "
        f"{prompts['different']} different ones were given over all measurements, {among} of which "
        f"{'is' if among == 1 else 'are'} among the {prompts['training_captions']} training captions."
    )


def _pairs_line(results: Json, notes: Json) -> str:
    found = results["transitions"]
    generated = found["peak_jerk_mps3"]["generated"]
    counts = [f"{generated[name]['median']['n']} {name}" for name in ("queued", "interrupted") if name in generated]
    return f"random pairs of contents ({' and '.join(counts)}; {found['pairs_left_out']} left out for want of frames)."


def _perfect(results: Json, notes: Json) -> str:
    perfect = results["transitions"]["any_window_of_perfect"]
    return f"{number(perfect['median'])} by median and {number(perfect['mean'])} by mean"


BEHIND = {
    "foot_skating_ratio": ("foot skating ratio", ""),
    "jitter_mps3": ("jitter", "m/s³"),
    "share_below_floor_2cm": ("share of frames more than 2 cm below the floor", ""),
    "worst_depth_m": ("deepest joint below the floor", "m"),
    "share_floating_5cm": ("share of frames with no joint below 5 cm", ""),
    "length_s": ("median length", "s"),
}


def _behind_table(results: Json, notes: Json) -> str:
    rows = []
    decoded = results["autoencoded"]
    for kind in ("content", "style"):
        own, other = results["recognition"][kind], decoded["recognition"][kind]["generated"]
        figures = (own["real"], other, own["generated"], own["ratio"])
        rows.append([f"{kind} named rightly", *(number(figure["value"]) for figure in figures)])
        alike = own["labels_alike"]
        rows.append([f"{kind}, labels counting alike", number(alike["real"]), "", number(alike["generated"]), ""])
    for name, (says, unit) in BEHIND.items():
        own, other = results["plausibility"][name], decoded["plausibility"][name]["generated"]
        figures = (own["real"], other, own["generated"], own.get("ratio"))
        values = [figure["value"] if isinstance(figure, Mapping) else figure for figure in figures]
        rows.append([says, *(number(value, unit) for value in values[:3]), number(values[3])])
    posed = results["reconstruction"]["mpjpe_mm"]["from_rotations"]["value"]
    rows.append(["reconstruction, posed on the skeleton", "", number(posed, "mm"), "", ""])
    return table(("figure", "real", "autoencoded", "generated", "generated / real"), rows)


def _transition_table(results: Json, notes: Json) -> str:
    found = results["transitions"]
    rows = []
    for name, own in found["peak_jerk_mps3"]["generated"].items():
        real = found["peak_jerk_mps3"]["real_matched"]
        values = [number(figures[kind]["value"], "m/s³") for kind in ("median", "mean") for figures in (own, real)]
        ratios = [number(found["matched"][name][kind]["value"]) for kind in ("median", "mean")]
        rows.append([name, values[0], values[1], ratios[0], values[2], values[3], ratios[1]])
    head = ("switches", "median peak jerk", "real", "ratio", "mean peak jerk", "real", "ratio")
    return table(head, rows)


def _by_content_table(results: Json, notes: Json) -> str:
    physics, errors = results["plausibility"], results["reconstruction"]["by_content"]
    rows = []
    for content, own in results["recognition"]["content"]["by_label"].items():
        lengths = physics["length_s"]["by_content"].get(content, {})
        skating = physics["foot_skating_ratio"]["by_content"].get(content, {})
        rows.append(
            [
                content,
                str(own["n"]),
                number(errors[content]["value"], "mm"),
                *(number(own[kind]) for kind in ("real", "generated")),
                *(number(lengths.get(kind), "s") for kind in ("real", "generated")),
                *(number(skating.get(kind)) for kind in ("real", "generated")),
            ]
        )
    head = ("content", "clips", "reconstruction", "named, real", "named, generated", "length, real", "generated")
    return table((*head, "skating, real", "generated"), rows)


def _by_style_table(results: Json, notes: Json) -> str:
    rows = [
        [style, str(own["n"]), number(own["real"]), number(own["generated"])]
        for style, own in results["recognition"]["style"]["by_label"].items()
    ]
    return table(("style", "clips", "named, real", "named, generated"), rows)


def _confusions(results: Json, notes: Json) -> str:
    pairs = [
        f"{pair['is']} taken for {pair['named']} ({pair['n']})"
        for kind in ("content", "style")
        for pair in results["recognition"][kind]["confusions_generated"][:6]
    ]
    return "; ".join(pairs) + "." if pairs else "none."


def _evaluations(results: Json, notes: Json) -> str:
    parts = []
    for report in results.get("evaluations", ()):
        settings = report["settings"]
        rows = [
            (figure["label"], *(_with_interval(figure[side], figure["unit"]) for side in ("generated", "real")))
            for figure in report["figures"]
        ]
        repeats = f"{settings['repeats']} repeat{'s' if settings['repeats'] > 1 else ''}"
        parts += [
            f"**{settings['protocol']}**, {report['data']['measured']} recordings, {repeats}",
            table(("figure", "generated", "recorded"), rows),
        ]
    return "\n\n".join(parts) if parts else "Not run yet."


def _with_interval(figure: Json | None, unit: str) -> str:
    if figure is None or figure["low"] is None:
        return number(None if figure is None else figure["value"], unit)
    return f"{number(figure['value'], unit)} ({number(figure['low'])} to {number(figure['high'])})"


def _rare_styles(results: Json, notes: Json) -> str:
    return ", ".join(name for name, own in results["data"]["styles"].items() if sum(own.values()) < 20) or "none here"


PLACES: dict[str, Callable[[Json, Json], str]] = {
    "generated_note": _generated_note,
    "text_encoder": lambda results, notes: str(results["model"]["text_encoder"]),
    "model_table": _model_table,
    "settings_line": _settings_line,
    "sources_table": _sources_table,
    "data_summary": _data_summary,
    "pairs_summary": _pairs_summary,
    "contents_table": _contents_table,
    "styles_line": _styles_line,
    "few_shot": _few_shot,
    "recipe": lambda results, notes: bullets(
        [*notes.get("recipe", []), *provenance_lines(results["model"].get("provenance", {}))]
    ),
    "command": lambda results, notes: str(results["command"]),
    "targets_table": lambda results, notes: targets_table(results["targets"]),
    "misses": lambda results, notes: misses(results["targets"], notes),
    "prompts_line": _prompts_line,
    "pairs_line": _pairs_line,
    "perfect": _perfect,
    "behind_table": _behind_table,
    "transition_table": _transition_table,
    "by_content_table": _by_content_table,
    "by_style_table": _by_style_table,
    "confusions": _confusions,
    "rare_styles": _rare_styles,
    "evaluations": _evaluations,
    "limits": lambda results, notes: bullets(notes.get("limits", [])),
}


def figures(path: Path) -> dict[str, Any]:
    """All that the card tells: the quality figures, and the reports of `kinestream evaluate` that lie beside them."""
    results = load(path)
    reports = [load(report) for report in sorted(path.parent.glob("evaluate_*.json"))]
    return results and results | {"evaluations": reports}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the card, or with --check compare it; 1 where it is not current or a cause is missing."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--figures", type=Path, default=FIGURES)
    options.add_argument("--notes", type=Path, default=NOTES)
    options.add_argument("-o", "--out", type=Path, default=CARD)
    options.add_argument("--check", action="store_true")
    given = options.parse_args(arguments)
    results, notes = figures(given.figures), load(given.notes)
    if not results:
        print(f"{given.figures} is missing: run `python -m benchmarks.quality` first", file=sys.stderr)
        return 2
    text = card(TEMPLATE.read_text(encoding="utf-8"), results, notes)
    told = explained(results["targets"], notes, given.notes)
    return 0 if written(text, [given.out], "write_model_card", check=given.check) and told else 1


if __name__ == "__main__":
    sys.exit(main())
