"""Reference dances for a song: named by the user, or found by the music in a library beside the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.checkpoints.dance import MusicToDanceModel
from kinestream.checkpoints.retrieval import MusicDanceRetrieval, load_retrieval, save_retrieval
from kinestream.data.dance.reference_index import Match, ReferenceIndex
from kinestream.data.dance.windows import DanceClips
from kinestream.data.prepare import checked_features, smpl22_motion
from kinestream.errors import BadInputError
from kinestream.features import MOTION272
from kinestream.models.choreo_llama import References, named_references
from kinestream.motion import Motion
from kinestream.streaming.frames import standing_still

RETRIEVAL_FOLDER = "retrieval"
LIBRARY_FILE = "references.safetensors"
# Frames between the windows of a library; whole token steps, so that each window's codes are the clip's.
LIBRARY_HOP = 32
# Token steps that are decoded before a window, so that the decoder has seen what went before.
_WARM_UP = 16


class NamedReferences:
    """Dances that the user named, the first counting most; each plays along with the song, over and over.

    Raises BadInputError for none, more than the model takes, or motions that can't be brought to SMPL-22 at 30 fps.
    """

    def __init__(self, model: MusicToDanceModel, dances: Sequence[Motion]) -> None:
        config = model.llama.config
        if not config.uses_references:
            raise BadInputError("This model reads no reference dances; leave them out.")
        if not 1 <= len(dances) <= config.num_references:
            raise BadInputError(f"The model takes 1 to {config.num_references} reference dances, got {len(dances)}.")
        features = [_features(dance, number) for number, dance in enumerate(dances, start=1)]
        self._step_frames = model.tokenizer.config.frames_per_step
        normalised = [model.statistics.normalize(each) for each in features]
        self._find = named_references(normalised, 1, self._step_frames)

    def find(self, first_step: int, music: Float[Tensor, "t m"], genre: str | None) -> References | None:
        """The same dances for every window, where they are by then."""
        return self._find(first_step, len(music) // self._step_frames)


class RetrievedReferences:
    """The library's dances that suit a window of music best, of the genre asked for where the library has it.

    Raises BadInputError where network, library and model don't belong together.
    """

    def __init__(self, model: MusicToDanceModel, retrieval: MusicDanceRetrieval, library: ReferenceIndex) -> None:
        tokens = model.tokenizer.config
        if library.fingerprint != retrieval.fingerprint:
            raise BadInputError("The reference library was made with another retrieval network; make it again.")
        if retrieval.music_width != model.llama.config.music_dim:
            raise BadInputError("The retrieval network reads other music features than the model.")
        coded = [value for value in library.contents.values() if value.ndim == 2 and not value.is_floating_point()]
        if len(coded) != len(library.contents) or not coded or library.frames_per_row != tokens.frames_per_step:
            raise BadInputError("The reference library holds no codes of this model's tokenizer; make it again.")
        if any(value.shape[1] != tokens.num_codebooks or _beyond(value, tokens.num_codes) for value in coded):
            raise BadInputError("The reference library's codes are of another tokenizer; make it again.")
        self._model, self._retrieval, self._library = model, retrieval, library
        self._genres = {window.genre for window in library.windows} - {""}

    @classmethod
    def beside(cls, folder: str | Path, model: MusicToDanceModel) -> RetrievedReferences | None:
        """From what `save_library` put into the model's folder; None where nothing is or the model reads none.

        Raises BadInputError where it is damaged, MissingExtraError without the extra `dance`.
        """
        where = Path(folder)
        if not model.llama.config.uses_references or not (where / LIBRARY_FILE).exists():
            return None
        retrieval = load_retrieval(where / RETRIEVAL_FOLDER)
        return cls(model, retrieval, ReferenceIndex.load(where / LIBRARY_FILE, fingerprint=retrieval.fingerprint))

    def find(self, first_step: int, music: Float[Tensor, "t m"], genre: str | None) -> References | None:
        """Search with the beginning of the window's music, as in training; the dances then go on as long as it."""
        query = music[: self._retrieval.window_frames]
        wanted = genre if genre in self._genres else None
        count = self._model.llama.config.num_references
        (matches,) = self._retrieval.search(self._library, [query], count, genre=wanted)
        return References(torch.stack([self._shown(match, len(music)) for match in matches])[None])

    @torch.no_grad()
    def _shown(self, match: Match, frames: int) -> Float[Tensor, "t d"]:
        """Normalised features from the match's first frame on; where its clip ends before, the last pose is held."""
        tokenizer, statistics = self._model.tokenizer, self._model.statistics
        step = tokenizer.config.frames_per_step
        first = match.window.start // step
        begin = max(0, first - _WARM_UP)
        codes = self._library.contents[match.window.clip][begin : first - -frames // step].long()
        device = tokenizer.codebooks.device
        shown = tokenizer.decode(codes[None].to(device))[0].cpu()[(first - begin) * step :][:frames]
        if len(shown) == frames:
            return shown
        last = statistics.normalize(standing_still(statistics.denormalize(shown[-1:])))
        return torch.cat((shown, last.expand(frames - len(shown), -1)))


@torch.no_grad()
def build_library(model: MusicToDanceModel, retrieval: MusicDanceRetrieval, clips: DanceClips) -> ReferenceIndex:
    """Index the windows of dances with their codes inside, so that the recordings need not be at hand.

    An hour of dances takes less than a megabyte beside its embeddings. Raises BadInputError for models on another
    layout than motion272, MissingExtraError without faiss.
    """
    if model.layout != MOTION272.name or retrieval.layout != MOTION272.name:
        raise BadInputError(f"a library is made of {MOTION272.name}, got {model.layout} and {retrieval.layout}")
    step, contents = model.tokenizer.config.frames_per_step, {}
    if LIBRARY_HOP % step:
        raise BadInputError(f"windows {LIBRARY_HOP} frames apart need token steps that divide it, got {step} frames")
    for place, clip in enumerate(clips.clips):
        features = clips.dance(place, 0, clip.frames)
        held = standing_still(features[-1:]).expand(-len(features) % step, -1)
        contents[clip.name] = model.encode(torch.cat((features, held))[None])[0].to(torch.int16)
    return retrieval.build_index(clips, hop=LIBRARY_HOP, contents=contents, frames_per_row=step)


def save_library(folder: str | Path, retrieval: MusicDanceRetrieval, library: ReferenceIndex) -> None:
    """Put a retrieval network and its library into the folder of a music-to-dance model, beside what is there."""
    where = Path(folder)
    save_retrieval(where / RETRIEVAL_FOLDER, retrieval)
    library.save(where / LIBRARY_FILE)


def _features(dance: Motion, number: int) -> Tensor:
    try:
        return checked_features(smpl22_motion(dance))
    except BadInputError as error:
        raise BadInputError(f"reference dance {number} ({dance.name or 'unnamed'}): {error}") from None


def _beyond(codes: Tensor, num_codes: int) -> bool:
    return bool((codes < 0).any() or (codes >= num_codes).any())
