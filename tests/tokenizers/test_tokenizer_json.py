# ruff: noqa: RUF001  (characters that look alike are what is tested)
"""A folder with nothing but a tokenizer.json makes the pieces of the original files."""

import base64
import json
import lzma
import time
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers import (
    BytePairTokenizer,
    NormalizationWarning,
    UnigramTokenizer,
    load_tokenizer,
)
from spacy_deberta.tokenizers.bpe import parse_merges
from spacy_deberta.tokenizers.model_file import default_rules
from tests.conftest import SHARED_DATA

TEXTS = ["the old river ☃ ½", " ﬁne Ａ１\u3000x", "[MASK] the\n\nold", "日本語 don't"]


def write(folder: Path, content: Any) -> Path:
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def unigram_content(tokenizer: UnigramTokenizer, *, rules: bool) -> dict[str, Any]:
    """As `transformers` 4 writes it, or 5, which drops the rules."""
    processor = sentencepiece.SentencePieceProcessor(
        model_proto=tokenizer.vocabulary_files()["spm.model"]
    )
    numbers = list(range(processor.get_piece_size()))
    vocab = list(zip(processor.id_to_piece(numbers), processor.get_score(numbers), strict=True))
    backend = Tokenizer(models.Unigram(vocab, unk_id=3))
    backend.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.NFC()])
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace()])
    backend.add_special_tokens(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"])
    backend.add_tokens(["NEW"])
    content: dict[str, Any] = json.loads(backend.to_str())
    if rules:
        encoded = base64.b64encode(default_rules()).decode()
        step = {"type": "Precompiled", "precompiled_charsmap": encoded}
        content["normalizer"]["normalizers"][1] = step
    return content


def test_unigram_is_that_of_the_model_file(
    tiny_tokenizer: UnigramTokenizer, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(write(tmp_path, unigram_content(tiny_tokenizer, rules=True)))
    assert (tokenizer.mask_id, tokenizer.added["NEW"].id) == (349, 350)
    for text in TEXTS:
        assert tokenizer.encode(text).ids.tolist() == tiny_tokenizer.encode(text).ids.tolist()


def test_unigram_without_rules_warns_and_takes_nfkc(
    tiny_tokenizer: UnigramTokenizer, tmp_path: Path
) -> None:
    write(tmp_path, unigram_content(tiny_tokenizer, rules=False))
    with pytest.warns(NormalizationWarning, match=r"tokenizer.json: has no rules .* by NFKC. Add"):
        tokenizer = load_tokenizer(tmp_path)
    for text in TEXTS:
        assert tokenizer.encode(text).ids.tolist() == tiny_tokenizer.encode(text).ids.tolist()


def byte_pair_content(tokenizer: BytePairTokenizer, **options: Any) -> dict[str, Any]:
    files = tokenizer.vocabulary_files()
    merges = parse_merges(files["merges.txt"], "merges.txt")
    backend = Tokenizer(models.BPE(json.loads(files["vocab.json"]), merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(**options)
    backend.add_special_tokens(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"])
    return json.loads(backend.to_str())


@pytest.mark.parametrize("add_prefix_space", [False, True])
def test_byte_pair_is_that_of_the_vocabulary_files(
    tiny_v1_tokenizer: BytePairTokenizer, tmp_path: Path, add_prefix_space: bool
) -> None:
    content = byte_pair_content(tiny_v1_tokenizer, add_prefix_space=add_prefix_space)
    merges = content["model"]["merges"]
    for written in (merges, [" ".join(pair) for pair in merges]):
        content["model"]["merges"] = written
        tokenizer = load_tokenizer(write(tmp_path, content))
        assert isinstance(tokenizer, BytePairTokenizer)
        assert tokenizer.add_prefix_space is add_prefix_space
        assert tokenizer.vocabulary_files() == tiny_v1_tokenizer.vocabulary_files()


def test_other_ways_to_split_words_are_refused(
    tiny_v1_tokenizer: BytePairTokenizer, tmp_path: Path
) -> None:
    """A pattern in the file is never run."""
    content = byte_pair_content(tiny_v1_tokenizer)
    split = pre_tokenizers.Split(Regex("(a+)+$"), "isolated")
    steps = [json.loads(split.__getstate__())]
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    with pytest.raises(
        TokenizerError, match=r"tokenizer.json: reads texts by Split, expected Byte"
    ):
        load_tokenizer(write(tmp_path, content))


def deep(depth: int) -> dict[str, Any]:
    step: dict[str, Any] = {"type": "Lowercase"}
    for _ in range(depth):
        step = {"type": "Sequence", "normalizers": [step]}
    return step


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"tokenizer.json: holds a list, expected a JSON object"),
        ({}, r"tokenizer.json: malformed \(\"'model'\" is wrong or missing\)"),
        ({"model": {"type": "WordPiece"}}, r"holds a 'WordPiece' model, expected 'Unigram'"),
        ({"model": {"type": "Unigram", "vocab": [1]}}, r"tokenizer.json: malformed"),
        ({"model": {"type": "Unigram", "vocab": [["a", "b"]]}}, r"tokenizer.json: malformed"),
        ({"model": {"type": "Unigram", "vocab": [[1, 0.0]]}}, r"tokenizer.json: malformed"),
        ({"model": {"type": "Unigram", "vocab": []}, "normalizer": 3}, r"malformed"),
        ({"model": {"type": "BPE", "vocab": {}, "merges": ["a"]}}, r"reads texts by nothing"),
        (
            {"model": {"type": "BPE", "vocab": {}, "merges": ["a"]},
             "pre_tokenizer": {"type": "ByteLevel"}},
            r"tokenizer.json: malformed",
        ),
        (
            {"model": {"type": "BPE"}, "added_tokens": [{"content": f"x{n}"} for n in range(9)],
             "pre_tokenizer": {"type": "ByteLevel"}},
            r"malformed",
        ),
        (
            {"model": {"type": "Unigram", "vocab": []}, "normalizer": {
                "type": "Precompiled", "precompiled_charsmap": "?"}},
            r"tokenizer.json: malformed",
        ),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::spacy_deberta.tokenizers.NormalizationWarning")
def test_malformed_file_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer(write(tmp_path, content))


def test_a_million_added_pieces_and_deep_steps_are_refused_in_time(
    tiny_tokenizer: UnigramTokenizer, tmp_path: Path
) -> None:
    content = unigram_content(tiny_tokenizer, rules=True)
    content["added_tokens"] = [{"id": n, "content": f"x{n}"} for n in range(200_000)]
    write(tmp_path, content)
    start = time.process_time()
    with pytest.raises(TokenizerError, match=r"more than 20000 added pieces"):
        load_tokenizer(tmp_path)
    assert time.process_time() - start < 5
    content = {**content, "added_tokens": [], "normalizer": deep(50)}
    with pytest.warns(NormalizationWarning):
        load_tokenizer(write(tmp_path, content))
    text = json.dumps({"model": 0}).replace("0", "[" * 100_000)
    (tmp_path / "tokenizer.json").write_text(text, encoding="utf-8")
    with pytest.raises(TokenizerError, match=r"tokenizer.json: not valid JSON"):
        load_tokenizer(tmp_path)


@pytest.mark.shared
def test_v3_is_that_of_its_model_file(v3_tokenizer: UnigramTokenizer, tmp_path: Path) -> None:
    packed = SHARED_DATA / "tokenizers" / "deberta-v3" / "tokenizer.json.xz"
    (tmp_path / "tokenizer.json").write_bytes(lzma.decompress(packed.read_bytes()))
    tokenizer = load_tokenizer(tmp_path)
    assert (tokenizer.mask_id, tokenizer.n_pieces) == (128000, 128001)
    for text in [*TEXTS, "Hello world! I saw a girl with a telescope. \u0e01\u0e33 ㍿ 🙁"]:
        expected, found = v3_tokenizer.encode(text), tokenizer.encode(text)
        assert found.ids.tolist() == expected.ids.tolist()
        assert found.starts.tolist() == expected.starts.tolist()
