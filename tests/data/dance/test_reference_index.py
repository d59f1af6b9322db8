"""The index of reference dances: exact search, own recordings left out, whole files, stale and damaged ones refused."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file

from kinestream.data.dance.reference_index import ReferenceIndex
from kinestream.data.dance.windows import DanceWindow
from kinestream.errors import BadInputError, KinestreamError, MissingExtraError

pytest.importorskip("faiss", reason="needs the extra `dance`: faiss-cpu")

WINDOWS = [
    DanceWindow(f"clip{place % 4}", f"song{place % 4 // 2}", ("waltz", "tango")[place % 2], 20 * (place // 4), 40)
    for place in range(24)
]


@pytest.fixture(scope="module")
def embeddings() -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(24, 8, generator=torch.Generator().manual_seed(5)), dim=-1)


@pytest.fixture(scope="module")
def index(embeddings: torch.Tensor) -> ReferenceIndex:
    return ReferenceIndex.build(embeddings, WINDOWS, "network-a")


def test_search_gives_the_nearest_best_first(index: ReferenceIndex, embeddings: torch.Tensor) -> None:
    query = torch.nn.functional.normalize(torch.randn(2, 8), dim=-1)
    expected = (query @ embeddings.T).topk(5)
    for row, matches in enumerate(index.search(query, 5)):
        assert [match.window for match in matches] == [WINDOWS[place] for place in expected.indices[row]]
        torch.testing.assert_close(torch.tensor([m.similarity for m in matches]), expected.values[row])


def test_the_querys_own_recording_is_not_found(index: ReferenceIndex, embeddings: torch.Tensor) -> None:
    own = [window.recording for window in WINDOWS[:6]]
    for recording, matches in zip(own, index.search(embeddings[:6], 24, without=own), strict=True):
        assert len(matches) == 12
        assert all(match.window.recording != recording for match in matches)
    free = index.search(embeddings[:6], 1, without=[None] * 6)
    assert [matches[0].window for matches in free] == WINDOWS[:6]


def test_a_genre_narrows_the_search(index: ReferenceIndex, embeddings: torch.Tensor) -> None:
    (matches,) = index.search(embeddings[:1], 30, genre="tango")
    assert {match.window.genre for match in matches} == {"tango"}
    with pytest.raises(BadInputError, match="known: tango, waltz"):
        index.search(embeddings[:1], 3, genre="polka")


def test_a_saved_index_finds_the_same(index: ReferenceIndex, embeddings: torch.Tensor, tmp_path: Path) -> None:
    path = tmp_path / "references.safetensors"
    index.save(path)
    loaded = ReferenceIndex.load(path, "network-a")
    assert loaded.windows == index.windows
    assert loaded.search(embeddings[:4], 6) == index.search(embeddings[:4], 6)
    assert [file.name for file in tmp_path.iterdir()] == ["references.safetensors"]


def test_contents_come_back_by_window(embeddings: torch.Tensor, tmp_path: Path) -> None:
    codes = {f"clip{clip}": torch.arange(36).view(36, 1) + 100 * clip for clip in range(4)}
    index = ReferenceIndex.build(embeddings, WINDOWS, "network-a", contents=codes, frames_per_row=4)
    index.save(tmp_path / "r.safetensors")
    window = WINDOWS[9]  # clip1 from frame 40
    found = ReferenceIndex.load(tmp_path / "r.safetensors").content(window)
    assert found.flatten().tolist() == list(range(110, 120))
    with pytest.raises(BadInputError, match="don't cover"):
        ReferenceIndex.build(embeddings, WINDOWS, "a", contents={"clip0": codes["clip0"]}, frames_per_row=4)


def test_an_index_without_contents_says_so(index: ReferenceIndex) -> None:
    with pytest.raises(BadInputError, match="holds no contents of 'clip0'"):
        index.content(WINDOWS[0])


def test_an_index_of_another_network_is_refused(index: ReferenceIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "r.safetensors")
    with pytest.raises(BadInputError, match="another retrieval network"):
        ReferenceIndex.load(tmp_path / "r.safetensors", "network-b")


def test_a_failed_save_leaves_the_old_file(
    index: ReferenceIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.safetensors"
    index.save(path)
    before = path.read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kinestream.data.dance.reference_index.save_file", full)
    with pytest.raises(KinestreamError, match="No space left"):
        index.save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", ["cut", "version", "vectors", "table", "other", "missing"])
def test_damaged_and_foreign_files_are_refused(index: ReferenceIndex, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "r.safetensors"
    index.save(path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["index"])
    tensors = load_file(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "missing":
        path.unlink()
    elif damage == "other":
        save_file({"weights": torch.ones(3)}, path)
    else:
        if damage == "version":
            header["version"] = 99
        if damage == "vectors":
            tensors["faiss"][-5] ^= 255
        if damage == "table":
            tensors["windows"][3, 0] = 77
        save_file(tensors, path, metadata={"index": json.dumps(header)})
    with pytest.raises(BadInputError, match="index"):
        ReferenceIndex.load(path)


def test_bad_use_is_refused(index: ReferenceIndex, embeddings: torch.Tensor) -> None:
    with pytest.raises(BadInputError, match="k = 0"):
        index.search(embeddings[:1], 0)
    with pytest.raises(BadInputError, match=r"queries \[N, 8\]"):
        index.search(torch.zeros(1, 9), 1)
    with pytest.raises(BadInputError, match="for each of 2 queries"):
        index.search(embeddings[:2], 1, without=[None])
    with pytest.raises(BadInputError, match="unit length"):
        ReferenceIndex.build(2.0 * embeddings, WINDOWS, "a")
    with pytest.raises(BadInputError, match="one embedding a window"):
        ReferenceIndex.build(embeddings[:3], WINDOWS, "a")


def test_a_missing_faiss_names_its_extra(
    index: ReferenceIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without_faiss(name: str, *rest: Any, **named: Any) -> Any:
        if name == "faiss":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without_faiss)
    with pytest.raises(MissingExtraError, match=r"kinestream\[dance\]"):
        index.save(tmp_path / "r.safetensors")
