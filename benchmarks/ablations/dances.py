"""ChoreoLLaMAs that are compared: trained alike on one tokenizer's codes, then asked to dance to songs not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from benchmarks.ablations.recipes import Variant
from benchmarks.ablations.store import Measured
from benchmarks.ablations.training import WeightsAlone, task_settings, trained
from kinestream.checkpoints.dance import MusicToDanceModel
from kinestream.checkpoints.retrieval import MusicDanceRetrieval
from kinestream.data.dance.reference_index import ReferenceIndex
from kinestream.data.dance.windows import MUSIC_FOLDER, DanceClips
from kinestream.errors import BadInputError
from kinestream.evaluation.dance.sets import dance_features
from kinestream.evaluation.findings import random_halves
from kinestream.evaluation.plausibility import TOES, shown_joints
from kinestream.features import MOTION272
from kinestream.metrics import (
    beat_alignment_control,
    feature_scores,
    foot_skating_ratio,
    frechet_distance,
    jitter_mps3,
    mean_pairwise_distance,
    motion_beats,
    repeat_generators,
    standardized,
)
from kinestream.models.choreo_llama import References, generate_codes
from kinestream.training.config import TrainConfig
from kinestream.training.dance.choreo_llama import ChoreoLlamaTask, ChoreoLlamaTaskConfig
from kinestream.training.dance.codes import SEARCH_HOP, ReferenceDances
from kinestream.training.motion_layouts import motion_layout

WINDOW = 240
LONG_WINDOWS = ((240, 480), (960, 1200))
LONG_ROWS = ("generated, 8 to 24 s", "generated, 32 to 48 s", "real, 8 to 24 s", "real, 32 to 48 s")
COPYING_ROWS = (
    "retrieved to retrieved",
    "generated to retrieved",
    "generated to its song's real dance",
    "generated to all real",
    "real to all real",
)
FPS = MOTION272.fps


class DanceTask(WeightsAlone, ChoreoLlamaTask):
    """The recipe without validation on the way; weights alone are kept."""


def train(variant: Variant, config: TrainConfig, folder: Path) -> MusicToDanceModel:
    """The trained model of a folder, training what is missing of it."""
    settings = task_settings(config, ChoreoLlamaTaskConfig)
    task = DanceTask(config.model, settings, config.data, config.loop.seed)
    return trained(task, config.loop, folder, variant).bundle({})


class Place(NamedTuple):
    """Frames `start` to `start + frames` of a clip of the test songs."""

    clip: int
    start: int
    frames: int


@dataclass(frozen=True, eq=False)
class Library:
    """Training dances that references come from, and the network that finds them."""

    retrieval: MusicDanceRetrieval
    index: ReferenceIndex
    gallery: DanceClips

    @classmethod
    def of(cls, retrieval: MusicDanceRetrieval, gallery: DanceClips) -> Library:
        """Index the gallery once."""
        return cls(retrieval, retrieval.build_index(gallery, hop=SEARCH_HOP), gallery)

    def references(self, model: MusicToDanceModel, songs: DanceClips, count: int, first_rank: int) -> ReferenceDances:
        """References of every second of the songs, from a rank on (0: the best)."""
        return ReferenceDances(
            self.retrieval, songs, self.gallery, motion_layout(model.layout), model.statistics,
            count=count, first_rank=first_rank, index=self.index,
        )  # fmt: skip


class Dance(NamedTuple):
    """One window of a dance: features [T, 272] and world joints [T, J, 3]."""

    features: Tensor
    joints_m: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Dance:
        """Pose the body as the rotations say."""
        return cls(features, shown_joints(features))


@dataclass(frozen=True, eq=False)
class DanceTest:
    """Windows of the test songs, the real dances in them, and the songs' beats."""

    songs: DanceClips
    places: list[Place]
    real: list[Dance]
    beats_s: list[Tensor]

    @classmethod
    def of(cls, root: Path, split: str, frames: int = WINDOW) -> DanceTest:
        """All windows of `frames` frames that lie side by side in recordings that are no mirrored copies."""
        songs = DanceClips.load([root], split, min_frames=frames)
        seen: set[str] = set()
        places, beats = [], []
        for index, clip in enumerate(songs.clips):
            if clip.recording in seen:
                continue
            seen.add(clip.recording)
            for start in range(0, clip.frames - frames + 1, frames):
                places.append(Place(index, start, frames))
                beats.append(_beats(root, clip.name, start, frames))
        if len(places) < 4:
            raise BadInputError(f"{root}: {len(places)} windows of {frames} frames are too few to compare dances on")
        real = [Dance.of(songs.dance(place.clip, place.start, place.start + frames)) for place in places]
        return cls(songs, places, real, beats)

    @property
    def names(self) -> list[str]:
        """The song of each window."""
        return [self.songs.clips[place.clip].recording for place in self.places]

    def measure(
        self, model: MusicToDanceModel, references: ReferenceDances | None, repeats: int, seed: int
    ) -> tuple[Measured, list[Dance]]:
        """Dance to every window, `repeats` times, and measure; gives the first repeat's dances too."""
        made = [
            dance_to(model, self.songs, self.places, references, generator)
            for generator in repeat_generators(seed, repeats)
        ]
        return self.figures(made), made[0]

    def figures(self, made: Sequence[Sequence[Dance]]) -> Measured:
        """FID and diversity by repeat; beats, feet and jitter of every window, means over the repeats."""
        sets: dict[str, list[float]] = {"fid_k": [], "fid_g": [], "div_k": [], "div_g": []}
        clips: dict[str, list[list[float]]] = {}
        kinetic, geometric = spaces(self.real)
        for dances in made:
            for name, ours, real in zip("kg", spaces(dances), (kinetic, geometric), strict=True):
                scores = feature_scores(ours, real)
                sets[f"fid_{name}"].append(float(scores.fid))
                sets[f"div_{name}"].append(float(scores.diversity))
            for name, values in self._of_windows(dances).items():
                clips.setdefault(name, []).append(values)
        return Measured(
            {name: np.mean(values, axis=0).tolist() for name, values in clips.items()}, sets, groups=self.names
        )

    def recordings(self, repeats: int, seed: int) -> Measured:
        """The same figures of the real dances; FID is that of one random half to the other."""
        rows = spaces(self.real)
        sets: dict[str, list[float]] = {}
        for first, second in random_halves(len(self.real), seed, max(2, repeats)):
            for name, real in zip("kg", rows, strict=True):
                own = standardized(real, real)
                distance = frechet_distance(own[first], own[second])
                sets.setdefault(f"fid_{name}", []).append(float(distance))
                sets.setdefault(f"div_{name}", []).append(float(mean_pairwise_distance(own)))
        return Measured(self._of_windows(self.real), sets, groups=self.names)

    def _of_windows(self, dances: Sequence[Dance]) -> dict[str, list[float]]:
        beats = [motion_beats(dance.joints_m, FPS) for dance in dances]
        control = beat_alignment_control(beats, self.beats_s, [p.frames / FPS for p in self.places], songs=self.names)
        return {
            "bas": control.own_scores.tolist(),
            "bas_gain": (control.own_scores - control.other_scores).tolist(),
            "foot_skating_ratio": [float(foot_skating_ratio(one.joints_m[:, list(TOES)], FPS)) for one in dances],
            "jitter_mps3": [float(jitter_mps3(one.joints_m, FPS)) for one in dances],
        }


def spaces(dances: Sequence[Dance]) -> tuple[Tensor, Tensor]:
    """Kinetic and geometric features of dances."""
    found = dance_features(torch.stack([dance.joints_m for dance in dances]))
    return found["k"], found["g"]


@torch.no_grad()
def dance_to(
    model: MusicToDanceModel,
    songs: DanceClips,
    places: Sequence[Place],
    references: ReferenceDances | None,
    generator: torch.Generator,
) -> list[Dance]:
    """A dance for each place (all of one length); no foot is held."""
    music, genres = _asked(model, songs, places)
    frames, step = places[0].frames, model.tokenizer.config.frames_per_step

    def find(first: int, steps: int) -> References:
        assert references is not None
        return _shown(references, places, first * step, steps * step)

    wanted = find if references is not None and model.llama.config.uses_references else None
    codes = generate_codes(
        model.llama, music, genres,
        references=wanted, settings=model.sampling, generator=generator,
    )  # fmt: skip
    return [Dance.of(features[:frames]) for features in model.decode(codes)]


def _asked(model: MusicToDanceModel, songs: DanceClips, places: Sequence[Place]) -> tuple[Tensor, Tensor]:
    """Normalised music [B, T, M] and genres [B] of the places."""
    music = torch.stack([songs.music(p.clip, p.start, p.start + p.frames) for p in places])
    names = {genre: index for index, genre in enumerate(model.genres)}
    genres = torch.tensor([names.get(songs.clips[place.clip].genre, -1) for place in places])
    return model.music_statistics.normalize(music), genres


def _shown(references: ReferenceDances, places: Sequence[Place], first: int, frames: int) -> References:
    """The weighted references of the places, `frames` of them from frame `first` on."""
    found = [references.weighted(p.clip, p.start + first, frames) for p in places]
    shown, there = torch.stack([one for one, _ in found]), torch.tensor([there for _, there in found])
    return References(shown[:, None], there[:, None])


@torch.no_grad()
def code_losses(test: DanceTest, model: MusicToDanceModel, references: ReferenceDances | None) -> Measured:
    """Cross entropy of the real dances' codes in every window, their true past given, in nats a code."""
    music, genres = _asked(model, test.songs, test.places)
    shown = None if references is None else _shown(references, test.places, 0, WINDOW)
    codes = model.encode(torch.stack([dance.features for dance in test.real]))
    conditions = model.llama.conditions(
        music, genres, None if shown is None else shown.frames, None if shown is None else shown.present
    )
    logits = model.llama(conditions, codes)
    losses = functional.cross_entropy(logits.movedim(-1, 1), codes, reduction="none").mean(dim=(1, 2))
    return Measured({"code_loss": losses.tolist()}, groups=test.names)


def copying(
    test: DanceTest,
    generated: Sequence[Dance],
    model: MusicToDanceModel,
    library: Library,
    count: int,
) -> dict[str, Measured]:
    """Distances in kinetic, geometric and joint space between retrieved, generated and real dances (Table 8)."""
    own = [library.references(model, test.songs, 1, rank) for rank in range(count)]
    shown = [
        [Dance.of(model.statistics.denormalize(one.weighted(p.clip, p.start, p.frames)[0])) for p in test.places]
        for one in own
    ]
    kinetic, geometric = spaces(test.real)
    real, ours, *theirs = (_Points.of(dances, kinetic, geometric) for dances in (test.real, generated, *shown))
    pairs = [(a, b) for a in range(count) for b in range(a)]
    others = range(1, len(generated))
    found = {
        "retrieved to retrieved": [theirs[a].apart(theirs[b]) for a, b in pairs],
        "generated to retrieved": [ours.apart(one) for one in theirs],
        "generated to its song's real dance": [ours.apart(real)],
        "generated to all real": [ours.apart(real, by) for by in others],
        "real to all real": [real.apart(real, by) for by in others],
    }
    return {name: _mean_of(distances, test.names) for name, distances in found.items()}


class _Points(NamedTuple):
    """Dances as points: standardised kinetic and geometric features [N, F], joints around the root [N, T, J, 3]."""

    kinetic: Tensor
    geometric: Tensor
    joints_m: Tensor

    @classmethod
    def of(cls, dances: Sequence[Dance], kinetic: Tensor, geometric: Tensor) -> _Points:
        """`kinetic`, `geometric`: features of the real dances, whose deviations are the unit."""
        own = spaces(dances)
        joints = torch.stack([dance.features[:, MOTION272.slices["positions"]] for dance in dances])
        return cls(standardized(own[0], kinetic), standardized(own[1], geometric), joints.unflatten(-1, (-1, 3)))

    def apart(self, other: _Points, by: int = 0) -> dict[str, Float[Tensor, "n"]]:
        """By row, from the row `by` places further in the other: Euclidean, and the mean distance of joints in mm."""
        return {
            "kinetic": (self.kinetic - other.kinetic.roll(-by, 0)).norm(dim=-1),
            "geometric": (self.geometric - other.geometric.roll(-by, 0)).norm(dim=-1),
            "joints_mm": 1000.0 * (self.joints_m - other.joints_m.roll(-by, 0)).norm(dim=-1).mean(dim=(1, 2)),
        }


def _mean_of(distances: Sequence[Mapping[str, Tensor]], groups: list[str]) -> Measured:
    clips = {name: torch.stack([one[name].double() for one in distances]).mean(dim=0).tolist() for name in distances[0]}
    return Measured(clips, groups=groups)


def long_dances(
    test: DanceTest, model: MusicToDanceModel, references: ReferenceDances | None, repeats: int, seed: int
) -> dict[str, Measured]:
    """One dance a song, drawn in one go over 48 s: windows from 8 to 24 s against those from 32 to 48 s (Table 9).

    Equally many windows of the same songs on both sides, so that figures of sets can be compared.
    """
    frames = LONG_WINDOWS[-1][-1] + WINDOW
    chosen = {p.clip for p in test.places if test.songs.clips[p.clip].frames >= frames}
    places = [Place(clip, 0, frames) for clip in sorted(chosen)]
    if len(places) < 2:
        raise BadInputError(f"long dances: expected at least two test songs of {frames} frames, got {len(places)}")
    made = [
        dance_to(model, test.songs, places, references, generator) for generator in repeat_generators(seed, repeats)
    ]
    order = {place.clip: row for row, place in enumerate(places)}
    rows: dict[str, Measured] = {}
    for starts in LONG_WINDOWS:
        keep = [row for row, p in enumerate(test.places) if p.clip in chosen and p.start in starts]
        part = DanceTest(
            test.songs,
            [test.places[row] for row in keep],
            [test.real[row] for row in keep],
            [test.beats_s[row] for row in keep],
        )
        cut = [[_window(dances[order[p.clip]], p.start) for p in part.places] for dances in made]
        name = f"{starts[0] / FPS:.0f} to {(starts[-1] + WINDOW) / FPS:.0f} s"
        rows[f"generated, {name}"] = part.figures(cut)
        rows[f"real, {name}"] = part.recordings(repeats, seed)
    return rows


def _window(dance: Dance, start: int) -> Dance:
    """Joints of a part of a dance, as it stands in the whole."""
    return Dance(dance.features[start : start + WINDOW], dance.joints_m[start : start + WINDOW])


def _beats(root: Path, name: str, start: int, frames: int) -> Tensor:
    with np.load(root / MUSIC_FOLDER / f"{name}.npz", allow_pickle=False) as archive:
        beats = torch.from_numpy(np.asarray(archive["beats_s"], dtype=np.float64))
    first, last = start / FPS, (start + frames) / FPS
    return beats[(beats >= first) & (beats < last)] - first
