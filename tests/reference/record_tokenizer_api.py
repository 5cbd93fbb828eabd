"""Record what the tokenizers of `transformers` return for the calls in tokenizer_api_cases.py.

    python -m tests.benchmarks.peers transformers-4.57.6 transformers-5.23.0     # once
    python -m tests.reference.record_tokenizer_api              # writes tokenizer-api/ beside this

Two tiny vocabularies are trained and kept, so that the recordings stay true whatever later versions
of the trainers do. With the argument "peer", which the command gives to each peer's interpreter,
this is the peer's side: it imports `transformers` and nothing of ours.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.peers import TRANSFORMERS, peer_python
from tests.reference.tokenizer_api_cases import (
    FAMILIES,
    FOLDER,
    IN_VERSION_5,
    ApiCase,
    answer,
    api_cases,
    decode_cases,
)

PEERS = ("transformers-4.57.6", TRANSFORMERS)
ROOT = Path(__file__).parents[2]
SPECIALS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
CLASSES = {"v1": "DebertaTokenizer", "v2": "DebertaV2Tokenizer"}


def make_vocabularies() -> None:
    """Train a vocabulary for each family, in the layout of the released ones."""
    from tokenizers import ByteLevelBPETokenizer

    from spacy_deberta.tokenizers import train_unigram
    from tests.conftest import TINY_TEXT

    rng = random.Random(0)
    words = TINY_TEXT.split()
    texts = [" ".join(rng.choices(words, k=12)) + rng.choice(".!?,") for _ in range(900)]
    shutil.rmtree(FOLDER, ignore_errors=True)
    v1, v2 = FOLDER / "v1", FOLDER / "v2"
    v1.mkdir(parents=True)
    pairs = ByteLevelBPETokenizer()
    pairs.train_from_iterator(texts, vocab_size=360, special_tokens=SPECIALS)
    pairs.save_model(str(v1))
    vocabulary = json.loads((v1 / "vocab.json").read_text(encoding="utf-8"))
    _write(v1 / "vocab.json", {**vocabulary, "[MASK]": len(vocabulary)})
    _write(v1 / "tokenizer_config.json", {"do_lower_case": False, "vocab_type": "gpt2"})
    v2.mkdir()
    files = train_unigram(texts, n_pieces=360).vocabulary_files()
    (v2 / "spm.model").write_bytes(files["spm.model"])
    _write(v2 / "tokenizer_config.json", {"do_lower_case": False, "vocab_type": "spm"})


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def record(peer: str) -> None:
    """The peer's side: answer all cases of both families."""
    import transformers

    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    for family in FAMILIES:
        recorded: dict[str, Any] = {}
        for case in api_cases(family):
            recorded[case.name] = _answer(transformers, family, case)
        for case in decode_cases(recorded):
            recorded[case.name] = _answer(transformers, family, case)
        kept = IN_VERSION_5 if peer == TRANSFORMERS else recorded
        lines = [f"{json.dumps(name)}: {json.dumps(recorded[name])}" for name in kept]
        text = "{\n" + ",\n".join(lines) + "\n}\n"
        (FOLDER / f"{peer}-{family}.json").write_text(text, encoding="utf-8")


def _answer(transformers: Any, family: str, case: ApiCase) -> Any:
    name = CLASSES[family] + "Fast" * case.fast
    tokenizer = getattr(transformers, name).from_pretrained(FOLDER / family, **case.settings)
    try:
        return answer(tokenizer, case)
    except Exception as error:  # whatever it raises is its answer
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Replace vocabularies and recordings, or answer as the peer."""
    if sys.argv[1:2] == ["peer"]:
        record(sys.argv[2])
        return
    make_vocabularies()
    module = "tests.reference.record_tokenizer_api"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for peer in PEERS:
        command = [str(peer_python(peer)), "-m", module, "peer", peer]
        subprocess.run(command, check=True, cwd=ROOT, env=environment)


if __name__ == "__main__":
    main()
