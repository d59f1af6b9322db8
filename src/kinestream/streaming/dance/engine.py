"""Many dances on one model: their codes are drawn together, in one product a code, whoever comes and goes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

import torch

from kinestream.checkpoints.dance import MusicToDanceModel
from kinestream.conditioning.music import MUSIC_WIDTH
from kinestream.errors import BadInputError, KinestreamError
from kinestream.features import MOTION272
from kinestream.inference import Mode, fast_dance
from kinestream.models.choreo_llama import Drawing, Drawings

if TYPE_CHECKING:
    from kinestream.streaming.dance.session import DanceChunk, DanceOptions, DanceSession, ReferenceSource

MUSIC_FEATURES = "kinestream-30hz"
# While others draw, one of so many dances does what it does alone: conditions, a block of a window's beginning, posing.
_SHARE_ALONE = 4


class DanceEngine:
    """The model, shared by all dances on it; sessions come and go without touching it.

    Args:
        model: a music-to-dance model on motion272 with a causal tokenizer and kinestream's own music features.
        mode: "exact" runs the networks as they were trained; "fast" runs the LLaMA compiled, with int8 weights, on the
            CPU. It is compiled once for a model, or before (`inference.fast_dance`), so that the weights can be let go.

    Raises:
        BadInputError: a model that can't stream, or an unknown mode.
        MissingExtraError: fast mode without the extra `fast`, on a processor without AVX-512 VNNI.
    """

    def __init__(self, model: MusicToDanceModel, *, mode: Mode = "exact") -> None:
        check_streams(model)
        if mode not in ("exact", "fast"):
            raise BadInputError(f'A dance\'s mode is "exact" or "fast"; got {mode!r}.')
        self.model = fast_dance(model) if mode == "fast" else model
        self._drawings = Drawings(self.model.llama.drawn_with)
        self._turns = itertools.count()
        self._under_way: Sequence[Making] = ()
        self._stepping = threading.Lock()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the machine lacks for this mode and what is done instead; for people, to be said once."""
        return self.model.llama.drawn_with.notes

    def session(
        self,
        rate_hz: int,
        *,
        genre: str | None = None,
        seed: int = 0,
        references: ReferenceSource | None = None,
        options: DanceOptions | None = None,
    ) -> DanceSession:
        """A new dance; arguments and errors are those of `DanceSession`."""
        from kinestream.streaming.dance.session import DanceSession

        return DanceSession(
            self.model, rate_hz, genre=genre, seed=seed, references=references, options=options, engine=self
        )

    def step(self, sessions: Sequence[DanceSession]) -> list[DanceChunk | None]:
        """The next token step of each of these dances that has music waiting; the others are not touched.

        Gives the piece of a dance that is done with it, None for all others. What a dance does alone - its music's
        conditions, the beginning of a window, block by block, posing - is done for one of four dances a step, in the
        order in which their pieces began, so that who begins a window holds up nobody for longer. Frames don't depend
        on who else dances: in fast mode they are the same bits, in exact mode logits differ by rounding.

        A dance that fails raises its error here, then and whenever it is stepped again; what the others made comes with
        their next step.

        Raises:
            BadInputError: a session is listed twice or belongs to another engine, or its references don't fit.
            KinestreamError: the model gave numbers that are not finite.
        """
        if len({id(session) for session in sessions}) != len(sessions):
            raise BadInputError("A dance can make only one step at a time; it is listed twice.")
        if any(session.engine is not self for session in sessions):
            raise BadInputError("A dance steps on the engine that made it; got one of another engine.")
        with self._stepping, torch.no_grad():
            try:
                self._step([making for session in sessions if (making := self._making(session)) is not None])
            except KinestreamError:
                raise
            except BaseException:
                # Stopped anywhere in between: nothing of a piece has reached its session, which begins it again.
                for session in sessions:
                    if session.making in self._under_way:
                        session.making = None
                raise
            finally:
                self._under_way = ()
            return [_taken(session) for session in sessions]

    def _making(self, session: DanceSession) -> Making | None:
        if session.making is None and session.ready:
            session.making = Making(session.next_piece(), next(self._turns))
        return session.making

    def _step(self, makings: Sequence[Making]) -> None:
        for making in makings:
            if making.error is not None:
                raise making.error.with_traceback(None)
        alone = sorted((making for making in makings if making.waits), key=lambda making: making.turn)
        self._under_way = [making for making in makings if making.drawing is not None]
        # Where nobody draws, nobody is held up.
        share = -(-len(makings) // _SHARE_ALONE) if self._under_way else len(alone)
        self._drawings.draw([window for making in self._under_way if (window := making.drawing) is not None])
        for making in alone[:share]:
            self._under_way = [making]
            making.go_on(self._drawings)


class Making:
    """A piece of dance while it is made, by a session that gives windows to be drawn and then the piece."""

    def __init__(self, work: Generator[Drawing, None, DanceChunk], turn: int) -> None:
        self.turn = turn
        self.chunk: DanceChunk | None = None
        self.error: KinestreamError | None = None
        self._work = work
        self._window: Drawing | None = None

    @property
    def drawing(self) -> Drawing | None:
        """The window, where its next codes can be drawn."""
        window = self._window
        return window if window is not None and window.begun and not window.done else None

    @property
    def waits(self) -> bool:
        """Whether something is to be done for it alone."""
        return self.chunk is None and self.drawing is None

    def go_on(self, drawings: Drawings) -> None:
        """Do the next thing that nobody else takes part in; KinestreamError where it fails."""
        if self._window is not None and not self._window.begun:
            drawings.begin(self._window)
            return
        try:
            self._window = next(self._work)
        except StopIteration as over:
            self.chunk, self._window = over.value, None
        except KinestreamError as error:
            self.error, self._window = error, None
            raise


def _taken(session: DanceSession) -> DanceChunk | None:
    chunk = None if session.making is None else session.making.chunk
    if chunk is not None:
        session.making = None
    return chunk


def check_streams(model: MusicToDanceModel) -> None:
    """BadInputError unless the model can dance to sound as it comes in: features, layout and tokenizer fit."""
    tokens, llama = model.tokenizer.config, model.llama.config
    if model.music_features != MUSIC_FEATURES or llama.music_dim != MUSIC_WIDTH:
        raise BadInputError(
            f"The model reads the music features {model.music_features!r} ({llama.music_dim} numbers a frame); from "
            f"sound only {MUSIC_FEATURES!r} ({MUSIC_WIDTH}) are made. Train one on data that `kinestream data` built."
        )
    if model.layout != MOTION272.name or not tokens.causal:
        kind = "a causal" if tokens.causal else "a non-causal"
        raise BadInputError(
            f"Dancing needs a model on {MOTION272.name} with a causal tokenizer; this one has {model.layout} and "
            f"{kind} tokenizer."
        )
    if not (llama.music_frames_per_step == llama.reference_frames_per_step == tokens.frames_per_step):
        raise BadInputError(
            f"Dancing needs music, references and motion at the same rate; a token step of this model lasts "
            f"{llama.music_frames_per_step}, {llama.reference_frames_per_step} and {tokens.frames_per_step} frames."
        )
