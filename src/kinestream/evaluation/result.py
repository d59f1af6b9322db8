"""What a measurement found, as one value and as JSON: every figure with its interval beside the real data's."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from kinestream.errors import BadInputError
from kinestream.io.atomic import atomic_path
from kinestream.metrics import Estimate

FORMAT = "kinestream-report"
VERSION = 1
RESULT_NAME = "report.json"
PAGE_NAME = "report.html"
EMBEDDINGS_NAME = "embeddings.safetensors"

Better = Literal["lower", "higher", "near real"]
Protocol = Literal["text", "stream", "reconstruction", "dance", "capture"]


@dataclass(frozen=True)
class Figure:
    """One figure of the model and, where it has one, of real recordings.

    Attributes:
        name, label, unit: for machines, for people, and "" for a figure without a unit.
        better: which way is better; "near real" where the recordings' own figure is best.
        says: in a line what it is.
        interval: what its interval speaks of, such as "20 repeats" or "bootstrap over clips".
        generated, real: the figures; NaN ends where there is no interval.
    """

    name: str
    label: str
    unit: str
    better: Better
    says: str
    interval: str
    generated: Estimate
    real: Estimate | None = None


@dataclass(frozen=True)
class Sample:
    """One clip or stream: what was asked for and its own figures, means over the repeats; `real` is the recording's.

    Samples of one `group` (windows of one song) hang together; "" for samples that don't.
    """

    name: str
    prompt: str
    generated: Mapping[str, float]
    real: Mapping[str, float] = field(default_factory=dict)
    group: str = ""


@dataclass(frozen=True)
class Curve:
    """A line to draw: values at `x`; `low` and `high` are empty where there is no interval."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Result:
    """Everything that a report says.

    Attributes:
        protocol: how it was measured.
        settings: what was chosen: repeats, split, seed, guidance and so on.
        run: kinestream's version, the commit if known, the command, when and how long.
        model, data, evaluator: names and hashes of what was measured on.
        figures, samples: the findings.
        repeats: figures of whole sets by repeat.
        curves: lines to draw, by the plot they belong to.
        notes: what a reader must know, such as a figure that could not be measured.
    """

    protocol: Protocol
    settings: Mapping[str, Any]
    run: Mapping[str, Any]
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    evaluator: Mapping[str, Any]
    figures: tuple[Figure, ...]
    samples: tuple[Sample, ...]
    repeats: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    curves: Mapping[str, tuple[Curve, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def figure(self, name: str) -> Figure:
        """The figure of that name; BadInputError lists what there is."""
        for figure in self.figures:
            if figure.name == name:
                return figure
        raise BadInputError(f"the report has no figure {name!r}; it has {', '.join(f.name for f in self.figures)}")

    def save(self, folder: Path) -> Path:
        """Write FOLDER/report.json, whole or not at all."""
        document = {"format": FORMAT, "version": VERSION, **_plain(asdict(self))}
        with atomic_path(folder / RESULT_NAME) as path:
            path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return folder / RESULT_NAME


def load_result(path: str | Path) -> Result:
    """Read a report's folder or its report.json; BadInputError where it is missing, damaged or of another version."""
    path = Path(path)
    path = path / RESULT_NAME if path.is_dir() else path
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise ValueError(f"its format is {document['format']!r}")
        if document["version"] != VERSION:
            raise BadInputError(
                f"{path}: expected {FORMAT} of version {VERSION}, got {document['version']!r}; evaluate again"
            )
        return Result(
            protocol=document["protocol"],
            settings=dict(document["settings"]),
            run=dict(document["run"]),
            model=dict(document["model"]),
            data=dict(document["data"]),
            evaluator=dict(document["evaluator"]),
            figures=tuple(_figure(values) for values in document["figures"]),
            samples=tuple(Sample(**values) for values in document["samples"]),
            repeats={name: tuple(values) for name, values in document["repeats"].items()},
            curves={
                name: tuple(Curve(c["label"], tuple(c["x"]), tuple(c["y"])) for c in curves)
                for name, curves in document["curves"].items()
            },
            notes=tuple(document["notes"]),
        )
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInputError(f"{path}: expected a report that `kinestream evaluate` wrote: {error}") from None


def _figure(values: Mapping[str, Any]) -> Figure:
    parts = {name: _estimate(values[name]) for name in ("generated", "real")}
    if parts["generated"] is None:
        raise ValueError(f"the figure {values['name']!r} has no value")
    return Figure(**{**values, **parts})


def _estimate(values: Mapping[str, Any] | None) -> Estimate | None:
    if values is None:
        return None
    value, low, high = (math.nan if values[name] is None else float(values[name]) for name in ("value", "low", "high"))
    return Estimate(value, low, high, int(values["count"]))


def _plain(value: Any) -> Any:
    """JSON values: NaN becomes null, floats keep seven digits."""
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
