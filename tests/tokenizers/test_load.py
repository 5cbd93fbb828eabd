"""A model folder loads whole, or the error names the file and what is wrong with it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers import (
    BytePairTokenizer,
    NormalizationWarning,
    UnigramTokenizer,
    load_tokenizer,
    tokenizer_from_bytes,
)
from spacy_deberta.tokenizers import files as files_module
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
        (_empty_model, r"spm.model: 0 bytes, expected a SentencePiece model of 1 to \d+ bytes"),
        (_truncate_model, r"spm.model: SentencePiece cannot read these \d+ bytes"),
        (_replace_model_by_text, r"spm.model: SentencePiece cannot read these \d+ bytes"),
        (
            _write("tokenizer_config.json", '{"do_lower_case": 1}'),
            r"tokenizer_config.json: do_lower_case=1, expected true or false",
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
            _write("added_tokens.json", '{"<new>": 340, "[MASK]": 349}'),
            r"added piece '<new>' \(number 340\) would replace '.+' of the model",
        ),
        (
            _write("added_tokens.json", '{"<new>": 349, "[MASK]": 349}'),
            r"'\[MASK\]' and '<new>' both have number 349",
        ),
        (
            _write("added_tokens.json", '{"": 350, "[MASK]": 349}'),
            r"added piece '' \(number 350\) has 0 characters; expected 1 to 100",
        ),
        (
            _write("special_tokens_map.json", '{"additional_special_tokens": ["<a>"]}'),
            r"no number is given for the special piece '<a>'. Add it to added_tokens.json",
        ),
        (
            _write("special_tokens_map.json", '{"additional_special_tokens": [7]}'),
            r"special_tokens_map.json: additional_special_tokens holds 7, expected strings",
        ),
        (
            _write("special_tokens_map.json", '{"cls_token": {"content": "<s>"}}'),
            r"special_tokens_map.json: cls_token='<s>', expected '\[CLS\]'",
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
            r"'\[MASK\]' is number 5 in one file and 349 in another \(added_tokens.json",
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
    "name", ["tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"]
)
def test_small_file_above_its_cap_is_refused_unread(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b" " * (files_module.MAX_JSON_BYTES + 1))
    with pytest.raises(TokenizerError, match=rf"{name}: larger than \d+ bytes"):
        load_tokenizer(folder)


def test_model_above_its_cap_is_refused_unread(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_module, "MAX_MODEL_BYTES", 100)
    with pytest.raises(TokenizerError, match=r"spm.model: larger than 100 bytes"):
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


def test_bytes_of_either_class_are_restored_as_it(
    tiny_tokenizer: UnigramTokenizer, tiny_v1_tokenizer: BytePairTokenizer
) -> None:
    for tokenizer in (tiny_tokenizer, tiny_v1_tokenizer):
        restored = tokenizer_from_bytes(tokenizer.to_bytes())
        assert type(restored) is type(tokenizer)
        assert restored.to_bytes() == tokenizer.to_bytes()


def test_added_pieces_have_the_flags_of_the_files(folder: Path) -> None:
    (folder / "added_tokens.json").write_text('{"[MASK]": 349, "NEW": 350, "<a>": 351}')
    (folder / "special_tokens_map.json").write_text('{"additional_special_tokens": ["<a>"]}')
    mask = {"content": "[MASK]", "lstrip": True}
    write_settings(folder, mask_token=mask, extra_special_tokens={"b": "<a>"})
    added = load_tokenizer(folder).added
    assert (added["NEW"].id, added["NEW"].special) == (350, False)
    assert (added["<a>"].id, added["<a>"].special) == (351, True)
    assert (added["[MASK]"].id, added["[MASK]"].lstrip) == (349, True)
    assert load_tokenizer(folder).n_pieces == 352


def test_flags_of_a_special_piece_need_no_number_in_the_files(folder: Path) -> None:
    (folder / "added_tokens.json").unlink()
    write_settings(folder, mask_token={"content": "[MASK]", "lstrip": True})
    tokenizer = load_tokenizer(folder)
    assert tokenizer.added["[MASK]"].lstrip
    assert tokenizer.mask_id == 349


@pytest.mark.parametrize("add_prefix_space", [False, True])
def test_byte_pair_folder_loads_equal(
    tiny_v1_tokenizer: BytePairTokenizer, tmp_path: Path, add_prefix_space: bool
) -> None:
    tiny_v1_tokenizer.save(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    write_settings(tmp_path, **{**settings, "add_prefix_space": add_prefix_space})
    loaded = load_tokenizer(tmp_path)
    assert isinstance(loaded, BytePairTokenizer)
    assert loaded.add_prefix_space is add_prefix_space
    assert loaded.vocabulary_files() == tiny_v1_tokenizer.vocabulary_files()
    assert loaded.added == tiny_v1_tokenizer.added


def test_byte_pair_files_alone_make_the_mask_take_spaces(
    tiny_v1_tokenizer: BytePairTokenizer, tmp_path: Path
) -> None:
    for name, content in tiny_v1_tokenizer.vocabulary_files().items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "special_tokens_map.json").write_text('{"mask_token": "[MASK]"}')
    (tmp_path / "added_tokens.json").write_text('{"[MASK]": 511}')
    assert load_tokenizer(tmp_path).added["[MASK]"].lstrip


def test_tokenizer_json_is_the_last_choice(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")
    load_tokenizer(folder)
    (folder / "spm.model").unlink()
    with pytest.raises(TokenizerError, match=r"tokenizer.json: not valid JSON"):
        load_tokenizer(folder)


def test_settings_go_before_the_steps_of_a_tokenizer_json(folder: Path) -> None:
    steps = [{"type": "Lowercase"}, {"type": "Strip"}]
    content = {
        "model": {"type": "Unigram", "vocab": [[p, 0.0] for p in SMALLEST]},
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Punctuation"}]},
    }
    (folder / "spm.model").unlink()
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "added_tokens.json").unlink()
    for settings, expected in (({}, [4, 5]), ({"do_lower_case": False}, [4, 3])):
        write_settings(folder, **settings)
        with pytest.warns(NormalizationWarning, match="tokenizer.json: has no rules"):
            tokenizer = load_tokenizer(folder)
        assert tokenizer.encode("A").ids.tolist() == expected


SMALLEST = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "\u2581", "a"]
