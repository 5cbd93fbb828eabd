"""Encode the lines of a file with offsets whenever a line comes in, and print the time as JSON.

python tokenizer_worker.py PACKAGE FOLDER TEXT_FILE
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

Encode = Callable[[Sequence[str]], int]  # texts to their number of pieces


def ours(folder: str) -> Encode:
    """Our tokenizer: ids and both ends of every piece as arrays."""
    from spacy_deberta.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(Path(folder))
    return lambda texts: sum(len(pieces.ids) for pieces in tokenizer.encode_batch(texts))


def theirs(folder: str) -> Encode:
    """The fast tokenizer of transformers: ids and offsets as lists."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True)

    def encode(texts: Sequence[str]) -> int:
        found = tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True)
        return sum(len(ids) for ids in found["input_ids"])

    return encode


def main() -> None:
    """Answer until nobody asks."""
    which, folder, file = sys.argv[1:]
    encode = ours(folder) if which == "spacy-deberta" else theirs(folder)
    texts = Path(file).read_text(encoding="utf-8").splitlines()
    for _ in sys.stdin:
        start = time.perf_counter()
        pieces = encode(texts)
        seconds = time.perf_counter() - start
        size = sum(map(len, texts))
        print(json.dumps({"seconds": seconds, "pieces": pieces, "characters": size}), flush=True)


if __name__ == "__main__":
    main()
