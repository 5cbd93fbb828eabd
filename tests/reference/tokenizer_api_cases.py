"""Calls of the public tokenizers whose results are recorded and compared; read by both sides."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "tokenizer-api"
FAMILIES = ("v1", "v2")

LONG = "Marie Curie crossed the old river slowly, early in the morning, again and again."
SHORT = "London painted new letters."
QUESTION = "Paris wrote?"
UNKNOWN = "Every \u2603 in \u65e5\u672c, \u00bd \ufb01ne e\u0301"
TYPED = "the [MASK] old[SEP] [CLS]river [UNK] [PAD]x [MASK]"
PARTS = ["Marie", "crossed", "the", "river,", "slowly"]
WORDS = ["Marie", "Curie", "wrote", ",", "slowly", "[MASK]", "", " again", "don't"]
TEXTS = [LONG, SHORT, "", " \n ", TYPED, "tabs\tand  spaces ", UNKNOWN]

# What is recorded of transformers 5 too, where all tokenizers are of one other kind.
IN_VERSION_5 = (
    "text",
    "pair",
    "unknown",
    "typed-specials",
    "typed-as-text",
    "without-specials",
    "truncated-text",
    "truncated-left",
    "True-equal-40",
    "to-max-length",
    "words",
    "windows",
    "tokenize-typed",
    "build",
    "types",
    "mask",
    "mask-of-a-row",
    "specials-around-two",
    "model_input_names",
    "decode-text",
)


@dataclass(frozen=True)
class ApiCase:
    """One call.

    Attributes:
        name: what tests call it.
        method: "" for calling the tokenizer itself; the name of a method or attribute.
        arguments: those by position.
        options: those by name.
        settings: of `from_pretrained`.
        fast: whether the peer's fast class has to answer, for the slow one cannot.
        look: names of methods of the encoding to call on row 0, beside reading its columns.
        families: those that have it.
    """

    name: str
    method: str = ""
    arguments: list[Any] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    fast: bool = False
    look: tuple[str, ...] = ()
    families: tuple[str, ...] = FAMILIES


def api_cases(family: str) -> list[ApiCase]:
    """All of one family."""
    cases = [*_plain(), *_truncated(), *_padded(), *_in_words(), *_windows(), *_methods()]
    return [case for case in cases if family in case.families]


def _call(name: str, *arguments: Any, **options: Any) -> ApiCase:
    return ApiCase(name, "", list(arguments), options)


def _plain() -> list[ApiCase]:
    return [
        _call("text", LONG),
        _call("unknown", UNKNOWN),
        _call("pair", QUESTION, LONG),
        _call("batch", TEXTS),
        _call("batch-of-one", [SHORT]),
        _call("batch-with-pairs", [SHORT, LONG, ""], [LONG, "", ""]),
        _call("list-of-pairs", [(SHORT, LONG), (LONG, QUESTION)]),
        _call("without-specials", SHORT, LONG, add_special_tokens=False),
        _call("special-mask", QUESTION, TYPED, return_special_tokens_mask=True),
        _call("typed-specials", TYPED),
        _call("ids-only", SHORT, return_token_type_ids=False, return_attention_mask=False),
        ApiCase("typed-as-text", "", [TYPED], {}, {"split_special_tokens": True}),
    ]


def _truncated() -> list[ApiCase]:
    pairs = {"short-long": (SHORT, LONG), "long-short": (LONG, SHORT), "equal": (LONG, LONG)}
    cases = [
        _call(f"{strategy}-{name}-{limit}", *pair, truncation=strategy, max_length=limit)
        for strategy in (True, "only_first", "only_second")
        for name, pair in pairs.items()
        for limit in ((40, 41) if strategy is True else (50, 51))
        if not (strategy == "only_first" and name == "short-long")
        if not (strategy == "only_second" and name == "long-short")
    ]
    left = {"truncation_side": "left"}
    options = {"truncation": True, "max_length": 9}
    return [
        *cases,
        _call("longest-first-to-the-specials", SHORT, LONG, truncation=True, max_length=3),
        _call("truncated-text", LONG, **options),
        _call("truncated-batch", TEXTS, **options),
        _call("max-length-alone", TEXTS, max_length=9),
        _call("truncation-without-limit", LONG, truncation=True),
        _call("not-truncated", LONG, truncation=False, max_length=9),
        _call("do-not-truncate", LONG, truncation="do_not_truncate", max_length=9),
        ApiCase("truncated-left", "", [LONG], options, left),
        ApiCase("pair-truncated-left", "", [SHORT, LONG], {**options, "max_length": 14}, left),
        ApiCase("model-max-length", "", [LONG], {"truncation": True}, {"model_max_length": 7}),
        ApiCase("too-long-for-the-model", "", [LONG], {}, {"model_max_length": 7}),
    ]


def _padded() -> list[ApiCase]:
    mask = {"return_special_tokens_mask": True}
    return [
        _call("padded", TEXTS, padding=True, **mask),
        _call("longest", TEXTS, padding="longest"),
        _call("to-max-length", TEXTS[1:4], padding="max_length", max_length=30),
        _call("shorter-than-longest", [SHORT, LONG], padding="max_length", max_length=25),
        _call("one-to-max-length", SHORT, QUESTION, padding="max_length", max_length=40),
        _call("to-a-multiple", TEXTS, padding=True, pad_to_multiple_of=8),
        _call("left-by-argument", TEXTS, padding=True, padding_side="left", **mask),
        _call("rectangle", TEXTS, padding="max_length", truncation=True, max_length=12),
        _call("do-not-pad", TEXTS, padding="do_not_pad"),
        ApiCase("left", "", [TEXTS, TEXTS], {"padding": True}, {"padding_side": "left"}),
        ApiCase("pad", "pad", [{"input_ids": [[1, 9, 8, 2], [1, 2]]}]),
        ApiCase("pad-one", "pad", [{"input_ids": [1, 9, 2]}], {"pad_to_multiple_of": 4}),
        ApiCase(
            "pad-rows",
            "pad",
            [[{"input_ids": [1, 9], "token_type_ids": [0, 1]}] * 2],
            {"padding": "max_length", "max_length": 5},
        ),
    ]


def _in_words() -> list[ApiCase]:
    options = {"is_split_into_words": True}
    fast = {"fast": True, "look": ("tokens", "word_ids")}
    offsets = {**options, "return_offsets_mapping": True}
    # The fast class of v1 wants add_prefix_space, and then adds more; words of its texts end at
    # punctuation too.
    v2 = ("v2",)
    return [
        _call("words", WORDS, **options),
        _call("words-and-words", WORDS, SHORT.split(), **options),
        _call("batch-in-words", [WORDS, SHORT.split()], **options),
        _call("batch-of-word-pairs", [WORDS, ["a"]], [["b"], WORDS], **options),
        _call("words-truncated", WORDS, truncation=True, max_length=8, **options),
        ApiCase("fast-words", "", [PARTS], offsets, families=v2, **fast),
        ApiCase("fast-words-of-a-text", "", [LONG], families=v2, **fast),
    ]


def _windows() -> list[ApiCase]:
    options = {
        "return_overflowing_tokens": True,
        "return_offsets_mapping": True,
        "return_special_tokens_mask": True,
    }
    every = {"truncation": True, "max_length": 12, "stride": 3, **options}
    second = {"truncation": "only_second", "max_length": 30, "stride": 4, **options}
    first = {**second, "truncation": "only_first", "padding": "max_length"}
    left = {"truncation_side": "left"}

    def fast(name: str, arguments: list[Any], given: dict[str, Any], **settings: Any) -> ApiCase:
        look = ("tokens", "sequence_ids")
        return ApiCase(name, "", arguments, given, settings, fast=True, look=look)

    return [
        fast("windows", [LONG], every),
        fast("windows-without-overlap", [LONG], {**every, "stride": 0}),
        fast("windows-of-a-batch", [[LONG, SHORT, LONG]], every),
        fast("windows-padded", [[LONG, SHORT]], {**every, "padding": True}),
        fast("windows-that-are-one", [QUESTION], every),
        fast("windows-without-specials", [LONG], {**every, "add_special_tokens": False}),
        fast("second-in-windows", [[QUESTION], [LONG]], second),
        fast("first-in-windows", [LONG, QUESTION], first),
        fast("windows-from-the-left", [LONG], every, **left),
    ]


def _methods() -> list[ApiCase]:
    row = {"already_has_special_tokens": True}
    skip = {"skip_special_tokens": True}
    return [
        ApiCase("tokenize", "tokenize", [LONG]),
        ApiCase("tokenize-typed", "tokenize", [TYPED]),
        ApiCase("encode", "encode", [SHORT]),
        ApiCase("encode-pair", "encode", [SHORT, QUESTION], {"add_special_tokens": False}),
        ApiCase("pieces-of-ids", "convert_ids_to_tokens", [[1, 5, 280, 300, 2]]),
        ApiCase("piece-of-id", "convert_ids_to_tokens", [300]),
        ApiCase("pieces-skipping", "convert_ids_to_tokens", [[1, 0, 3, 300, 2]], skip),
        ApiCase("ids-of-pieces", "convert_tokens_to_ids", [["[CLS]", "the", "[MASK]", "none!"]]),
        ApiCase("id-of-piece", "convert_tokens_to_ids", ["[SEP]"]),
        ApiCase("build", "build_inputs_with_special_tokens", [[5, 6]]),
        ApiCase("build-pair", "build_inputs_with_special_tokens", [[5, 6], [7]]),
        ApiCase("types", "create_token_type_ids_from_sequences", [[5, 6]]),
        ApiCase("types-pair", "create_token_type_ids_from_sequences", [[5, 6], [7]]),
        ApiCase("mask", "get_special_tokens_mask", [[5, 6]]),
        ApiCase("mask-pair", "get_special_tokens_mask", [[5, 6], [7]]),
        ApiCase("mask-of-a-row", "get_special_tokens_mask", [[1, 5, 3, 2, 0]], row),
        ApiCase("specials-around-one", "num_special_tokens_to_add"),
        ApiCase("specials-around-two", "num_special_tokens_to_add", [True]),
        *(ApiCase(name, name) for name in ATTRIBUTES),
        ApiCase("get-vocab", "get_vocab"),
        ApiCase("length", "__len__"),
    ]


ATTRIBUTES = (
    "vocab_size",
    "all_special_tokens",
    "all_special_ids",
    "special_tokens_map",
    "model_input_names",
    "padding_side",
    "truncation_side",
    "model_max_length",
    "pad_token_type_id",
    *(f"{role}_token" for role in ("pad", "cls", "sep", "unk", "mask", "bos", "eos")),
    *(f"{role}_token_id" for role in ("pad", "cls", "sep", "unk", "mask", "bos", "eos")),
)


def decode_cases(recorded: dict[str, Any]) -> list[ApiCase]:
    """Ways back from the piece numbers that were recorded for the other cases."""
    found = {
        name: columns["input_ids"]
        for name, columns in recorded.items()
        if isinstance(columns, dict) and "input_ids" in columns
    }
    single = {name: row for name, row in found.items() if row and isinstance(row[0], int)}
    cases = []
    for name, row in single.items():
        cases.append(ApiCase(f"decode-{name}", "decode", [row]))
        options = {"skip_special_tokens": True}
        cases.append(ApiCase(f"decode-skipping-{name}", "decode", [row], options))
    rows = list(single.values())
    clean = {"clean_up_tokenization_spaces": True}
    cleaned = ApiCase("decode-cleaned", "decode", [single["unknown"]], clean)
    return [*cases, cleaned, ApiCase("batch-decode", "batch_decode", [rows])]


def answer(tokenizer: Any, case: ApiCase) -> Any:
    """What a tokenizer, theirs or ours, says; in the types that JSON has."""
    found = getattr(tokenizer, case.method) if case.method else tokenizer
    if callable(found):
        found = found(*case.arguments, **case.options)
    if hasattr(found, "data"):
        looks = {name: getattr(found, name)(0) for name in case.look}
        found = {**found.data, **looks}
    if case.method == "special_tokens_map":
        found = {name: str(piece) for name, piece in found.items()}
    return json.loads(json.dumps(found))
