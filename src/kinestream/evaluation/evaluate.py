"""Measure a model on a data set and write the report: JSON, page, and what comparing needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kinestream.checkpoints import DEFAULT_MODEL_DIR, load_causal_tae, load_text_to_motion, read_model_info
from kinestream.checkpoints.dance import DEFAULT_DANCE_DIR, load_music_to_dance
from kinestream.checkpoints.evaluator import DEFAULT_EVALUATOR_DIR, TextMotionEvaluator, load_evaluator
from kinestream.checkpoints.folder import CAUSAL_TAE, FOOT_RESTORATION
from kinestream.checkpoints.restoration import DEFAULT_RESTORATION_DIR
from kinestream.checkpoints.retrieval import load_retrieval
from kinestream.data.sources.recording import Reject
from kinestream.errors import BadInputError
from kinestream.evaluation.dance.generation import DanceStudio, model_digest
from kinestream.evaluation.dance.plan import dance_plan
from kinestream.evaluation.dance.protocol import measure_dance, shown_dances
from kinestream.evaluation.findings import Findings
from kinestream.evaluation.items import Item, Plan
from kinestream.evaluation.page import report_page
from kinestream.evaluation.pieces import write_tensors
from kinestream.evaluation.provenance import data_facts, model_facts, run_facts
from kinestream.evaluation.restoration.protocol import measure_restoration, shown_takes
from kinestream.evaluation.result import EMBEDDINGS_NAME, PAGE_NAME, RESULT_NAME, Result
from kinestream.evaluation.settings import EvaluationSettings, Place, Progress
from kinestream.evaluation.shown import Shown, shown_samples
from kinestream.evaluation.text.generation import OPTIONS, Studio, Wish
from kinestream.evaluation.text.plan import clip_wishes, reconstruction_plan, stream_plan, switch_wishes, text_plan
from kinestream.evaluation.text.protocol import measure_text
from kinestream.evaluation.text.reconstruct import reconstructed
from kinestream.evaluation.text.reconstruction import measure_reconstruction
from kinestream.evaluation.text.stream import HALF_WINDOW, measure_stream
from kinestream.io.atomic import atomic_path
from kinestream.streaming import Engine
from kinestream.streaming.dance.engine import check_streams
from kinestream.streaming.dance.references import LIBRARY_FILE, RETRIEVAL_FOLDER

PIECES = "pieces"
MIN_ITEMS = 4
Made = Callable[[Item], Tensor]


class Measured(NamedTuple):
    """What a protocol leaves for the report."""

    findings: Findings
    shown: Sequence[Shown]
    items: Sequence[Item]
    rejects: Sequence[Reject]
    model: Mapping[str, Any]
    evaluator: Mapping[str, Any]


def evaluate(place: Place, settings: EvaluationSettings, progress: Progress) -> Result:
    """Measure `place.model` on `place.data` and write report.json and report.html into `place.out`.

    What is generated is kept in `place.out`/pieces, so that a run that was stopped goes on where it was. The same
    model, data and settings give the same figures on the same machine, times excepted.

    Raises:
        BadInputError: model, data or evaluator are missing or don't fit, or there are too few samples; before anything
            is generated wherever that can be known.
        KinestreamError: the report can't be written.
    """
    begun, when = time.monotonic(), datetime.now(UTC)
    if settings.protocol in ("reconstruction", "capture"):  # nothing in them is drawn anew
        settings = replace(settings, repeats=1)
    threads = torch.get_num_threads()
    try:
        protocols = {"dance": _dance, "capture": _capture}
        measured = protocols.get(settings.protocol, _text_to_motion)(place, settings, progress)
    finally:
        torch.set_num_threads(threads)
    findings = measured.findings
    result = Result(
        settings.protocol,
        {**asdict(settings), "split": settings.split_name},
        {**run_facts(), "began": when.isoformat(timespec="seconds"), "seconds": round(time.monotonic() - begun, 1)},
        measured.model,
        data_facts(place.data, settings.split_name, measured.items, len(measured.rejects)),
        measured.evaluator,
        findings.figures,
        findings.samples,
        findings.repeats,
        findings.curves,
        (*findings.notes, *_rejected(measured.rejects)),
    )
    _write(place.out, result, findings, report_page(result, measured.shown))
    return result


def _text_to_motion(place: Place, settings: EvaluationSettings, progress: Progress) -> Measured:
    plan = _plan(place, settings)
    info = read_model_info(DEFAULT_MODEL_DIR if place.model is None else place.model)
    evaluator = None if settings.protocol == "stream" else load_evaluator(place.evaluator)
    _prepare(place.out)
    torch.set_num_threads(settings.processes)
    options = replace(OPTIONS, guidance=settings.guidance)
    with Studio(place.model, place.out / PIECES, settings.processes, options) as studio:
        findings, made = _measured(place, settings, plan.items, studio, evaluator, progress)
        shown = shown_samples(settings.protocol, findings.samples, plan.items, made)
    facts = {} if evaluator is None else _evaluator_facts(place.evaluator)
    return Measured(findings, shown, plan.items, plan.rejects, model_facts(place.model, info), facts)


def _dance(place: Place, settings: EvaluationSettings, progress: Progress) -> Measured:
    plan = dance_plan(place.data, settings.split_name, settings.samples)
    model = load_music_to_dance(place.model)
    check_streams(model)
    folder = DEFAULT_DANCE_DIR if place.model is None else place.model
    beside = folder / RETRIEVAL_FOLDER if place.evaluator is None else place.evaluator
    retrieval = load_retrieval(beside) if place.evaluator is not None or beside.is_dir() else None
    _prepare(place.out)
    torch.set_num_threads(1)  # a dance is made frame by frame: threads would wait for one another
    with DanceStudio(folder, place.out / PIECES, settings.processes) as studio:
        findings = measure_dance(plan, place.data, studio, model, retrieval, settings, progress)
        shown = shown_dances(plan.items, findings.samples, studio, settings.seed)
    facts = model_facts(place.model, read_model_info(folder), DEFAULT_DANCE_DIR)
    facts |= {"references": (folder / LIBRARY_FILE).is_file(), "with_references_sha256": model_digest(folder)}
    return Measured(
        findings, shown, plan.items, plan.rejects, facts, {} if retrieval is None else _evaluator_facts(beside)
    )


def _capture(place: Place, settings: EvaluationSettings, progress: Progress) -> Measured:
    plan = reconstruction_plan(place.data, settings.split_name, settings.samples)
    folder = DEFAULT_RESTORATION_DIR if place.model is None else place.model
    info = read_model_info(folder, FOOT_RESTORATION)
    _prepare(place.out)
    torch.set_num_threads(settings.processes)
    findings = measure_restoration(plan.items, place.model, settings, progress)
    shown = shown_takes(plan.items, findings.samples, place.model, settings.seed)
    return Measured(findings, shown, plan.items, plan.rejects, model_facts(place.model, info, folder), {})


def _plan(place: Place, settings: EvaluationSettings) -> Plan:
    split = settings.split_name
    if settings.protocol == "stream":
        return stream_plan(place.data, split, settings.samples, HALF_WINDOW)
    if settings.protocol == "text":
        plan = text_plan(place.data, split, settings.seed, settings.samples)
    else:
        plan = reconstruction_plan(place.data, split, settings.samples)
    if len(plan.items) < MIN_ITEMS:
        raise BadInputError(
            f"{place.data}: FID needs at least {MIN_ITEMS} recordings, two for each half of them, got {len(plan.items)}"
        )
    return plan


def _measured(
    place: Place,
    settings: EvaluationSettings,
    items: Sequence[Item],
    studio: Studio,
    evaluator: TextMotionEvaluator | None,
    progress: Progress,
) -> tuple[Findings, Made]:
    """The protocol's findings, and how to get the motion of one item again."""
    if settings.protocol == "stream":
        engine = Engine(load_text_to_motion(place.model))
        asked = [item for item in items if item.prompt != item.then]
        findings = measure_stream(items, studio, engine, settings, progress)
        return findings, partial(_act_again, studio, asked, settings, switch_wishes)
    assert evaluator is not None, "the other protocols measure in an evaluator's space"
    if settings.protocol == "text":
        findings = measure_text(items, studio, evaluator, settings, progress)
        return findings, partial(_act_again, studio, items, settings, clip_wishes)
    folder = DEFAULT_MODEL_DIR if place.model is None else place.model
    if read_model_info(folder).kind == CAUSAL_TAE:
        tae, statistics = load_causal_tae(folder)
    else:
        model = load_text_to_motion(place.model, complete=False)
        tae, statistics = model.tae, model.statistics
    findings = measure_reconstruction(items, tae, statistics, evaluator, settings, progress)
    return findings, lambda item: reconstructed(tae, statistics, item.features())


def _act_again(
    studio: Studio, items: Sequence[Item], settings: EvaluationSettings, wishes: Callable[..., list[Wish]], item: Item
) -> Tensor:
    """The first repeat's motion of an item, from the pieces on disk."""
    acted = studio.act(wishes(items, settings.seed, 0), lambda done, total: None)
    return next(one.features for other, one in zip(items, acted, strict=True) if other.name == item.name)


def _evaluator_facts(folder: Path | None) -> dict[str, object]:
    where = DEFAULT_EVALUATOR_DIR if folder is None else folder
    facts = model_facts(where, read_model_info(where))
    return {"name": "packaged" if folder is None else facts["name"], "sha256": facts["sha256"]}


def _rejected(rejects: Sequence[Reject]) -> list[str]:
    if not rejects:
        return []
    first = rejects[0]
    return [f"{len(rejects)} recordings could not be used; the first, {first.name}: {first.reason}."]


def _prepare(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise BadInputError(f"{out} exists and is no folder; choose another place for the report")
    if out.is_dir() and any(out.iterdir()) and not ((out / RESULT_NAME).exists() or (out / PIECES).is_dir()):
        raise BadInputError(f"{out} holds other files; choose a new or empty folder for the report")
    (out / PIECES).mkdir(parents=True, exist_ok=True)


def _write(out: Path, result: Result, findings: Findings, page: str) -> None:
    if findings.embeddings:
        embeddings = {name: value.float() for name, value in findings.embeddings.items()}
        write_tensors(out / EMBEDDINGS_NAME, embeddings)
    else:
        (out / EMBEDDINGS_NAME).unlink(missing_ok=True)  # of an earlier report of another protocol
    with atomic_path(out / PAGE_NAME) as path:
        path.write_text(page, encoding="utf-8")
    result.save(out)
