"""The public tokenizers: texts in, rows for a model out.

What comes out equals what the slow tokenizers of `transformers` 4.57.6 return. Windows, which only
its fast ones have, are as there; offsets are those that `spacy_deberta.tokenizers` promises.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from spacy_deberta.checkpoints import resolve_tokenizer_source
from spacy_deberta.checkpoints.files import TOKENIZER_FILES
from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers import BytePairTokenizer, Tokenizer, UnigramTokenizer, load_tokenizer
from spacy_deberta.tokenizers.batch.columns import ATTENTION, IDS, OFFSETS, SAMPLES, SPECIAL, TYPES
from spacy_deberta.tokenizers.batch.encoding import BatchEncoding, encode_rows, pad_encoded
from spacy_deberta.tokenizers.batch.options import (
    DO_NOT_PAD,
    check_count,
    check_side,
    check_tensors,
    read_padding,
    read_truncation,
)
from spacy_deberta.tokenizers.batch.rows import row_length
from spacy_deberta.tokenizers.batch.samples import read_samples
from spacy_deberta.tokenizers.batch.segments import Splitting, lay_rows, split_samples
from spacy_deberta.tokenizers.batch.truncation import Truncation, warn_of_lengths
from spacy_deberta.tokenizers.batch.vocabulary import Vocabulary
from spacy_deberta.tokenizers.files import SETTINGS_FILE, read_object

SETTINGS = ("model_max_length", "padding_side", "truncation_side", "split_special_tokens")
UNLIMITED = int(1e30)  # what `transformers` writes where no limit is known


class DebertaTokenizer(Vocabulary):
    """The tokenizer of DeBERTa v1: byte-level BPE.

    Special pieces typed in a text, such as "[MASK]", are special pieces.

    Args:
        core: text to pieces and back; `from_pretrained` reads it from a folder.
        model_max_length: pieces that the model takes, special ones included.
        padding_side: where [PAD] stands.
        truncation_side: where texts are cut off.
        split_special_tokens: special pieces typed in a text are text.

    Raises:
        TokenizerError: the core of another family, or a setting that cannot be.
    """

    core_class: ClassVar[type] = BytePairTokenizer
    core_settings: ClassVar[tuple[str, ...]] = ("add_prefix_space",)
    word_prefix: ClassVar[str] = " "  # before each word of texts in words
    model_input_names: ClassVar[list[str]] = [IDS, ATTENTION, TYPES]
    is_fast: ClassVar[bool] = True  # what users ask before they rely on offsets and windows

    def __init__(
        self,
        core: Tokenizer,
        *,
        model_max_length: float = UNLIMITED,
        padding_side: str = "right",
        truncation_side: str = "right",
        split_special_tokens: bool = False,
    ) -> None:
        super().__init__(core)
        if not isinstance(core, self.core_class):
            raise TokenizerError(
                f"{type(self).__name__}: found a {type(core).__name__}, expected a "
                f"{self.core_class.__name__}. Use the class of the checkpoint's own family: "
                "DebertaTokenizer for v1, DebertaV2Tokenizer for v2, v3 and mDeBERTa."
            )
        if not isinstance(model_max_length, int | float) or not model_max_length >= 1:
            raise TokenizerError(f"model_max_length={model_max_length!r}, expected 1 or more.")
        check_side("padding_side", padding_side)
        check_side("truncation_side", truncation_side)
        self.model_max_length = model_max_length
        self.padding_side = padding_side
        self.truncation_side = truncation_side
        self.split_special_tokens = split_special_tokens

    @classmethod
    def from_pretrained(
        cls, source: str | Path | None, *, revision: str | None = None, **settings: Any
    ) -> Self:
        """The tokenizer of a checkpoint.

        Args:
            source: a folder with the tokenizer's files, or a name on the hub; None = the embedded
                model.
            revision: of a name on the hub.
            settings: instead of those in tokenizer_config.json: arguments of the class, and
                add_prefix_space (v1), do_lower_case and split_by_punct (v2, v3).

        Raises:
            CheckpointError: there is no such folder or checkpoint.
            TokenizerError: a file is missing or damaged, or of another family; or an unknown
                setting.
        """
        known = (*SETTINGS, *cls.core_settings)
        if unknown := sorted(set(settings) - set(known)):
            raise TokenizerError(
                f"{', '.join(unknown)}: no setting of {cls.__name__}; it has {', '.join(known)}."
            )
        given = None if source is None else str(source)
        folder = resolve_tokenizer_source(given, revision=revision)
        chosen = {**read_object(folder / SETTINGS_FILE), **settings}
        own = {key: chosen[key] for key in SETTINGS if chosen.get(key) is not None}
        return cls(load_tokenizer(folder, settings), **own)

    def save_pretrained(self, save_directory: str | Path) -> tuple[str, ...]:
        """Write vocabulary and settings, for `from_pretrained` and for `transformers`.

        Args:
            save_directory: made if absent.

        Returns:
            The paths of all files.
        """
        folder = Path(save_directory)
        self.core.save(folder)
        path = folder / SETTINGS_FILE
        settings = {**read_object(path), **{key: getattr(self, key) for key in SETTINGS}}
        path.write_text(json.dumps(settings, indent=2), encoding="utf-8")
        return tuple(str(folder / name) for name in TOKENIZER_FILES if (folder / name).is_file())

    def __call__(
        self,
        text: str | Sequence[Any],
        text_pair: str | Sequence[Any] | None = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool = True,
        return_attention_mask: bool = True,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
    ) -> BatchEncoding:
        """Texts to rows.

        Nothing is cut off unless asked for: `max_length` without `truncation` and `padding` cuts
        and warns, as does a text beyond model_max_length, which is not cut.

        Args:
            text: a text, a list of texts, or a list of pairs; in words, a list more.
            text_pair: the second text, one for each text: [CLS] A [SEP] B [SEP].
            add_special_tokens: put special pieces around the texts.
            padding: True or "longest" (of the batch), "max_length", False or "do_not_pad".
            truncation: True or "longest_first", "only_first", "only_second" (of a pair), False or
                "do_not_truncate".
            max_length: pieces of a row, special ones included; model_max_length unless given.
            stride: pieces that neighbouring windows share.
            is_split_into_words: texts are lists of words; offsets count within each word.
            pad_to_multiple_of: rounds the padded length up.
            padding_side: "right" or "left", instead of the tokenizer's own.
            return_tensors: "pt" or "np"; None = lists.
            return_token_type_ids: 0 for the first text, 1 for the second.
            return_attention_mask: 0 for padding.
            return_overflowing_tokens: make what is cut off into further rows, windows; then
                overflow_to_sample_mapping has the number of each row's text.
            return_special_tokens_mask: 1 for special pieces around texts and for padding.
            return_offsets_mapping: start and end of each piece in its text; (0, 0) for the others.

        Raises:
            TokenizerError: something is no text, or arguments do not fit together.
        """
        check_tensors(return_tensors)
        side = padding_side or self.padding_side
        longest = self.model_max_length
        pad = read_padding(padding, max_length, longest, pad_to_multiple_of, side)
        strategy, limit = read_truncation(
            truncation,
            max_length=max_length,
            model_max_length=longest,
            is_padded=pad.strategy != DO_NOT_PAD,
        )
        check_count("stride", stride, 0)
        cut = Truncation(strategy, limit, stride, self.truncation_side, return_overflowing_tokens)
        given = read_samples(text, text_pair, in_words=is_split_into_words)
        splitting = Splitting(not self.split_special_tokens, is_split_into_words, self.word_prefix)
        samples = split_samples(self.core, given.texts, splitting)
        rows = lay_rows(samples, cut, framed=add_special_tokens)
        lengths = [row_length(segments, framed=add_special_tokens) for segments in samples]
        warn_of_lengths(lengths, cut, truncation, longest)
        wanted = {
            TYPES: return_token_type_ids,
            ATTENTION: return_attention_mask,
            SPECIAL: return_special_tokens_mask,
            OFFSETS: return_offsets_mapping,
            SAMPLES: return_overflowing_tokens,
        }
        names = [name for name, is_wanted in wanted.items() if is_wanted]
        encoding = encode_rows(rows, names, pad, self.core, return_tensors)
        if not given.is_batch and return_tensors is None and not return_overflowing_tokens:
            encoding.data = {name: values[0] for name, values in encoding.data.items()}
        return encoding

    def tokenize(self, text: str) -> list[str]:
        """A text in pieces, without special pieces around it."""
        pieces = self.core.encode(text, specials=not self.split_special_tokens)
        return self.convert_ids_to_tokens(pieces.ids)

    def encode(
        self,
        text: str | Sequence[Any],
        text_pair: str | Sequence[Any] | None = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        padding_side: str | None = None,
        return_tensors: str | None = None,
    ) -> Any:
        """The piece numbers that calling the tokenizer returns; its arguments are there."""
        return self(
            text,
            text_pair,
            add_special_tokens,
            padding,
            truncation,
            max_length,
            stride,
            is_split_into_words,
            padding_side=padding_side,
            return_tensors=return_tensors,
        )[IDS]

    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool = True,
        return_tensors: str | None = None,
    ) -> BatchEncoding:
        """Rows that were made before, in one rectangle; what data collators call.

        Args:
            encoded_inputs: columns, or a list with the columns of each row; columns that are not
                the tokenizer's own, such as labels, stay as they are.
            padding: as in calling the tokenizer, as are the others.
            max_length: the same.
            pad_to_multiple_of: the same.
            padding_side: the same.
            return_attention_mask: make one where there is none.
            return_tensors: "pt" or "np"; None = lists.

        Raises:
            TokenizerError: no piece numbers, or arguments that do not fit together.
        """
        check_tensors(return_tensors)
        side = padding_side or self.padding_side
        longest = self.model_max_length
        pad = read_padding(padding, max_length, longest, pad_to_multiple_of, side)
        pad_id, attend = self.pad_token_id, return_attention_mask
        return pad_encoded(
            encoded_inputs, pad, pad_id, with_attention=attend, tensors=return_tensors
        )


class DebertaV2Tokenizer(DebertaTokenizer):
    """The tokenizer of DeBERTa v2, v3 and mDeBERTa: SentencePiece's unigram model.

    Otherwise as `DebertaTokenizer`.
    """

    core_class = UnigramTokenizer
    core_settings = ("do_lower_case", "split_by_punct")
    word_prefix = ""  # the model puts a space before every text itself
    model_input_names: ClassVar[list[str]] = [IDS, TYPES, ATTENTION]

    @property
    def vocab_size(self) -> int:
        """Number of pieces in spm.model; [MASK] stands behind them."""
        own = set(self._numbers.values()) - set(self.get_added_vocab().values())
        return max(own) + 1


DebertaTokenizerFast = DebertaTokenizer
DebertaV2TokenizerFast = DebertaV2Tokenizer
