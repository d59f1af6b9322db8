"""One listener's dance: sound goes in as it comes, a piece of motion comes out for every piece of music."""

from __future__ import annotations

import math
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from kinestream.checkpoints.dance import MusicToDanceModel
from kinestream.conditioning.music import FEATURE_HZ, LOOK_AHEAD_S, MUSIC_SLICES, MUSIC_WIDTH, MusicStream, beats_in
from kinestream.errors import BadInputError
from kinestream.features import RootState
from kinestream.features.recovery import world_joints_from_rotations
from kinestream.inference import Mode
from kinestream.metrics import still_seconds
from kinestream.models.choreo_llama import DanceContext, Drawing, Piece, References, SamplingSettings, next_piece
from kinestream.models.rvq_vae.model import DecoderStates
from kinestream.motion import Motion
from kinestream.streaming.dance.engine import DanceEngine, Making
from kinestream.streaming.dance.inputs import analysed_music, is_number, mono_sound
from kinestream.streaming.footlock import FootLockState
from kinestream.streaming.frames import beat_locked_chunk, initial_feet, initial_root, locked_chunk, motion_chunk
from kinestream.streaming.text.session import is_whole

MAX_GENRE_CHANGES = 1_000
# Music that a dance may hear before it is stepped.
MAX_WAITING_S = 3600
# The analysis keeps every beat that it ever heard; a stream of hours needs none of the old ones.
_KEPT_BEATS = 256
# A piece in which the body stands still though there is music is drawn again at these temperatures: a dance that rests
# tends to go on resting, since the model has the last seconds before its eyes.
_LIVELIER = (1.0, 1.3, 1.6)
_LIVELIER_TOP_P = 0.98
# Loudness of the music features at about -40 dB: what is below all the time is no music to dance to.
_QUIET = -0.33
# Sound that comes in larger chunks is taken in blocks of so many seconds.
_BLOCK_S = 4


class ReferenceSource(Protocol):
    """Where a window's reference dances come from: `RetrievedReferences` or `NamedReferences`."""

    def find(self, first_step: int, music: Float[Tensor, "t m"], genre: str | None) -> References | None:
        """References that last as long as the window of `music` (un-normalised) that begins with `first_step`."""


@dataclass(frozen=True)
class DanceOptions:
    """How one dance is made.

    Attributes:
        piece_s: the music is danced in pieces of so many seconds, rounded to whole token steps; None for half of the
            model's window. Shorter ones shorten the look-ahead, longer ones let the dance see more of what comes.
        foot_lock: standing feet hold still and the body stands on the floor (decisions/0007); False shows what the
            model made, only lifted where it would sink.
        beat_lock: steps that come a little before or after a beat come on it (decisions/0010); False leaves their
            timing to the model.
        sampling: how codes are drawn; None takes the model's own.
    """

    piece_s: float | None = None
    foot_lock: bool = True
    beat_lock: bool = True
    sampling: SamplingSettings | None = None

    def __post_init__(self) -> None:
        for name in ("foot_lock", "beat_lock"):
            if not isinstance(getattr(self, name), bool):
                raise BadInputError(f"{name} is True or False; got {getattr(self, name)!r}.")
        if self.piece_s is not None and not (is_number(self.piece_s) and 0 < self.piece_s <= 60.0):
            raise BadInputError(f"piece_s is a number of seconds above 0, at most 60; got {self.piece_s!r}.")


@dataclass(frozen=True, eq=False)
class DanceChunk:
    """The frames of one piece of music.

    Attributes:
        first_frame: number of its first frame; frame k belongs to the sound at k / 30 s.
        genre: what was danced; None where none was named.
        codes: `[L, K]`, the token steps.
        features: `[T, 272]` motion272 features (metres, not normalised), as the tokenizer decoded them.
        motion: the same frames in the world, 30 fps, continued from the frames before, on the floor and with their
            feet locked (unless the options say not to).
    """

    first_frame: int
    genre: str | None
    codes: Int[Tensor, "l k"]
    features: Float[Tensor, "t 272"]
    motion: Motion


class DanceSession:
    """All state of one dance to one song, played from a file or live; what it holds does not grow with the song.

    Frame k comes out at latest when the sound up to k / 30 s + `look_ahead_s` was pushed. The same sound, seed,
    references and genres at the same song times give the same motion, however the sound is cut into chunks. Unlike
    `Session` it can't be rewound or saved: the resampler's state lies where nobody can read it. To go on later, push
    the sound again.

    Args:
        model: a music-to-dance model on motion272 with a causal tokenizer and kinestream's own music features.
        rate_hz: samples a second of the sound.
        genre: one of the model's genres; None leaves it to the music.
        seed: decides among the dances that suit the music.
        references: where reference dances come from; None dances without.
        options: how the dance is made.
        mode: "exact" or "fast", as of `DanceEngine`.
        engine: what dances; None makes one of this model and mode, for this dance alone. See `DanceEngine.session`.

    Raises:
        BadInputError: a model that can't stream, an unknown genre or mode, or options that the model can't follow.
        MissingExtraError: fast mode without the extra `fast`, on a processor without AVX-512 VNNI.
    """

    def __init__(
        self,
        model: MusicToDanceModel,
        rate_hz: int,
        *,
        genre: str | None = None,
        seed: int = 0,
        references: ReferenceSource | None = None,
        options: DanceOptions | None = None,
        mode: Mode = "exact",
        engine: DanceEngine | None = None,
    ) -> None:
        if not is_whole(seed) or not 0 <= seed < 2**63:
            raise BadInputError(f"A seed is a whole number from 0 to 2^63 - 1; got {seed!r}.")
        model.genre_index(genre)
        self.engine = DanceEngine(model, mode=mode) if engine is None else engine
        self.model = model = self.engine.model
        self.options = DanceOptions() if options is None else options
        self.making: Making | None = None
        # What is heard is analysed while the dance goes on.
        self._hearing, self._lock = threading.RLock(), threading.RLock()
        self._step_frames = model.tokenizer.config.frames_per_step
        self._piece_steps = _piece_steps(model, self.options)
        self._piece_frames = self._piece_steps * self._step_frames
        self._references = references if model.llama.config.uses_references else None
        self._music = MusicStream(rate_hz)
        self._rate_hz = int(rate_hz)
        self._rows: list[Tensor] = []
        self._waiting = 0
        self._heard = torch.zeros(0, MUSIC_WIDTH)
        self._genres: list[tuple[int, str | None]] = [(0, genre)]
        self._generator = torch.Generator().manual_seed(seed)
        self._context: DanceContext | None = None
        device = next(model.llama.parameters()).device
        self._device = device
        self._decoder: DecoderStates = model.tokenizer.decoder.init_state(1, device=device)
        self._root: RootState = initial_root()
        self._feet: FootLockState | None = initial_feet() if self.options.foot_lock else None
        self._steps = 0
        self._num_frames = 0
        self._finished = self._sounding = False

    # What is asked of the dance.

    def push(self, samples: NDArray[Any]) -> list[DanceChunk]:
        """Take the next sound, `[N]` or `[N, C]` floats; give the pieces of dance that it completes, often none.

        Raises:
            BadInputError: other shapes, NaN, or the dance is finished. What was danced before stays as it is.
        """
        sound = mono_sound(samples)
        chunks, size = [], self._rate_hz * _BLOCK_S
        with self._hearing:
            for first in range(0, max(1, len(sound)), size):
                self.hear(sound[first : first + size])
                chunks += self._danced()
        return chunks

    def push_features(self, music: Float[Tensor, "t m"]) -> list[DanceChunk]:
        """Take music that is analysed already, in place of sound: rows of `MusicStream`, as data sets hold them.

        Raises:
            BadInputError: other shapes, NaN, sound was pushed before, or the dance is finished. It stays as it was.
        """
        rows = analysed_music(music)
        chunks, size = [], MAX_WAITING_S * FEATURE_HZ
        with self._hearing:
            for first in range(0, max(1, len(rows)), size):
                self.hear_features(rows[first : first + size])
                chunks += self._danced()
        return chunks

    def finish(self) -> list[DanceChunk]:
        """The music is over: give the frames that remain. The dance then has a frame for each begun 1/30 s of sound.

        Raises:
            BadInputError: it is finished already, or nothing was pushed.
        """
        with self._hearing:
            self.end()
            return self._danced()

    # The same where an engine dances, which gives the pieces: nothing of this waits for a dance.

    def hear(self, samples: NDArray[Any]) -> None:
        """Take the next sound as `push` does, for `DanceEngine.step` to dance to.

        Raises:
            BadInputError: what `push` raises, or an hour of music waits already.
        """
        sound = mono_sound(samples)
        with self._hearing:
            self._check_open()
            if self._num_frames + self._waiting and not self._sounding:
                raise BadInputError("The dance follows music features; push either sound or features.")
            self._sounding = True
            self._take(self._music.push(sound))
            del self._music.beats[:-_KEPT_BEATS]

    def hear_features(self, music: Float[Tensor, "t m"]) -> None:
        """Take analysed music as `push_features` does, for `DanceEngine.step` to dance to.

        Raises:
            BadInputError: what `push_features` raises, or an hour of music waits already.
        """
        rows = analysed_music(music)
        with self._hearing:
            self._check_open()
            if self._sounding:
                raise BadInputError("The dance hears sound already; push either sound or features.")
            self._take(rows)

    def end(self) -> None:
        """The music is over, as `finish` says it, for `DanceEngine.step` to dance to what remains.

        Raises:
            BadInputError: what `finish` raises.
        """
        with self._hearing:
            if self._finished:
                raise BadInputError("The dance is finished already.")
            rest = self._music.finish()
            with self._lock:
                self._take(rest)
                self._finished = True
                if not self._num_frames + self._waiting:
                    raise BadInputError("There is no music to dance to: not one sample was pushed.")

    def change_genre(self, genre: str | None, at_s: float | None = None) -> None:
        """Dance another genre (None: what the music suggests) from the first piece on that begins at or after `at_s`.

        at_s: seconds of the song; None, or a time that is danced already, for the next piece.

        Raises:
            BadInputError: the model doesn't know the genre, the time is none, or more than a thousand changes wait.
        """
        self.model.genre_index(genre)
        if at_s is not None and not (is_number(at_s) and at_s >= 0):
            raise BadInputError(f"at_s is a time of the song in seconds; got {at_s!r}.")
        with self._lock:
            if len(self._genres) > MAX_GENRE_CHANGES:
                raise BadInputError(f"At most {MAX_GENRE_CHANGES} changes of genre can wait.")
            frame = 0 if at_s is None else math.ceil(at_s * FEATURE_HZ - 1e-6)
            frame = max(frame, self._steps * self._step_frames)
            self._genres = [*(change for change in self._genres if change[0] <= frame), (frame, genre)] + [
                change for change in self._genres if change[0] > frame
            ]

    # Where it stands.

    @property
    def look_ahead_s(self) -> float:
        """How much later than a frame's own moment the sound is that its coming out waits for, at most."""
        return LOOK_AHEAD_S + self._piece_frames / FEATURE_HZ

    @property
    def num_frames(self) -> int:
        """Frames danced so far."""
        return self._num_frames

    @property
    def genre(self) -> str | None:
        """The genre of the next piece."""
        with self._lock:
            return self._genre()

    @property
    def finished(self) -> bool:
        """Whether the music is over."""
        return self._finished

    @property
    def ready(self) -> bool:
        """Whether a step goes on with the dance: a piece is being made, or there is music for one."""
        with self._lock:
            enough = self._waiting >= self._piece_frames or (self._finished and self._waiting > 0)
            return enough or self.making is not None

    # How it is done.

    def _check_open(self) -> None:
        if self._finished:
            raise BadInputError("The dance is finished; begin a new session for more music.")
        if self._waiting > MAX_WAITING_S * FEATURE_HZ:
            raise BadInputError("An hour of music waits to be danced to; step the dance before it hears more.")

    def _take(self, rows: Tensor) -> None:
        with self._lock:
            self._rows.append(rows)
            self._waiting += len(rows)

    def _danced(self) -> list[DanceChunk]:
        chunks = []
        while self.ready:
            (chunk,) = self.engine.step([self])
            if chunk is not None:
                chunks.append(chunk)
        return chunks

    def next_piece(self) -> Generator[Drawing, None, DanceChunk]:
        """Dance the next piece, for the engine: gives a window to be drawn, once or more, and at last the frames.

        At the music's end its last frame is held up to a whole token step; only real frames are given. Nothing of the
        session changes before the end.
        """
        with self._lock:
            music = torch.cat(self._rows)
            self._rows, genre = [music], self._genre()
        music = music[: self._piece_frames]
        frames = len(music)
        music = torch.cat((music, music[-1:].expand(-frames % self._step_frames, -1)))
        model, generator = self.model, torch.Generator()
        generator.set_state(self._generator.get_state())
        window = torch.cat((self._heard, music))
        carried = len(self._heard) // self._step_frames
        found = self._references.find(self._steps - carried, window, genre) if self._references is not None else None
        if found is not None:
            present = None if found.present is None else found.present.to(self._device)
            found = References(found.frames.to(self._device), present)
        overlap = model.llama.config.window_steps - self._piece_steps
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
                overlap_steps=overlap,
            )

        def tries() -> Iterator[Piece]:
            piece = begun(self._context, found)
            yield piece
            for heat in _LIVELIER:
                yield piece.again(SamplingSettings(heat, model.tokenizer.config.num_codes, _LIVELIER_TOP_P))
            # At last without the history that it rests in; references would begin with that history.
            yield begun(None, None)

        for piece in tries():
            yield piece.drawings[0]
            codes, context = piece.result()
            decoded, decoder = model.tokenizer.decoder.step(model.tokenizer.embed(codes), self._decoder)
            features = model.statistics.denormalize(decoded)[0, :frames].float().cpu()
            if settings.temperature == 0.0 or not _stands_still(features, music[:frames]):
                break
        motion, root, feet = self._posed(features, music[:frames])
        chunk = DanceChunk(self._num_frames, genre, codes[0].cpu(), features, motion)
        self._context, self._decoder, self._root, self._feet = context, decoder, root, feet
        self._heard = window[len(window) - context.codes.shape[1] * self._step_frames :].clone()
        self._generator = generator
        with self._lock:
            rows = torch.cat(self._rows)
            self._rows, self._waiting = [rows[frames:]], len(rows) - frames
            self._steps += codes.shape[1]
            self._num_frames += frames
        return chunk

    def _posed(self, features: Tensor, music: Tensor) -> tuple[Motion, RootState, FootLockState | None]:
        if self.options.beat_lock:
            return beat_locked_chunk(features, self._root, self._feet, beats_in(music))
        if self._feet is None:
            return *motion_chunk(features, self._root), None
        return locked_chunk(features, self._root, self._feet)

    def _genre(self) -> str | None:
        """The genre of the next piece; changes that are over are forgotten."""
        now = self._steps * self._step_frames
        begun = [change for change in self._genres if change[0] <= now]
        self._genres = [begun[-1], *(change for change in self._genres if change[0] > now)]
        return begun[-1][1]


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
