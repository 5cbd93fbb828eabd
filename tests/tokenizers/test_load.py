"""A model folder loads whole, or the error names the file and what is wrong with it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers import UnigramTokenizer, load_tokenizer
from spacy_deberta.tokenizers import load as load_module


@pytest.fixture
def folder(tiny_spm_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_spm_folder, tmp_path / "model"))


def write_settings(folder: Path, **settings: Any) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def test_saved_folder_loads_equal(tiny_tokenizer: UnigramTokenizer, tmp_path: Path) -> None:
    tiny_tokenizer.save(tmp_path / "new" / "folder")
    assert load_tokenizer(tmp_path / "new" / "folder").to_bytes() == tiny_tokenizer.to_bytes()


def test_model_file_alone_is_enough(tiny_tokenizer: UnigramTokenizer, folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()
    (folder / "added_tokens.json").unlink()
    assert load_tokenizer(folder).to_bytes() == tiny_tokenizer.to_bytes()


def test_settings_of_a_release_are_accepted(tiny_tokenizer: UnigramTokenizer, folder: Path) -> None:
    (folder / "added_tokens.json").unlink()
    decoder = {"0": {"content": "[PAD]", "special": True}, "349": {"content": "[MASK]"}}
    write_settings(
        folder,
        do_lower_case=False,
        vocab_type="spm",
        unk_token={"content": "[UNK]"},
        added_tokens_decoder=decoder,
        model_max_length=1e30,
    )
    assert load_tokenizer(folder).mask_id == tiny_tokenizer.mask_id


def test_mask_may_stand_behind_unused_numbers(folder: Path) -> None:
    (folder / "added_tokens.json").write_text('{"[MASK]": 360}', encoding="utf-8")
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.mask_id, tokenizer.n_pieces) == (360, 361)
    assert tokenizer.piece(360) == "[MASK]"
    assert UnigramTokenizer.from_bytes(tokenizer.to_bytes()).mask_id == 360


def _remove_model(folder: Path) -> None:
    (folder / "spm.model").unlink()


def _become_v1(folder: Path) -> None:
    (folder / "spm.model").rename(folder / "bpe_encoder.bin")


def _empty_model(folder: Path) -> None:
    (folder / "spm.model").write_bytes(b"")


def _truncate_model(folder: Path) -> None:
    content = (folder / "spm.model").read_bytes()
    (folder / "spm.model").write_bytes(content[: len(content) // 2])


def _replace_model_by_text(folder: Path) -> None:
    (folder / "spm.model").write_text("version https://example.org/spec\nsize 2464616\n")


def _write(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content, encoding="utf-8") and None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, r"model: not a folder; looked for spm.model in it"),
        (_remove_model, r"model: no spm.model .* holds added_tokens.json, tokenizer_config.json"),
        (_become_v1, r"no spm.model, but bpe_encoder.bin: the byte-level BPE of DeBERTa v1"),
        (_empty_model, r"spm.model: 0 bytes, expected a SentencePiece model of 1 to \d+ bytes"),
        (_truncate_model, r"spm.model: SentencePiece cannot read these \d+ bytes"),
        (_replace_model_by_text, r"spm.model: SentencePiece cannot read these \d+ bytes"),
        (
            _write("tokenizer_config.json", '{"do_lower_case": true}'),
            r"tokenizer_config.json: do_lower_case=True is not supported, expected false",
        ),
        (
            _write("tokenizer_config.json", '{"split_by_punct": "yes"}'),
            r"tokenizer_config.json: split_by_punct='yes', expected true or false",
        ),
        (
            _write("tokenizer_config.json", '{"mask_token": "<mask>"}'),
            r"tokenizer_config.json: mask_token='<mask>', expected '\[MASK\]'",
        ),
        (_write("tokenizer_config.json", "{"), r"tokenizer_config.json: not valid JSON"),
        (_write("tokenizer_config.json", "[" * 100_000), r"tokenizer_config.json: not valid JSON"),
        (
            _write("added_tokens.json", "[]"),
            r"added_tokens.json: holds a list, expected a JSON object",
        ),
        (
            _write("added_tokens.json", '{"<new>": 350, "[MASK]": 349}'),
            r"added piece '<new>' \(number 350\) is not in spm.model",
        ),
        (
            _write("added_tokens.json", '{"[MASK]": null}'),
            r"added pieces are malformed .* expected piece to number in added_tokens.json",
        ),
        (
            _write("added_tokens.json", '{"[MASK]": 7}'),
            r"\[MASK\] is said to be number 7, but the model has 349 pieces",
        ),
        (
            _write(
                "tokenizer_config.json", '{"added_tokens_decoder": {"5": {"content": "[MASK]"}}}'
            ),
            r"'\[MASK\]' is number 5 in tokenizer_config.json and 349 in added_tokens.json",
        ),
        (
            _write("tokenizer_config.json", '{"added_tokens_decoder": [1]}'),
            r"added pieces are malformed",
        ),
    ],
)
def test_damaged_folder_is_refused(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder)
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("limit", "name"),
    [("MAX_MODEL_BYTES", "spm.model"), ("MAX_JSON_BYTES", "tokenizer_config.json")],
)
def test_file_above_its_cap_is_refused_unread(
    folder: Path, monkeypatch: pytest.MonkeyPatch, limit: str, name: str
) -> None:
    monkeypatch.setattr(load_module, limit, 100)
    with pytest.raises(TokenizerError, match=rf"{name}: larger than 100 bytes"):
        load_tokenizer(folder)


def test_model_of_another_family_is_refused(tmp_path: Path) -> None:
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the old river"] * 20),
        model_writer=model,
        vocab_size=14,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (tmp_path / "spm.model").write_bytes(model.getvalue())
    with pytest.raises(
        TokenizerError, match=r"no piece '\[PAD\]'.* this one with <unk>, <s>, </s>"
    ):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("cut", [0, 3, 10])
def test_short_bytes_are_refused(tiny_tokenizer: UnigramTokenizer, cut: int) -> None:
    with pytest.raises(TokenizerError, match="the tokenizer's bytes"):
        UnigramTokenizer.from_bytes(tiny_tokenizer.to_bytes()[:cut])
