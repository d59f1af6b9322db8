"""Many dances on one model: their codes are sampled together, in one product a code, whoever comes and goes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence

import torch

from kinestream.checkpoints.dance import MusicToDanceModel
from kinestream.conditioning.music import MUSIC_WIDTH
from kinestream.errors import BadInputError, KinestreamError
from kinestream.features import MOTION272
from kinestream.inference import Mode, compiled_dance
from kinestream.models.choreo_llama import WindowSampler
from kinestream.streaming.chunk import Chunk
from kinestream.streaming.dance.options import DanceOptions, ReferenceSource
from kinestream.streaming.dance.progress import ChunkInProgress
from kinestream.streaming.dance.session import DanceSession
from kinestream.streaming.protocol import StreamEngine

MUSIC_FEATURES = "kinestream-30hz"
# While others sample, one of so many dances does what it does alone: conditions, a block of a window's start, posing.
_SHARE_ALONE = 4


class DanceEngine(StreamEngine[DanceSession]):
    """The model, shared by all dances on it; sessions come and go without touching it.

    Args:
        model: a music-to-dance model on motion272 with a causal tokenizer and kinestream's own music features.
        mode: "exact" runs the networks as they were trained; "fast" runs the LLaMA compiled, with int8 weights, on the
            CPU. It is compiled once for a model, or before (`inference.compiled_dance`): weights can then be released.

    Raises:
        BadInputError: a model that can't stream, or an unknown mode.
        MissingExtraError: fast mode without the extra `fast`, on a processor without AVX2.
    """

    model: MusicToDanceModel

    def __init__(self, model: MusicToDanceModel, *, mode: Mode = "exact") -> None:
        check_streams(model)
        if mode not in ("exact", "fast"):
            raise BadInputError(f'A dance\'s mode is "exact" or "fast"; got {mode!r}.')
        self.model = compiled_dance(model, mode)
        self._sampler = WindowSampler(self.model.llama.sampled_with)
        self._order = itertools.count()
        self._under_way: Sequence[ChunkInProgress] = ()
        self._stepping = threading.Lock()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the machine lacks for this mode and what is done instead; for people, to be said once."""
        return self.model.llama.sampled_with.notes

    @property
    def frames_per_step(self) -> int:
        """Frames of one token step."""
        return int(self.model.tokenizer.config.frames_per_step)

    def session(
        self,
        seed: int = 0,
        options: DanceOptions | None = None,
        *,
        genre: str | None = None,
        references: ReferenceSource | None = None,
    ) -> DanceSession:
        """A new dance; arguments and errors are those of `DanceSession`."""
        return DanceSession(self, seed=seed, options=options, genre=genre, references=references)

    def _step(self, sessions: Sequence[DanceSession]) -> list[Chunk | None]:
        """The next token step of each of these dances that has music waiting.

        What a dance does alone - its music's conditions, the beginning of a window, block by block, posing - is done
        for one of four dances a step, in the order in which their pieces began, so that who begins a window holds up
        nobody for longer. Frames are the same bits in any company in fast mode; in exact mode logits round.

        A dance that fails raises its error here, then and whenever it is stepped again; what the others made comes with
        their next step.
        """
        with self._stepping, torch.no_grad():
            try:
                self._work([progress for session in sessions if (progress := self._progress(session)) is not None])
            except KinestreamError:
                raise
            except BaseException:
                # Stopped anywhere in between: nothing of a piece has reached its session, which begins it again.
                for session in sessions:
                    if session.progress in self._under_way:
                        session.progress = None
                raise
            finally:
                self._under_way = ()
            return [session.take_chunk() for session in sessions]

    def _progress(self, session: DanceSession) -> ChunkInProgress | None:
        if session.progress is None and session.ready:
            session.progress = ChunkInProgress(session.next_piece(), next(self._order))
        return session.progress

    def _work(self, chunks: Sequence[ChunkInProgress]) -> None:
        for chunk in chunks:
            if chunk.error is not None:
                raise chunk.error.with_traceback(None)
        alone = sorted((chunk for chunk in chunks if chunk.waits), key=lambda chunk: chunk.order)
        self._under_way = [chunk for chunk in chunks if chunk.window is not None]
        # Where nobody samples, nobody is held up.
        share = -(-len(chunks) // _SHARE_ALONE) if self._under_way else len(alone)
        self._sampler.sample([window for chunk in self._under_way if (window := chunk.window) is not None])
        for chunk in alone[:share]:
            self._under_way = [chunk]
            chunk.work_alone(self._sampler)


def check_streams(model: MusicToDanceModel) -> None:
    """BadInputError unless the model can dance to sound as it comes in: features, layout and tokenizer fit."""
    tokens, llama = model.tokenizer.config, model.llama.config
    if model.music_features != MUSIC_FEATURES or llama.music_dim != MUSIC_WIDTH:
        raise BadInputError(
            f"The model reads the music features {model.music_features!r} ({llama.music_dim} values a frame); from "
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
