"""One listener's dance: sound goes in as it comes, a piece of motion comes out for every piece of music."""

from __future__ import annotations

import math
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from kinestream.checkpoints.dance import MusicToDanceModel
from kinestream.conditioning.music import FEATURE_HZ, LOOK_AHEAD_S, MUSIC_SLICES, MUSIC_WIDTH, MusicStream, beats_in
from kinestream.errors import BadInputError, KinestreamError
from kinestream.features import RootState
from kinestream.features.recovery import world_joints_from_rotations
from kinestream.metrics import still_seconds
from kinestream.models.choreo_llama import DanceContext, Piece, References, SampledWindow, SamplingSettings, next_piece
from kinestream.models.rvq_vae.model import DecoderStates
from kinestream.motion import Motion
from kinestream.streaming.checks import checked_seed, is_whole
from kinestream.streaming.chunk import Chunk
from kinestream.streaming.dance.inputs import analysed_music, mono_sound
from kinestream.streaming.dance.options import DanceOptions, ReferenceSource
from kinestream.streaming.dance.progress import ChunkInProgress
from kinestream.streaming.events import AudioEvent, Event, FinishEvent, GenreEvent, MusicEvent
from kinestream.streaming.footlock import FootLockState
from kinestream.streaming.frames import beat_locked_chunk, initial_feet, initial_root, locked_chunk, motion_chunk
from kinestream.streaming.protocol import StreamEngine, StreamSession

MAX_GENRE_CHANGES = 1_000
# Music that a dance may hear before it is stepped.
MAX_WAITING_S = 3600
# The analysis keeps every beat that it ever heard; a stream of hours needs none of the old ones.
_KEPT_BEATS = 256
# A piece in which the body stands still though there is music is sampled again at these temperatures: a dance that
# rests tends to go on resting, since the model has the last seconds before its eyes.
_LIVELIER = (1.0, 1.3, 1.6)
_LIVELIER_TOP_P = 0.98
# Loudness of the music features at about -40 dB: what is below all the time is no music to dance to.
_QUIET = -0.33


@dataclass(frozen=True, eq=False)
class Moment:
    """Where a dance stands before one of its pieces: all that going on takes beside the music to come.

    Attributes:
        pieces, steps, frames: how many were made.
        genre: of the piece before.
        heard: `[T, M]` the music of the codes in `context`, un-normalised.
        context: what the window before hands on; None before the first.
        decoder, root, feet: where the decoder and the body stand.
        random: the generator's state.
    """

    pieces: int
    steps: int
    frames: int
    genre: str | None
    heard: Float[Tensor, "t m"]
    context: DanceContext | None
    decoder: DecoderStates
    root: RootState
    feet: FootLockState | None
    random: Tensor


class DanceSession(StreamSession):
    """All state of one dance to one song, played from a file or live; what it holds does not grow with the song.

    Frame k comes out at latest when the sound up to k / 30 s + `look_ahead_s` was heard. The same sound, seed,
    references and genres at the same song times give the same motion, however the sound is cut. It can be rewound
    piece by piece, but not saved: the resampler's state lies where nobody can read it. To go on later, give it the
    sound again.

    Args:
        engine: what dances, with a model that can stream.
        seed: decides among the dances that suit the music.
        options: how the dance is made.
        genre: one of the model's genres; None leaves it to the music.
        references: where reference dances come from; None dances without.

    Raises:
        BadInputError: an unknown genre, or options that the model can't follow.
    """

    kind: ClassVar[str] = "dance"
    takes = (AudioEvent, MusicEvent, GenreEvent, FinishEvent)
    engine: StreamEngine[DanceSession]

    def __init__(
        self,
        engine: StreamEngine[DanceSession],
        *,
        seed: int = 0,
        options: DanceOptions | None = None,
        genre: str | None = None,
        references: ReferenceSource | None = None,
    ) -> None:
        super().__init__(engine, seed)
        self.model: MusicToDanceModel = engine.model
        self.model.genre_index(genre)
        self.options = DanceOptions() if options is None else options
        self.progress: ChunkInProgress | None = None
        self._piece_steps = _piece_steps(self.model, self.options)
        self._piece_frames = self._piece_steps * engine.frames_per_step
        self._references = references if self.model.llama.config.uses_references else None
        # What is heard is analysed while the dance goes on.
        self._hearing = threading.RLock()
        self._sound: MusicStream | None = None
        self._rate_hz = 0
        # Music from the oldest moment on.
        self._music: list[Tensor] = []
        self._num_heard = 0
        self._genres: list[tuple[int, str | None]] = [(0, genre)]
        self._finished = False
        self._device = next(self.model.llama.parameters()).device
        decoder = self.model.tokenizer.decoder.init_state(1, device=self._device)
        feet = initial_feet() if self.options.foot_lock else None
        random = torch.Generator().manual_seed(self.seed).get_state()
        nothing = torch.zeros(0, MUSIC_WIDTH)
        # The last one is where the dance stands, the others are what it can go back to.
        self._moments = [Moment(0, 0, 0, None, nothing, None, decoder, initial_root(), feet, random)]

    # What is asked of the dance.

    def hear(self, samples: NDArray[Any], rate_hz: int) -> None:
        """Take the next sound, `[N]` or `[N, C]` floats; steps dance to it.

        Raises:
            BadInputError: other shapes, NaN, another rate than before, music features came before, the dance is
                finished, or an hour of music waits already. The dance stays as it was.
        """
        self.apply(AudioEvent(samples, rate_hz))

    def hear_features(self, music: Float[Tensor, "t m"]) -> None:
        """Take music that is analysed already, in place of sound: rows of `MusicStream`, as data sets hold them.

        Raises:
            BadInputError: other shapes, NaN, sound came before, the dance is finished, or an hour of music waits
                already. The dance stays as it was.
        """
        self.apply(MusicEvent(music))

    def change_genre(self, genre: str | None, at_s: float | None = None) -> None:
        """Dance another genre; see `GenreEvent`.

        Raises:
            BadInputError: the model doesn't know the genre, the time is none, or more than a thousand changes wait.
        """
        self.apply(GenreEvent(genre, at_s))

    def _apply(self, event: Event) -> None:
        if isinstance(event, AudioEvent):
            self._hear(mono_sound(event.samples), event.rate_hz)
        elif isinstance(event, MusicEvent):
            self._hear_features(analysed_music(event.features))
        elif isinstance(event, GenreEvent):
            self._change_genre(event)
        else:
            self._end()

    def _hear(self, sound: NDArray[np.float32], rate_hz: int) -> None:
        with self._hearing:
            self._check_open()
            if self._sound is None:
                if self._num_heard:
                    raise BadInputError("The dance follows music features; give it either sound or features.")
                self._sound, self._rate_hz = MusicStream(rate_hz), rate_hz
            if rate_hz != self._rate_hz:
                raise BadInputError(f"The sound has {self._rate_hz} samples a second; got a chunk of {rate_hz!r}.")
            self._take(self._sound.push(sound))
            del self._sound.beats[:-_KEPT_BEATS]

    def _hear_features(self, rows: Tensor) -> None:
        with self._hearing:
            self._check_open()
            if self._sound is not None:
                raise BadInputError("The dance hears sound already; give it either sound or features.")
            self._take(rows)

    def _end(self) -> None:
        with self._hearing:
            if self._finished:
                raise BadInputError("The dance is finished already.")
            rest = torch.zeros(0, MUSIC_WIDTH) if self._sound is None else self._sound.finish()
            with self.lock:
                self._take(rest)
                if not self._num_heard:
                    raise BadInputError("There is no music to dance to: not one sample came.")
                self._finished = True

    def _check_open(self) -> None:
        if self._finished:
            raise BadInputError("The dance is finished; begin a new session for more music.")
        if self._num_heard - self.num_frames > MAX_WAITING_S * FEATURE_HZ:
            raise BadInputError("An hour of music waits to be danced to; step the dance before it hears more.")

    def _take(self, rows: Tensor) -> None:
        with self.lock:
            self._music.append(rows)
            self._num_heard += len(rows)

    def _change_genre(self, event: GenreEvent) -> None:
        self.model.genre_index(event.genre)
        with self.lock:
            now = self._now.steps * self.engine.frames_per_step
            if sum(frame > now for frame, _ in self._genres) >= MAX_GENRE_CHANGES:
                raise BadInputError(f"At most {MAX_GENRE_CHANGES} changes of genre can wait.")
            frame = 0 if event.at_s is None else math.ceil(event.at_s * FEATURE_HZ - 1e-6)
            self._genres.append((max(frame, now), event.genre))
            self._genres.sort(key=lambda change: change[0])

    # Where it stands.

    @property
    def look_ahead_s(self) -> float:
        """How much later than a frame's own moment the sound is that its coming out waits for, at most."""
        return LOOK_AHEAD_S + self._piece_frames / FEATURE_HZ

    @property
    def num_frames(self) -> int:
        """Frames danced so far."""
        return self._now.frames

    @property
    def genre(self) -> str | None:
        """The genre of the next piece."""
        with self.lock:
            now = self._now.steps * self.engine.frames_per_step
            return [genre for frame, genre in self._genres if frame <= now][-1]

    @property
    def finished(self) -> bool:
        """Whether the music is over."""
        return self._finished

    @property
    def ready(self) -> bool:
        """Whether a step goes on with the dance: a piece is being made, or there is music for one."""
        with self.lock:
            waiting = self._num_heard - self.num_frames
            enough = waiting >= self._piece_frames or (self._finished and waiting > 0)
            return enough or self.progress is not None

    @property
    def _now(self) -> Moment:
        return self._moments[-1]

    # Composition.

    @property
    def earliest_frame(self) -> int:
        """The oldest frame that `rewind` can go back to."""
        return self._moments[0].frames

    def rewind(self, frame: int) -> int:
        """Go back so that all frames before `frame` stay; music and genres stay where they are in the song.

        Gives the first frame that will be made anew: that of the first piece that begins at or after `frame`. With
        nothing else said the dance repeats itself, bit for bit.

        Raises:
            BadInputError: the frame is not made yet, or lies further back than the session remembers.
        """
        with self.lock:
            if not is_whole(frame) or not 0 <= frame <= self.num_frames:
                raise BadInputError(f"The dance has frames 0 to {self.num_frames}; it can't be rewound to {frame!r}.")
            if frame < self.earliest_frame:
                raise BadInputError(
                    f"Frame {frame} is too long ago: this dance can be rewound to frame {self.earliest_frame} or "
                    "later. Give it a larger rewind_s."
                )
            count = sum(moment.frames < frame for moment in self._moments)
            del self._moments[count + 1 :]
            self.progress = None
            return self.num_frames

    def branch(self, frame: int | None = None, seed: int | None = None) -> DanceSession:
        """A second dance to the same music; see `StreamSession.branch`.

        Raises:
            KinestreamError: the dance listens to sound that is not finished: the resampler's state can't be doubled.
        """
        with self._hearing, self.lock:
            if self._sound is not None and not self._finished:
                raise KinestreamError(
                    "A dance can't be doubled while it listens to sound: finish it, or give it analysed music."
                )
            twin = DanceSession(self.engine, seed=self.seed, options=self.options, references=self._references)
            twin._music, twin._num_heard, twin._finished = list(self._music), self._num_heard, self._finished
            twin._genres, twin._moments = list(self._genres), list(self._moments)
        if frame is not None:
            twin.rewind(frame)
        if seed is not None:
            twin.seed = checked_seed(seed)
            twin._moments[-1] = replace(twin._now, random=torch.Generator().manual_seed(seed).get_state())
        return twin

    # How it is done.

    def take_chunk(self) -> Chunk | None:
        """The chunk that is complete, for the engine, once."""
        with self.lock:
            chunk = None if self.progress is None else self.progress.chunk
            if chunk is not None:
                self.progress = None
            return chunk

    def next_piece(self) -> Generator[SampledWindow, None, Chunk]:
        """Dance the next piece, for the engine: gives a window to be sampled, once or more, and at last the frames.

        At the music's end its last frame is held up to a whole token step; only real frames are given. Nothing of the
        session changes before the end, nor where it is rewound meanwhile.
        """
        with self.lock:
            now, genre = self._now, self.genre
            self._music = [torch.cat(self._music)]
            first = now.frames - self._moments[0].frames
            music = self._music[0][first : first + self._piece_frames]
            last = self._finished and now.frames + len(music) == self._num_heard
        frames, step_frames = len(music), self.engine.frames_per_step
        music = torch.cat((music, music[-1:].expand(-frames % step_frames, -1)))
        model, generator = self.model, torch.Generator()
        generator.set_state(now.random)
        window = torch.cat((now.heard, music))
        found = self._found(now, window, genre)
        settings = self.options.sampling or model.sampling

        def begun(known: DanceContext | None, references: References | None) -> Piece:
            return next_piece(
                model.llama,
                model.music_statistics.normalize(music).to(self._device)[None],
                torch.tensor([model.genre_index(genre)], device=self._device),
                known,
                references=references,
                settings=settings,
                generator=generator,
                overlap_steps=model.llama.config.window_steps - self._piece_steps,
            )

        def tries() -> Iterator[Piece]:
            piece = begun(now.context, found)
            yield piece
            for heat in _LIVELIER:
                yield piece.again(SamplingSettings(heat, model.tokenizer.config.num_codes, _LIVELIER_TOP_P))
            # At last without the history that it rests in; references would begin with that history.
            yield begun(None, None)

        for piece in tries():
            yield piece.windows[0]
            codes, context = piece.result()
            decoded, decoder = model.tokenizer.decoder.step(model.tokenizer.embed(codes), now.decoder)
            features = model.statistics.denormalize(decoded)[0, :frames].float().cpu()
            if settings.temperature == 0.0 or not _stands_still(features, music[:frames]):
                break
        motion, root, feet = self._posed(now, features, music[:frames])
        changed = not now.pieces or genre != now.genre
        chunk = Chunk(
            index=now.pieces,
            first_frame=now.frames,
            motion=motion,
            features=features,
            tokens=codes[0].cpu(),
            kind="dance",
            genre=genre,
            began=("genre",) if changed else (),
            ended=("music",) if last else (),
        )
        heard = window[len(window) - context.codes.shape[1] * step_frames :].clone()
        after = Moment(
            now.pieces + 1, now.steps + codes.shape[1], now.frames + frames, genre, heard, context, decoder, root, feet,
            generator.get_state(),
        )  # fmt: skip
        with self.lock:
            if self._now is now:
                self._moments.append(after)
                self._forget()
        return chunk

    def _found(self, now: Moment, window: Tensor, genre: str | None) -> References | None:
        if self._references is None:
            return None
        found = self._references.find(now.steps - len(now.heard) // self.engine.frames_per_step, window, genre)
        if found is None:
            return None
        present = None if found.present is None else found.present.to(self._device)
        return References(found.frames.to(self._device), present)

    def _posed(self, now: Moment, features: Tensor, music: Tensor) -> tuple[Motion, RootState, FootLockState | None]:
        if self.options.beat_lock:
            return beat_locked_chunk(features, now.root, now.feet, beats_in(music))
        if now.feet is None:
            return *motion_chunk(features, now.root), None
        return locked_chunk(features, now.root, now.feet)

    def _forget(self) -> None:
        """Release what lies further back than `rewind_s`: moments, their music, and genres that were over by then."""
        oldest = self.num_frames - round(self.options.rewind_s * FEATURE_HZ)
        gone = max(0, sum(moment.frames <= oldest for moment in self._moments) - 1)
        first, self._moments = self._moments[0], self._moments[gone:]
        self._music = [torch.cat(self._music)[self._moments[0].frames - first.frames :]]
        begins = self._moments[0].steps * self.engine.frames_per_step
        over = sum(frame <= begins for frame, _ in self._genres) - 1
        self._genres = self._genres[over:]


def _stands_still(features: Float[Tensor, "t 272"], music: Float[Tensor, "t m"]) -> bool:
    """Whether the body stands still for a whole second of the piece while the music can be heard."""
    if len(features) < FEATURE_HZ or float(music[:, MUSIC_SLICES["loudness"]].max()) < _QUIET:
        return False
    joints = world_joints_from_rotations(features)
    # Around the root: a pose that only drifts over the floor will stand, once its feet are held.
    return bool(still_seconds(joints - joints[:, :1] * joints.new_tensor((1.0, 0.0, 1.0)), FEATURE_HZ).any())


def _piece_steps(model: MusicToDanceModel, options: DanceOptions) -> int:
    window = model.llama.config.window_steps
    if options.piece_s is None:
        return max(1, window // 2)
    steps = max(1, round(options.piece_s * FEATURE_HZ / model.tokenizer.config.frames_per_step))
    if steps >= window:
        longest = (window - 1) * model.tokenizer.config.frames_per_step / FEATURE_HZ
        raise BadInputError(f"piece_s is at most {longest:.2f} s for this model; got {options.piece_s:g}.")
    return steps
