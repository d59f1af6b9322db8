"""One listener's dance: sound goes in as it comes, a piece of motion comes out for every piece of music."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from kinestream.checkpoints.dance import MusicToDanceModel
from kinestream.conditioning.music import FEATURE_HZ, LOOK_AHEAD_S, MUSIC_SLICES, MUSIC_WIDTH, MusicStream, beats_in
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, RootState
from kinestream.features.recovery import world_joints_from_rotations
from kinestream.inference import Mode, fast_dance
from kinestream.metrics import still_seconds
from kinestream.models.choreo_llama import DanceContext, References, SamplingSettings, extend_dance
from kinestream.models.rvq_vae.model import DecoderStates
from kinestream.motion import Motion
from kinestream.streaming.footlock import FootLockState
from kinestream.streaming.frames import beat_locked_chunk, initial_feet, initial_root, locked_chunk, motion_chunk
from kinestream.streaming.session import is_whole

MUSIC_FEATURES = "kinestream-30hz"
MAX_GENRE_CHANGES = 1_000
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
        if self.piece_s is not None and not (_is_number(self.piece_s) and 0 < self.piece_s <= 60.0):
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
        mode: "exact" runs the networks as they were trained; "fast" runs the LLaMA compiled, with int8 weights, on the
            CPU. It is compiled once for a model, or before (`inference.fast_dance`), so that the weights can be let go.

    Raises:
        BadInputError: a model that can't stream, an unknown genre or mode, or options that the model can't follow.
        MissingExtraError: fast mode without the extra `fast`.
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
    ) -> None:
        check_streams(model)
        if mode not in ("exact", "fast"):
            raise BadInputError(f'A dance\'s mode is "exact" or "fast"; got {mode!r}.')
        if not is_whole(seed) or not 0 <= seed < 2**63:
            raise BadInputError(f"A seed is a whole number from 0 to 2^63 - 1; got {seed!r}.")
        model.genre_index(genre)
        self.model = model = fast_dance(model) if mode == "fast" else model
        self.options = DanceOptions() if options is None else options
        self.lock = threading.RLock()
        self._step_frames = model.tokenizer.config.frames_per_step
        self._piece_steps = _piece_steps(model, self.options)
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
        sound = _mono(samples)
        with self.lock:
            if self._finished:
                raise BadInputError("The dance is finished; begin a new session for more music.")
            if self._num_frames + self._waiting and not self._sounding:
                raise BadInputError("The dance follows music features; push either sound or features.")
            self._sounding = True
            chunks, size = [], self._rate_hz * _BLOCK_S
            for first in range(0, len(sound), size):
                self._take(self._music.push(sound[first : first + size]))
                del self._music.beats[:-_KEPT_BEATS]
                chunks += self._danced()
            return chunks

    def push_features(self, music: Float[Tensor, "t m"]) -> list[DanceChunk]:
        """Take music that is analysed already, in place of sound: rows of `MusicStream`, as data sets hold them.

        Raises:
            BadInputError: other shapes, NaN, sound was pushed before, or the dance is finished. It stays as it was.
        """
        rows = torch.as_tensor(music)
        if rows.ndim != 2 or rows.shape[1] != MUSIC_WIDTH or not rows.is_floating_point():
            raise BadInputError(
                f"Expected music features [T, {MUSIC_WIDTH}] as floats, got {rows.dtype} {tuple(rows.shape)}."
            )
        if not bool(torch.isfinite(rows).all()):
            raise BadInputError("The music features hold NaN or infinity.")
        with self.lock:
            if self._finished:
                raise BadInputError("The dance is finished; begin a new session for more music.")
            if self._sounding:
                raise BadInputError("The dance hears sound already; push either sound or features.")
            self._take(rows.float().cpu())
            return self._danced()

    def finish(self) -> list[DanceChunk]:
        """The music is over: give the frames that remain. The dance then has a frame for each begun 1/30 s of sound.

        Raises:
            BadInputError: it is finished already, or nothing was pushed.
        """
        with self.lock:
            if self._finished:
                raise BadInputError("The dance is finished already.")
            self._finished = True
            self._take(self._music.finish())
            chunks = self._danced()
            if self._waiting:
                chunks.append(self._last())
            if not self._num_frames:
                raise BadInputError("There is no music to dance to: not one sample was pushed.")
            return chunks

    def change_genre(self, genre: str | None, at_s: float | None = None) -> None:
        """Dance another genre (None: what the music suggests) from the first piece on that begins at or after `at_s`.

        at_s: seconds of the song; None, or a time that is danced already, for the next piece.

        Raises:
            BadInputError: the model doesn't know the genre, the time is none, or more than a thousand changes wait.
        """
        self.model.genre_index(genre)
        if at_s is not None and not (_is_number(at_s) and at_s >= 0):
            raise BadInputError(f"at_s is a time of the song in seconds; got {at_s!r}.")
        with self.lock:
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
        return LOOK_AHEAD_S + self._piece_steps * self._step_frames / FEATURE_HZ

    @property
    def num_frames(self) -> int:
        """Frames danced so far."""
        return self._num_frames

    @property
    def genre(self) -> str | None:
        """The genre of the next piece."""
        with self.lock:
            return self._genre()

    @property
    def finished(self) -> bool:
        """Whether `finish` was called."""
        return self._finished

    # How it is done.

    def _take(self, rows: Tensor) -> None:
        self._rows.append(rows)
        self._waiting += len(rows)

    def _danced(self) -> list[DanceChunk]:
        piece = self._piece_steps * self._step_frames
        chunks = []
        while self._waiting >= piece:
            music = torch.cat(self._rows)
            self._rows, self._waiting = [music[piece:]], len(music) - piece
            chunks.append(self._dance(music[:piece], piece))
        return chunks

    def _last(self) -> DanceChunk:
        """The rest of the music, its last frame held up to a whole token step; only real frames are given."""
        music = torch.cat(self._rows)
        self._rows, self._waiting = [], 0
        held = music[-1:].expand(-len(music) % self._step_frames, -1)
        return self._dance(torch.cat((music, held)), len(music))

    @torch.no_grad()
    def _dance(self, music: Float[Tensor, "t m"], frames: int) -> DanceChunk:
        """Draw the codes of the next piece and pose its first `frames` frames."""
        model, genre = self.model, self._genre()
        window = torch.cat((self._heard, music))
        carried = len(self._heard) // self._step_frames
        found = self._references.find(self._steps - carried, window, genre) if self._references is not None else None
        if found is not None:
            present = None if found.present is None else found.present.to(self._device)
            found = References(found.frames.to(self._device), present)
        overlap = model.llama.config.window_steps - self._piece_steps
        settings = self.options.sampling or model.sampling
        livelier = [SamplingSettings(heat, model.tokenizer.config.num_codes, _LIVELIER_TOP_P) for heat in _LIVELIER]
        before = [(one, self._context, found) for one in (settings, *livelier)]
        # At last without the history that it rests in; references would begin with that history.
        for drawn_with, known, references in (*before, (settings, None, None)):
            codes, context = extend_dance(
                model.llama,
                model.music_statistics.normalize(music).to(self._device)[None],
                torch.tensor([model.genre_index(genre)], device=self._device),
                known,
                references=references,
                settings=drawn_with,
                generator=self._generator,
                overlap_steps=overlap,
            )
            decoded, decoder = model.tokenizer.decoder.step(model.tokenizer.embed(codes), self._decoder)
            features = model.statistics.denormalize(decoded)[0, :frames].float().cpu()
            if settings.temperature == 0.0 or not _stands_still(features, music[:frames]):
                break
        motion, root, feet = self._posed(features, music[:frames])
        chunk = DanceChunk(self._num_frames, genre, codes[0].cpu(), features, motion)
        self._context, self._decoder, self._root, self._feet = context, decoder, root, feet
        self._heard = window[len(window) - context.codes.shape[1] * self._step_frames :].clone()
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


def _piece_steps(model: MusicToDanceModel, options: DanceOptions) -> int:
    window = model.llama.config.window_steps
    if options.piece_s is None:
        return max(1, window // 2)
    steps = max(1, round(options.piece_s * FEATURE_HZ / model.tokenizer.config.frames_per_step))
    if steps >= window:
        longest = (window - 1) * model.tokenizer.config.frames_per_step / FEATURE_HZ
        raise BadInputError(f"piece_s is at most {longest:.2f} s for this model; got {options.piece_s:g}.")
    return steps


def _mono(samples: NDArray[Any] | Sequence[float]) -> NDArray[np.float32]:
    sound = np.asarray(samples)
    if sound.dtype.kind != "f" or sound.ndim not in (1, 2) or (sound.ndim == 2 and not 1 <= sound.shape[1] <= 64):
        raise BadInputError(f"Expected floats [N] or [N, channels], got {sound.dtype} {sound.shape}.")
    mono = sound.astype(np.float32) if sound.ndim == 1 else sound.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise BadInputError("The samples hold NaN or infinity.")
    return mono


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
