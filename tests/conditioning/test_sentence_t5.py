"""The user's own sentence-t5 folder, on a tiny random T5 of the published layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kinestream.conditioning import sentence_t5
from kinestream.conditioning.text import SentenceT5Encoder, text_encoder
from kinestream.errors import BadInputError, MissingExtraError

transformers = pytest.importorskip("transformers", reason="sentence-t5 runs through transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    path = tmp_path_factory.mktemp("sentence-t5")
    words = ["<pad>", "</s>", "<unk>", "▁walks", "▁forward", "▁runs", "▁"]
    tokenizer = Tokenizer(models.Unigram([(word, -float(i)) for i, word in enumerate(words)], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(path / "tokenizer.json"))
    torch.manual_seed(0)
    config = transformers.T5Config(vocab_size=8, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4)
    transformers.T5EncoderModel(config).save_pretrained(path)
    (path / "2_Dense").mkdir()
    save_file({"linear.weight": torch.randn(12, 16)}, path / "2_Dense" / "model.safetensors")
    return path


def test_embedding_is_mean_pooled_projected_and_unit_length(folder: Path) -> None:
    encoder = SentenceT5Encoder(folder)
    assert (encoder.dim, encoder.name) == (12, "sentence-t5-xxl")
    found = encoder.encode(["walks forward", "runs"])
    network = transformers.T5EncoderModel.from_pretrained(str(folder), local_files_only=True)
    projection = encoder._model._projection
    with torch.no_grad():
        hidden = network(input_ids=torch.tensor([[3, 4, 1]])).last_hidden_state.mean(1)
        expected = torch.nn.functional.normalize(hidden @ projection.T, dim=-1)
    torch.testing.assert_close(found[:1], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(2))


def test_padding_does_not_move_an_embedding(folder: Path) -> None:
    encoder = SentenceT5Encoder(folder)
    mixed = encoder._embed([[3, 4, 5, 1], [3, 1]])
    torch.testing.assert_close(mixed[1:], encoder._embed([[3, 1]]), atol=1e-5, rtol=0)


def test_projection_file_with_code_in_it_is_refused(folder: Path, tmp_path: Path) -> None:
    import shutil

    hostile = tmp_path / "t5"
    shutil.copytree(folder, hostile)
    (hostile / "2_Dense" / "model.safetensors").unlink()
    (hostile / "2_Dense" / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(BadInputError, match="projection"):
        SentenceT5Encoder(hostile)


def test_wrong_folders_are_clear_errors(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="does not exist"):
        text_encoder("sentence-t5-xxl", tmp_path / "nowhere")
    with pytest.raises(BadInputError, match=r"config\.json"):
        SentenceT5Encoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(BadInputError, match="bert"):
        SentenceT5Encoder(tmp_path)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(BadInputError, match=r"spiece\.model"):
        SentenceT5Encoder(tmp_path)


def test_missing_sentencepiece_names_the_extra(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "spiece.model").write_bytes(b"pieces")
    found = sentence_t5.importlib.util.find_spec
    monkeypatch.setattr(
        sentence_t5.importlib.util, "find_spec", lambda name: None if name == "sentencepiece" else found(name)
    )
    with pytest.raises(MissingExtraError, match=r"kinestream\[t5\]"):
        SentenceT5Encoder(tmp_path)
