# ruff: noqa: RUF001  (characters that look alike are what is tested)
"""What `transformers` 4.57.6 makes of awkward texts, recorded for a plain test run.

    python -m tests.benchmarks.peers transformers-4.57.6      # once
    python -m tests.reference.tokenizer_cases                 # writes tokenizers-4.57.6/

The oracle are its slow tokenizers, which hold SentencePiece's own model and GPT-2's own code.
"""

from __future__ import annotations

import json
import lzma
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import ByteLevelBPETokenizer

from spacy_deberta.tokenizers import train_unigram
from spacy_deberta.tokenizers.model_file import Vocabulary, write_model
from tests.benchmarks.peers import peer_python
from tests.conftest import tiny_texts

ROOT = Path(__file__).parents[2]
PEER = "transformers-4.57.6"
FOLDER = Path(__file__).parent / "tokenizers-4.57.6"
COMMAND = "python -m tests.reference.tokenizer_cases"
MODEL, VOCAB, MERGES, CASES = "spm.model.xz", "vocab.json", "merges.txt", "cases.json"
SLOW = {"v1": "DebertaTokenizer", "v2": "DebertaV2Tokenizer"}

PROBES = [
    "", " ", "\n\t ", "the old river", " the", "the ", "  two  spaces ", "tab\tnew\nline\r\n",
    "ﬁne ½ Ａ１ ㍿", "\u00a0nbsp\u3000ideo", "zero\u200bwidth", "\ufeffBOM mid\ufeffdle",
    "so\u00adft", "nul\x00nul \x01\x1c", "é e\u0301 A\u0302\u0300", "a" + "\u0301" * 9,
    "👩\u200d👧 🇩🇪 ☃☃", "日本語 中", "각 한국어", "ﷺ z ｶﾞ …", "a▁b ▁",
    "don't can't it's we're I'LL he'd'",
    "1903, 1911: 12345 ²³", "x\u1680y\x85z\u2028w", "İstanbul ΑΣ ẞ straße",
    "[CLS] the [MASK] [SEP]", "the [MASK].", "the[MASK]old", "a  [MASK]  [MASK] b", "[MASK]",
    "[MASK] first", "last [MASK]", "[PAD][UNK] [mask] [ MASK ]", "[CLS]", "\n[SEP]\n",
    "a NEWTOK b", "NEWTOKNEWTOK", "newtok NEW NEWTO <sp> x<sp>y", "SOLO aSOLO SOLO SOLO.",
    "the LEFT old RIGHT river", "!? !? \"quoted\" (50%) a.b@c-d",
]  # fmt: skip

ADD = ["NEWTOK", "NEW"]
ADD_SPECIAL = ["<sp>"]


@dataclass(frozen=True)
class TokenizerCase:
    """One tokenizer and what it is to do.

    Attributes:
        name: of the case.
        model: "v1", "v2", or "v2-unknown" for a model without byte pieces.
        specials: whether special pieces in the text are looked for.
        options: settings, as in tokenizer_config.json.
        add: pieces that a user has added.
        add_special: the same, special ones.
    """

    name: str
    model: str
    specials: bool
    options: dict[str, Any] = field(default_factory=dict)
    add: list[str] = field(default_factory=list)
    add_special: list[str] = field(default_factory=list)

    def job(self, folder: Path, *, decode: bool) -> dict[str, Any]:
        """What the peer is told."""
        kind = SLOW[self.model[:2]]
        return {**asdict(self), "class": kind, "folder": str(folder), "decode": decode}


def all_cases() -> list[TokenizerCase]:
    """Every option, with special pieces as text and as pieces."""
    settings = {
        "v1": [{}, {"add_prefix_space": True}],
        "v2": [{}, {"do_lower_case": True}, {"split_by_punct": True}],
        "v2-unknown": [{}, {"do_lower_case": True, "split_by_punct": True}],
    }
    cases = []
    for model, choices in settings.items():
        for options in choices:
            name = "-".join([model, *options])
            cases.append(TokenizerCase(name, model, False, options))
            cases.append(TokenizerCase(f"{name}-specials", model, True, options))
            added = (ADD, ADD_SPECIAL)
            cases.append(TokenizerCase(f"{name}-added", model, True, options, *added))
    return cases


def write_vocabulary(folder: Path, model: str) -> None:
    """Write the recorded vocabulary in the layout of a model folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if model == "v1":
        for name in (VOCAB, MERGES):
            (folder / name).write_bytes((FOLDER / name).read_bytes())
        return
    content = lzma.decompress((FOLDER / MODEL).read_bytes())
    (folder / "spm.model").write_bytes(content if model == "v2" else without_bytes(content))


def without_bytes(model: bytes) -> bytes:
    """The same SentencePiece model without byte pieces, as v2's: it has unknown pieces."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    kept = [n for n in range(processor.get_piece_size()) if not processor.is_byte(n)]
    return write_model(
        Vocabulary(processor.id_to_piece(kept), processor.get_score(kept), rules=None)
    )


def run_peer(peer: str, jobs: Sequence[dict[str, Any]]) -> None:
    """Let a peer's interpreter do jobs, whose folders hold texts and get results."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "jobs.json"
        path.write_text(json.dumps(jobs), encoding="utf-8")
        command = [str(peer_python(peer)), "-m", "tests.reference.record_tokenizers", str(path)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, cwd=ROOT, env=environment)


def main() -> None:
    """Train the tiny vocabularies, and record what the peer makes of the probes."""
    FOLDER.mkdir(exist_ok=True)
    _train()
    cases = all_cases()
    recorded = []
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / case.name for case in cases]
        for case, folder in zip(cases, folders, strict=True):
            write_vocabulary(folder, case.model)
            (folder / "probes.texts.json").write_text(json.dumps(PROBES), encoding="utf-8")
        jobs = [case.job(folder, decode=True) for case, folder in zip(cases, folders, strict=True)]
        run_peer(PEER, jobs)
        for case, folder in zip(cases, folders, strict=True):
            result = json.loads((folder / "probes.result.json").read_text(encoding="utf-8"))
            version = result.pop("version")
            recorded.append({"case": asdict(case), **result})
    content = {"peer": f"transformers {version}", "command": COMMAND, "texts": PROBES}
    lines = ",\n".join(json.dumps(each) for each in recorded)
    text = json.dumps(content)[:-1] + f', "cases": [\n{lines}\n]}}\n'
    (FOLDER / CASES).write_text(text, encoding="utf-8")


def _train() -> None:
    texts = tiny_texts()
    model = train_unigram(texts, n_pieces=350).vocabulary_files()["spm.model"]
    (FOLDER / MODEL).write_bytes(lzma.compress(model, preset=9))
    trainer = ByteLevelBPETokenizer()
    specials = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    trainer.train_from_iterator(texts, vocab_size=600, special_tokens=specials, show_progress=False)
    with tempfile.TemporaryDirectory() as folder:
        trainer.save_model(folder)
        vocab = json.loads((Path(folder) / VOCAB).read_text(encoding="utf-8"))
        merges = (Path(folder) / MERGES).read_bytes()
    (FOLDER / VOCAB).write_text(
        json.dumps({**vocab, "[MASK]": len(vocab)}, ensure_ascii=False), encoding="utf-8"
    )
    (FOLDER / MERGES).write_bytes(merges)


if __name__ == "__main__":
    main()
