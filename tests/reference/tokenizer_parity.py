# ruff: noqa: RUF001  (characters that look alike are what is tested)
"""Compare the tokenizers with their originals on all texts of the shared data, and print the table.

    python -m tests.benchmarks.peers transformers-5.23.0 transformers-4.57.6   # once
    python -m tests.reference.tokenizer_parity
    python -m tests.reference.tokenizer_parity --megabytes 2                   # of each file

With the real vocabularies: DeBERTa v3's, and RoBERTa's under DeBERTa v1's names. The generated
texts are random Unicode with special pieces typed in them, which are looked for there only.
4.57.6 is the oracle: one text that differs fails. 5.23.0 is known to differ; see the table.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import lzma
import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece

from spacy_deberta.tokenizers import BytePairTokenizer, Tokenizer, UnigramTokenizer, load_tokenizer
from spacy_deberta.tokenizers.bpe import parse_merges
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.peers import TRANSFORMERS
from tests.conftest import SHARED_DATA
from tests.reference.tokenizer_cases import PEER, PROBES, TokenizerCase, run_peer

ORACLES = ("sentencepiece", PEER)
COLUMNS = (*ORACLES, TRANSFORMERS)
GENERATED = "generated"
N_GENERATED = 20_000
BATCH_CHARACTERS = 10_000_000
TYPED = ("[MASK]", " [MASK]", "[CLS]", "[SEP]", "[UNK]", "[PAD]", "[mask]", " ", "  ", "\n", "the")
RARE = "ﬁ½Ａ☃日㍿ﷺｶﾞ…´é\u0301\u0302\u00ad\u200b\u200d\ufeff\x00\x01\x1c\u1680\u3000\xa0각👩İΣ▁"
ROBERTA = {"<pad>": "[PAD]", "<s>": "[CLS]", "</s>": "[SEP]", "<unk>": "[UNK]", "<mask>": "[MASK]"}
ROW = "| {:4} | {:28} | {:>8} | {:>11} |" + " {:>19} |" * len(COLUMNS)


@dataclass(frozen=True)
class Result:
    """One file: number of texts that are split differently, by what they are compared with."""

    family: str
    file: str
    n_texts: int
    n_characters: int
    differing: dict[str, int]

    def cell(self, column: str) -> str:
        """What the table shows."""
        if column not in self.differing:
            return "-"
        count = self.differing[column]
        return f"{count} differ" if count else "equal"

    def row(self) -> str:
        """The row of the table."""
        cells = map(self.cell, COLUMNS)
        return ROW.format(self.family, self.file, self.n_texts, self.n_characters, *cells)

    @property
    def passed(self) -> bool:
        """Nothing differs from an oracle."""
        return not any(self.differing.get(oracle) for oracle in ORACLES)


def v3() -> UnigramTokenizer:
    """DeBERTa v3's vocabulary."""
    tokenizer = load_tokenizer(SHARED_DATA / "tokenizers" / "deberta-v3")
    assert isinstance(tokenizer, UnigramTokenizer)
    return tokenizer


def v1() -> BytePairTokenizer:
    """RoBERTa's vocabulary with the first four numbers, and the names, of DeBERTa v1."""
    folder = SHARED_DATA / "tokenizers" / "roberta-bpe"
    given = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    special = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "[MASK]": given["<mask>"]}
    vocab = {piece: number for piece, number in given.items() if piece not in ROBERTA}
    return BytePairTokenizer(
        {**special, **vocab}, parse_merges((folder / "merges.txt").read_bytes(), "merges.txt")
    )


def texts_by_file(megabytes: float) -> Iterator[tuple[str, list[str]]]:
    """Name and distinct texts of every file, and the generated ones."""
    rng = random.Random(0)
    yield GENERATED, [*PROBES, *(_generate(rng) for _ in range(N_GENERATED))]
    for path in sorted((SHARED_DATA / "tasks").glob("*/*.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            texts = dict.fromkeys(_READERS[path.suffixes[-2]](file))
        yield f"{path.parent.name}/{path.name.split('.')[0]}", _first(texts, megabytes)
    for path in sorted((SHARED_DATA / "pretrain").glob("*.txt.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as file:
            yield path.name.removesuffix(".txt.xz"), _first(file, megabytes)


def compare(
    tokenizer: Tokenizer, family: str, batch: dict[str, list[str]], *, specials: bool
) -> Iterator[Result]:
    """Split the texts of some files with everything."""
    names = list(batch)
    theirs = {
        peer: _split(peer, tokenizer, family, list(batch.values()), specials=specials)
        for peer in (PEER, TRANSFORMERS)
    }
    for place, name in enumerate(names):
        texts = batch[name]
        found = [pieces.ids.tolist() for pieces in tokenizer.encode_batch(texts, specials=specials)]
        expected = {peer: ids[place] for peer, ids in theirs.items()}
        if family == "v2" and not specials:
            processor = sentencepiece.SentencePieceProcessor(
                model_proto=tokenizer.vocabulary_files()["spm.model"]
            )
            expected["sentencepiece"] = [processor.encode(text) for text in texts]
        differing = {
            name: sum(ours != other for ours, other in zip(found, ids, strict=True))
            for name, ids in expected.items()
        }
        yield Result(family, name, len(texts), sum(map(len, texts)), differing)


def batches(megabytes: float) -> Iterator[dict[str, list[str]]]:
    """Files together, so that the peers start less often; the generated texts alone."""
    batch: dict[str, list[str]] = {}
    n_characters = 0
    for name, texts in texts_by_file(megabytes):
        batch[name] = texts
        n_characters += sum(map(len, texts))
        if name == GENERATED or n_characters > BATCH_CHARACTERS:
            yield batch
            batch, n_characters = {}, 0
    if batch:
        yield batch


def _split(
    peer: str, tokenizer: Tokenizer, family: str, files: list[list[str]], *, specials: bool
) -> list[list[list[int]]]:
    """What a peer makes of the texts of each file, with the folder that we save."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tokenizer.save(folder)
        for place, texts in enumerate(files):
            (folder / f"{place}.texts.json").write_text(json.dumps(texts), encoding="utf-8")
        case = TokenizerCase("parity", family, specials)
        run_peer(peer, [case.job(folder, decode=False)])
        return [
            json.loads((folder / f"{place}.result.json").read_text(encoding="utf-8"))["ids"]
            for place in range(len(files))
        ]


def _generate(rng: random.Random) -> str:
    """A short random text of ordinary, rare, any and special characters."""
    return "".join(
        rng.choice(
            (rng.choice(TYPED), rng.choice("aeinorst .,'"), rng.choice(RARE), _character(rng))
        )
        for _ in range(rng.randint(1, 24))
    )


def _character(rng: random.Random) -> str:
    """Any character that was assigned when the peers' tables were made."""
    code = rng.choice((rng.randrange(0x20, 0x530), rng.randrange(0x3041, 0xA000), 0x1F600))
    return chr(code)


def _strings(value: object) -> Iterator[str]:
    """All strings in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from itertools.chain.from_iterable(map(_strings, value.values()))
    elif isinstance(value, list):
        yield from itertools.chain.from_iterable(map(_strings, value))


def _json_lines(file: Iterator[str]) -> Iterator[str]:
    return itertools.chain.from_iterable(_strings(json.loads(line)) for line in file)


def _conll_texts(file: Iterator[str]) -> Iterator[str]:
    return (line[9:].rstrip("\n") for line in file if line.startswith("# text = "))


def _words(file: Iterator[str]) -> Iterator[str]:
    """Sentences of a file with a word in each line, and an empty line behind each sentence."""
    for filled, lines in itertools.groupby(file, key=lambda line: bool(line.strip())):
        if filled:
            yield " ".join(line.split()[0] for line in lines)


_READERS = {".jsonl": _json_lines, ".conllu": _conll_texts, ".iob": _words}


def _first(texts: Any, megabytes: float) -> list[str]:
    """The first so many characters of texts, in millions; blank ones left out."""
    left, chosen = megabytes * 1e6, []
    for text in texts:
        if left <= 0:
            break
        stripped = text.rstrip("\n")
        if stripped:
            chosen.append(stripped)
            left -= len(stripped)
    return chosen


def main() -> bool:
    """Compare, print the table and say whether nothing differs from the oracles."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=float("inf"), help="of each file")
    arguments = parser.parse_args()
    print(f"{describe_machine(1)}\ncommand: python -m {__spec__.name} {' '.join(sys.argv[1:])}\n")
    print(ROW.format("", "file", "texts", "characters", *COLUMNS))
    print(ROW.format("-" * 4, "-" * 28, "-" * 8, "-" * 11, *["-" * 19] * len(COLUMNS)))
    results = []
    families: dict[str, Tokenizer] = {"v2": v3(), "v1": v1()}
    for batch in batches(arguments.megabytes):
        for family, tokenizer in families.items():
            for result in compare(tokenizer, family, batch, specials=GENERATED in batch):
                print(result.row(), flush=True)
                results.append(result)
    failed = [result for result in results if not result.passed]
    n_texts = sum(result.n_texts for result in results)
    print(f"\n{n_texts} texts split; {len(failed)} files differ from an oracle")
    return not failed


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
