"""What every test shares: where the reference data lies, a few real recordings, fixed seeds and threads."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

# Before torch is imported anywhere: two xdist workers with two threads each fight over two cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(_variable, "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import hypothesis
import pytest
import torch
from jaxtyping import install_import_hook

# Shapes stand in annotations; here they are checked. KINESTREAM_CHECK_SHAPES=0 is for measuring time.
SHAPE_CHECKED = ("rotations", "skeleton", "motion", "features", "conditioning", "nn", "metrics", "models")
if os.environ.get("KINESTREAM_CHECK_SHAPES", "1") == "1":
    install_import_hook([f"kinestream.{layer}" for layer in SHAPE_CHECKED], "shape_checks.checked")

# Deterministic, and never a matter of how busy the machine is.
hypothesis.settings.register_profile("promises", deadline=None, derandomize=True)
hypothesis.settings.load_profile("promises")

REPOSITORY = Path(__file__).resolve().parents[1]

# Recordings that stand for the whole Bandai-Namco set where a test needs a few real files. They are near the front of
# the archive's two halves and cover both datasets, several persons' styles, short and long clips.
BANDAI_NAMCO_MEMBERS = (
    "Bandai-Namco-Research-Motiondataset-1/cfg/content_label.txt",
    "Bandai-Namco-Research-Motiondataset-1/cfg/style_label.txt",
    "Bandai-Namco-Research-Motiondataset-2/cfg/content_label.txt",
    "Bandai-Namco-Research-Motiondataset-2/cfg/style_label.txt",
    *(
        f"Bandai-Namco-Research-Motiondataset-{number}/data/dataset-{number}_{clip}.{suffix}"
        for number, clip in (
            (1, "bow_active_001"),
            (1, "bow_normal_001"),
            (1, "bye_happy_001"),
            (1, "bye_normal_001"),
            (1, "dash_normal_001"),
            (1, "walk_normal_001"),
            (1, "walk_old_001"),
            (2, "raise-up-both-hands_normal_001"),
            (2, "walk_exhausted_001"),
            (2, "wave-right-hand_normal_001"),
        )
        for suffix in ("bvh", "json")
    ),
)


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    """Each test starts from the same global seed; code under test takes a torch.Generator all the same."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of this checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with data/ and reference/: KINESTREAM_SHARED, else ../shared beside the repository."""
    path = Path(os.environ.get("KINESTREAM_SHARED", REPOSITORY.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"needs the reference files: {path} is missing (set KINESTREAM_SHARED)")
    return path


@pytest.fixture(scope="session")
def reference_dir(shared_dir: Path) -> Path:
    """Files made with the authors' code that our numbers must agree with."""
    return _existing(shared_dir / "reference")


@pytest.fixture(scope="session")
def golden_dir(reference_dir: Path) -> Path:
    """Small networks of the authors with inputs and outputs."""
    return _existing(reference_dir / "golden")


@pytest.fixture(scope="session")
def deepmimic_dir(shared_dir: Path) -> Path:
    """The DeepMimic clips, humanoid3d_ACTION.txt."""
    return _existing(shared_dir / "data" / "deepmimic-clips")


@pytest.fixture(scope="session")
def bandai_namco_dir(request: pytest.FixtureRequest) -> Path:
    """A folder that holds Bandai-Namco-Research-Motiondataset-{1,2}, at least BANDAI_NAMCO_MEMBERS of them.

    KINESTREAM_BANDAI_NAMCO names the whole set; else a handful is unpacked from the archive, once per machine.
    """
    given = os.environ.get("KINESTREAM_BANDAI_NAMCO")
    if given:
        return _existing(Path(given))
    archive = request.getfixturevalue("shared_dir") / "data" / "bandai-namco-motion.tar.xz"
    return _unpacked_members(_existing(archive), frozenset(BANDAI_NAMCO_MEMBERS))


@pytest.fixture(scope="session")
def cmu_clips(shared_dir: Path) -> Path:
    """CMU's recordings, skeletons and index.csv, unpacked once per machine."""
    return _unpacked_members(_existing(shared_dir / "data" / "cmu-mocap.tar.xz"), None)


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """A Chromium to open pages with: KINESTREAM_CHROMIUM, else the one on the PATH."""
    for name in (os.environ.get("KINESTREAM_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name) if name else None
        if found:
            return found
    pytest.skip("needs Chromium (apt-get install chromium, or set KINESTREAM_CHROMIUM)")


@pytest.fixture(scope="session")
def gltf_validator_dir() -> Path:
    """A folder in which node finds the Khronos validator: KINESTREAM_GLTF_VALIDATOR, else .cache/gltf-validator."""
    path = Path(os.environ.get("KINESTREAM_GLTF_VALIDATOR", REPOSITORY / ".cache" / "gltf-validator"))
    if shutil.which("node") is None or not (path / "node_modules" / "gltf-validator").is_dir():
        pytest.skip(f"needs the Khronos glTF validator (npm install --prefix {path} gltf-validator)")
    return path


def _existing(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"needs {path.name}: {path} is missing")
    return path


def _unpacked_members(archive: Path, members: frozenset[str] | None) -> Path:
    """Where these members of an archive (None: all) lie unpacked."""
    stat = archive.stat()
    version = repr((str(archive), stat.st_size, stat.st_mtime_ns, sorted(members or ())))
    key = hashlib.sha256(version.encode()).hexdigest()
    target = Path(tempfile.gettempdir()) / f"kinestream-tests-{archive.name.partition('.')[0]}-{os.getuid()}-{key[:12]}"
    if target.is_dir():
        return target
    wanted = set(members or ())
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch, tarfile.open(archive, "r|xz") as tar:
        unpacked = Path(scratch) / "set"
        for member in tar:
            if members is None or member.name in wanted:
                tar.extract(member, unpacked, filter="data")
                wanted.discard(member.name)
            if members is not None and not wanted:
                break
        if wanted:
            pytest.fail(f"{archive} lacks {sorted(wanted)}")
        try:
            unpacked.rename(target)
        except OSError:  # another worker was first
            if not target.is_dir():
                raise
    return target
