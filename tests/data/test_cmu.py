"""CMU's recordings and KIT-ML's captions in a build: labels, rates, trimmed clips, copies at another tempo."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kinestream.data.build import BuildOptions, build
from kinestream.data.layout import read_text_lines
from kinestream.data.sources.cmu import CMU
from kinestream.data.sources.kit_ml import with_kit_ml
from kinestream.errors import BadInputError
from tests.io.asf_amc_files import SMALL_AMC, SMALL_ASF

HEADER = '"Subject","Trial #","Motion Description","framerate","Frames 60fps","Status","Worked on by"\n'
ROWS = (
    '91,1,"games - boxing"',
    '91,2,"walk",60',
    '91,3,"moonwalk, turn",120',
    '91,4,"",120',
    '91,5,"boxing",120,9,"",""',
)
INDEX = HEADER + "".join(f"{row}\n" for row in ROWS)


def write_library(folder: Path, index: str = INDEX) -> Path:
    folder.mkdir(parents=True)
    (folder / "index.csv").write_text(index)
    (folder / "91.asf").write_text(SMALL_ASF)
    for trial in range(1, 6):
        (folder / f"91_0{trial}.amc").write_text(SMALL_AMC)
    return folder


def write_kit_ml(path: Path, duration: float, sentences: list[tuple[str, float, float]], clip: str = "91_02") -> Path:
    annotations = [{"seg_id": "x", "text": text, "start": start, "end": end} for text, start, end in sentences]
    entry = {"path": f"CMU/91/{clip}_poses", "duration": duration, "annotations": annotations}
    other = {"path": "KIT/4/Walk01_poses", "duration": 3.0, "annotations": annotations}
    path.write_text(json.dumps({"1": entry, "2": other}))
    return path


def test_descriptions_become_contents_and_captions(tmp_path: Path) -> None:
    listing = CMU().find(write_library(tmp_path / "cmu"))
    found = {recording.recording_id: recording for recording in listing.recordings}
    assert {key: recording.content for key, recording in found.items()} == {
        "91_02": "walk", "91_03": "cmu-other", "91_05": "punch"
    }  # fmt: skip
    assert found["91_02"].fps == 60.0
    assert found["91_03"].written[0].caption == "moonwalk, turn"
    # Nothing could judge what the grammar does not know, and few recordings are few-shot data.
    assert [found[key].only_train for key in ("91_02", "91_03", "91_05")] == [False, True, True]
    assert {reject.name for reject in listing.rejects} == {"91_01", "91_04"}
    assert CMU().read(found["91_02"]).fps == 60.0


def test_other_folders_and_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"found no index\.csv"):
        CMU().find(tmp_path)
    with pytest.raises(BadInputError, match="line 1: expected the columns Subject"):
        CMU().find(write_library(tmp_path / "cmu", "a,b\n1,2\n"))
    with pytest.raises(BadInputError, match=r"found no SUBJECT_TRIAL\.amc with a line in index\.csv"):
        CMU().find(write_library(tmp_path / "empty", HEADER))


def test_kit_ml_captions_fit_clips_of_their_length_only(tmp_path: Path) -> None:
    recordings = CMU().find(write_library(tmp_path / "cmu")).recordings
    length_s = 2 / 60.0
    sentences = [("A person walks.", 0.0, length_s), ("steps", 0.2, 0.3)]
    found, rejects = with_kit_ml(recordings, write_kit_ml(tmp_path / "kit.json", length_s, sentences))
    written = {recording.recording_id: recording.written for recording in found}["91_02"]
    assert [(caption.caption, caption.start_s, caption.end_s) for caption in written] == [
        ("walk", 0.0, 0.0), ("A person walks.", 0.0, 0.0), ("steps", 0.2, 0.3)
    ]  # fmt: skip
    assert not rejects
    both = write_kit_ml(tmp_path / "both.json", length_s, sentences)
    document = json.loads(both.read_text()) | {"3": {"path": "CMU/91/91_03_poses", "duration": 9.0, "annotations": []}}
    both.write_text(json.dumps(document))
    _, rejects = with_kit_ml(recordings, both)
    assert [(reject.name, "trimmed" in reject.reason) for reject in rejects] == [("KIT-ML 91_03", True)]
    with pytest.raises(BadInputError, match="describes none of the recordings"):
        with_kit_ml(recordings, write_kit_ml(tmp_path / "kit.json", length_s, sentences, "99_01"))
    (tmp_path / "kit.json").write_text("[1, 2]")
    with pytest.raises(BadInputError, match="expected KIT-ML's captions"):
        with_kit_ml(recordings, tmp_path / "kit.json")


def test_kit_ml_needs_cmu(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="give the source cmu too"):
        build({"deepmimic": tmp_path}, tmp_path / "set", BuildOptions(workers=1), kit_ml=tmp_path / "kit.json")


def test_real_clips_build_with_written_and_mirrored_captions(cmu_clips: Path, shared_dir: Path, tmp_path: Path) -> None:
    library = tmp_path / "cmu"
    library.mkdir()
    source = next(cmu_clips.rglob("index.csv")).parent
    for name in ("index.csv", "02.asf", "07.asf", "39.asf", "02_03.amc", "07_08.amc", "39_08.amc"):
        (library / name).symlink_to(source / name)
    options = BuildOptions(captions_per_recording=6, pairs=0, workers=1, tempo_percent=100)
    kit_ml = shared_dir / "data" / "captions" / "kit-ml.json"
    manifest = build({"cmu": library}, tmp_path / "set", options, kit_ml=kit_ml, progress=False)
    assert {clip.name for clip in manifest.clips if not clip.made and not clip.mirrored} == {
        "CMU_02_03", "CMU_07_08", "CMU_39_08"
    }  # fmt: skip
    captions = [line.caption for line in read_text_lines(tmp_path / "set" / "texts" / "CMU_07_08.txt")]
    assert captions[-2:] == ["walk", "A person is walking straight forward."]
    assert [reject["name"] for reject in manifest.rejects] == ["KIT-ML 39_08"]
    # Running flies, so only the walks have copies at another tempo; what people wrote is not said of those.
    copies = [clip for clip in manifest.clips if clip.made]
    assert {clip.content for clip in copies} == {"walk"}
    for clip in copies:
        original = manifest.clip(clip.recording)
        tempo = clip.details["tempo"]
        assert clip.frames == pytest.approx(original.frames / tempo, abs=1.5)
        said = [line.caption for line in read_text_lines(tmp_path / "set" / "texts" / f"{clip.name}.txt")]
        assert "A person is walking straight forward." not in said
    assert manifest.summary()["recordings"] == 3
