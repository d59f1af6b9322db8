"""A session as one file: safetensors with its plain facts as JSON in the header. Nothing in it can run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.features import MOTION272, RootState
from kinestream.inference.networks import DecoderState
from kinestream.io.atomic import atomic_path
from kinestream.motion import Motion
from kinestream.nn.motion_convs import ConvStates
from kinestream.nn.streaming import join_rows, state_from_tensors, state_to_tensors, take_rows
from kinestream.skeleton import smpl22
from kinestream.streaming.checks import is_whole
from kinestream.streaming.chunk import Chunk
from kinestream.streaming.footlock import FootLockState
from kinestream.streaming.frames import initial_feet
from kinestream.streaming.text.control import HOLD, Control, Prompt
from kinestream.streaming.text.options import SessionOptions
from kinestream.streaming.text.session import LoggedEvent, Scheduled, Session, TextEngine
from kinestream.streaming.text.step import begun
from kinestream.streaming.text.timeline import SNAPSHOT_EVERY, Record, keeps_snapshot

Value = TypeVar("Value")

FORMAT = "kinestream-session"
VERSION, SCHEDULING_VERSION = 2, 3
_POSITIONS = ("began", "restarted", "context_start", "prefilled_to")


def save_session(session: Session, path: Path) -> None:
    """Write everything that `load_session` needs; the key/value cache is made again from the latents."""
    prompts = _Numbering[Prompt](lambda prompt: id(prompt))
    queues = _Numbering[tuple[Prompt, ...]](lambda queue: tuple(id(prompt) for prompt in queue))
    records = list(session.timeline)
    idles = session.options.when_idle != "end"
    if idles:
        prompts.number(session.idle_prompt)
    controls = [_control_row(record.control, prompts, queues) for record in records]
    now = _control_row(session.control, prompts, queues)
    scheduled = [
        [said.said, said.due, prompts.number(said.prompt), said.seconds, said.queue] for said in session.scheduled
    ]
    queue_rows = [[prompts.number(prompt) for prompt in queue] for queue in queues.values]
    tensors: dict[str, Tensor] = {"seen": torch.tensor(len(records))}
    if records:
        tensors |= _record_tensors(records)
        tensors["controls"] = torch.tensor(controls)
        for record in records:
            if record.decoder is not None:
                tensors |= _named(record.decoder, f"decoder.{record.chunk.index}.")
    if session.decoder is not None:
        tensors |= _named(session.decoder, "decoder.now.")
    embedded = [prompt.embedding for prompt in prompts.values if prompt.embedding is not None]
    if embedded:
        tensors["embeddings"] = torch.stack(embedded)
    facts = {
        "format": FORMAT,
        "version": SCHEDULING_VERSION if scheduled else VERSION,
        "model": session.engine.fingerprint,
        "seed": session.seed,
        "first": session.timeline.first,
        "options": session.options.to_json(),
        "idle": prompts.number(session.idle_prompt) if idles else None,
        "prompts": [{"text": p.text, "latents": p.latents, "kind": p.kind} for p in prompts.values],
        "queues": queue_rows,
        "control": now,
        "events": [dataclasses.asdict(event) for event in session.events],
    }
    if scheduled:
        facts["scheduled"] = scheduled
    with atomic_path(path) as temporary:
        contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        save_file(contiguous, str(temporary), metadata={"session": json.dumps(facts)})


def load_session(path: Path, engine: TextEngine) -> Session:
    """The session in `path`; BadInputError when the file is damaged, foreign, or of another model."""
    facts, tensors = _read(path)
    if facts.get("model") != engine.fingerprint:
        raise BadInputError(f"{path} was saved with another model. Restore it with the model that made it.")
    try:
        return _rebuild(facts, tensors, engine)
    except BadInputError as error:
        raise BadInputError(f"{path} is a damaged session: {error}") from error
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise BadInputError(f"{path} is a damaged session: {type(error).__name__}: {error}") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("session", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise BadInputError(f"{path} is no session file that can be read: {error}") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise BadInputError(f"{path} is a safetensors file, but no session. Pass a file that Session.save wrote.")
    if facts.get("version") not in (VERSION, SCHEDULING_VERSION):
        raise BadInputError(
            f"{path} has version {facts.get('version')} of the session format; this program reads {VERSION} and "
            f"{SCHEDULING_VERSION}."
        )
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BadInputError(f"{path} is a damaged session: {name} holds values that are not finite.")
    return facts, tensors


def _rebuild(facts: Mapping[str, Any], tensors: Mapping[str, Tensor], engine: TextEngine) -> Session:
    options = SessionOptions.from_json(facts["options"])
    session = Session(engine, seed=facts["seed"], options=options)
    prompts = _prompts(facts["prompts"], tensors.get("embeddings"), engine)
    if facts["idle"] is not None:
        session.idle_prompt = prompts[facts["idle"]]
    queues = [tuple(prompts[number] for number in queue) for queue in facts["queues"]]
    count, first = int(tensors["seen"]), facts["first"]
    if not isinstance(first, int) or first < 0 or first % SNAPSHOT_EVERY or not 0 <= count <= 10_000_000:
        raise BadInputError(f"it claims {count} latents from number {first} on.")
    fresh = engine.initial_decoder_state
    if count:
        session.timeline.restore(first, _records(tensors, first, count, prompts, queues, fresh, session))
        last = session.timeline[first + count - 1]
        session.root, session.feet = last.root, last.feet
        session.decoder = _state(tensors, "decoder.now.", fresh)
    session.control = _control(facts["control"], prompts, queues)
    _check_control(session.control, session.index, first, session.limits.capacity)
    session.scheduled = [_scheduled(row, prompts) for row in facts.get("scheduled", [])]
    session.restore_events([LoggedEvent(**event) for event in facts["events"]])
    return session


def _record_tensors(records: list[Record]) -> dict[str, Tensor]:
    chunks = [record.chunk for record in records]
    feet = [record.feet for record in records if record.feet is not None]
    locked = {f"feet.{name}": tensor for name, tensor in state_to_tensors(join_rows(feet)).items()} if feet else {}
    return locked | {
        "latents": torch.stack([chunk.tokens for chunk in chunks]),
        "features": torch.stack([chunk.features for chunk in chunks]),
        "rotations": torch.stack([chunk.motion.local_rotations for chunk in chunks]),
        "root_positions": torch.stack([chunk.motion.root_position_m for chunk in chunks]),
        "ground_positions": torch.stack([record.root.position_m for record in records]),
        "headings": torch.stack([record.root.heading for record in records]),
        "flags": torch.tensor([[bool(chunk.began), bool(chunk.ended)] for chunk in chunks]),
    }


def _records(
    tensors: Mapping[str, Tensor],
    first: int,
    count: int,
    prompts: list[Prompt],
    queues: list[tuple[Prompt, ...]],
    fresh: ConvStates,
    session: Session,
) -> list[Record]:
    engine = session.engine
    frames, joints = engine.frames_per_step, MOTION272.num_joints
    latents = _checked(tensors, "latents", (count, engine.model.tae.config.latent_dim))
    features = _checked(tensors, "features", (count, frames, MOTION272.width))
    rotations = _checked(tensors, "rotations", (count, frames, joints, 4))
    roots = _checked(tensors, "root_positions", (count, frames, 3))
    grounds = _checked(tensors, "ground_positions", (count, 3))
    headings = _checked(tensors, "headings", (count, 4))
    feet = _feet(tensors, count) if session.options.foot_lock else None
    flags, rows = tensors["flags"].tolist(), tensors["controls"].tolist()
    records = []
    for place in range(count):
        index = first + place
        control = _control(rows[place], prompts, queues)
        prompt = control.prompt
        motion = Motion(smpl22(), rotations[place].clone(), roots[place].clone(), MOTION272.fps, name=prompt.text)
        starts, ended = flags[place]
        chunk = Chunk(
            index=index,
            first_frame=index * frames,
            motion=motion,
            features=features[place].clone(),
            tokens=latents[place].clone(),
            kind=prompt.kind,
            prompt=prompt.text,
            began=begun(prompt, bool(starts)),
            ended=("prompt",) if ended else (),
        )
        decoder = _state(tensors, f"decoder.{index}.", fresh) if keeps_snapshot(index) else None
        root = RootState(grounds[place].clone(), headings[place].clone())
        own_feet = None if feet is None else take_rows(feet, [place])
        records.append(Record(chunk, control, root, own_feet, decoder))
    return records


def _prompts(facts: list[dict[str, Any]], embeddings: Tensor | None, engine: TextEngine) -> list[Prompt]:
    prompts, place = [], 0
    for fact in facts:
        if fact["kind"] not in ("text", "idle", "hold"):
            raise BadInputError(f"a prompt is of the unknown kind {fact['kind']!r}.")
        if fact["kind"] == "hold":
            prompts.append(HOLD)
            continue
        if embeddings is None or embeddings.shape[1:] != (engine.model.ar.config.text_dim,):
            raise BadInputError("the prompts' embeddings are missing or of another width.")
        latents = fact["latents"]
        if not (latents is None or (isinstance(latents, int) and latents >= 1)):
            raise BadInputError(f"a prompt lasts {latents!r} latents.")
        prompts.append(Prompt(str(fact["text"]), embeddings[place].clone(), latents, fact["kind"]))
        place += 1
    return prompts


def _scheduled(row: list[Any], prompts: list[Prompt]) -> Scheduled:
    said, due, prompt, seconds, queue = row
    if not (is_whole(said) and is_whole(due) and 0 <= said < due and isinstance(queue, bool)):
        raise BadInputError(f"a scheduled prompt {row} makes no sense.")
    return Scheduled(said, due, prompts[prompt], seconds, queue)


def _control_row(control: Control, prompts: _Numbering[Prompt], queues: _Numbering[tuple[Prompt, ...]]) -> list[int]:
    positions = [getattr(control, name) for name in _POSITIONS]
    return [prompts.number(control.prompt), queues.number(control.queue), int(control.finished), *positions]


def _control(row: list[int], prompts: list[Prompt], queues: list[tuple[Prompt, ...]]) -> Control:
    prompt, queue, finished, *positions = row
    named = dict(zip(_POSITIONS, (int(position) for position in positions), strict=True))
    return Control(prompt=prompts[prompt], queue=queues[queue], finished=bool(finished), **named)


def _check_control(control: Control, index: int, first: int, capacity: int) -> None:
    ordered = 0 <= control.context_start <= control.prefilled_to <= index
    ordered = ordered and 0 <= control.began <= control.restarted <= index
    seen = control.prompt.kind == "hold" or first <= control.context_start >= index - capacity - 1
    if not ordered or not seen:
        raise BadInputError(f"its positions {control} do not fit {index} latents.")


def _checked(tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    tensor = tensors[name]
    if tuple(tensor.shape) != shape or tensor.dtype != torch.float32:
        raise BadInputError(f"{name} should be {shape} float32, got {tuple(tensor.shape)} {tensor.dtype}.")
    return tensor


def _named(state: DecoderState, prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state_to_tensors(state).items()}


def _feet(tensors: Mapping[str, Tensor], count: int) -> FootLockState:
    mine = {name[len("feet.") :]: tensor for name, tensor in tensors.items() if name.startswith("feet.")}
    return state_from_tensors(join_rows([initial_feet()] * count), mine)


def _state(tensors: Mapping[str, Tensor], prefix: str, fresh: ConvStates) -> ConvStates:
    mine = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return state_from_tensors(fresh, mine)


class _Numbering(Generic[Value]):
    """Gives equal things the same number, in the order in which they are first seen."""

    def __init__(self, key: Callable[[Value], Any]) -> None:
        self._key = key
        self._numbers: dict[Any, int] = {}
        self.values: list[Value] = []

    def number(self, value: Value) -> int:
        """The number of `value`; a new one when it was not seen before."""
        key = self._key(value)
        if key not in self._numbers:
            self._numbers[key] = len(self.values)
            self.values.append(value)
        return self._numbers[key]
