"""The annotated data of the embedded pipeline as .spacy files, for `train_embedded`.

    python -m tests.benchmarks.embedded_data --tasks DIR --out OUT

DIR holds the data sets that the model card names, a folder each. A training Doc that shares a text
with any dev or test part, or with the demo's, is left out: data sets overlap more than their names
tell. Texts are the same if their letters and digits are, but for @names and links.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from spacy.tokens import Doc, DocBin
from spacy.training.converters import conllu_to_docs
from spacy.vocab import Vocab

from examples.ner_demo.data import prepare_data
from spacy_deberta.corpora.choices import build_choice_docs, read_choices
from spacy_deberta.corpora.classes import ClassExample, build_class_docs, read_classes
from spacy_deberta.corpora.docs import build_docs
from spacy_deberta.corpora.iob import TaggedSentence, map_labels, read_iob
from spacy_deberta.corpora.question_docs import build_question_docs
from spacy_deberta.corpora.squad import QuestionedText, read_squad

PARTS = ("train", "dev", "test")
WNUT = {
    "person": "PER",
    "location": "LOC",
    "corporation": "ORG",
    "group": "ORG",
    "product": "MISC",
    "creative-work": "MISC",
}
N_QUESTIONS = 10  # of a Doc
SEED = 13


def key_of(text: str) -> str:
    """What makes two texts the same."""
    words = [word for word in text.lower().split() if not re.match(r"@\w|https?:|www\.", word)]
    return "".join(c for c in "".join(words) if c.isalnum()) or " ".join(text.split())


def keys_of(doc: Doc) -> set[str]:
    """The same of its text and of its second text."""
    pair = doc._.pair if Doc.has_extension("pair") else None
    return {key_of(" ".join(token.text for token in doc))} | ({key_of(pair)} if pair else set())


def ewt(tasks: Path, part: str, vocab: Vocab) -> Iterable[Doc]:
    """Tags and dependencies."""
    return read_treebank(tasks / "ud_en_ewt" / f"{part}.conllu.gz")


def read_treebank(file: Path) -> Iterable[Doc]:
    """One sentence per Doc."""
    text = gzip.decompress(file.read_bytes()).decode("utf-8")
    return conllu_to_docs(text, n_sents=1, no_print=True)


def iob(file: Path) -> Sequence[TaggedSentence]:
    """Tagged sentences of a compressed file."""
    with tempfile.NamedTemporaryFile(suffix=".iob") as plain:
        plain.write(gzip.decompress(file.read_bytes()))
        plain.flush()
        return read_iob(Path(plain.name)).sentences


def wikigold(tasks: Path, part: str, vocab: Vocab) -> Iterable[Doc]:
    """Entities of Wikipedia."""
    return build_docs(iob(tasks / "ner_en_wikigold" / f"{part}.iob.gz"), vocab)


def wnut(tasks: Path, part: str, vocab: Vocab) -> Iterable[Doc]:
    """Entities of tweets, under WikiGold's labels."""
    sentences = iob(tasks / "ner_en_wnut17" / f"{part}.iob.gz")
    return build_docs(map_labels(sentences, WNUT), vocab)


def sentiment(tasks: Path, part: str, vocab: Vocab) -> Iterable[Doc]:
    """Sentences of reviews that are positive or negative."""
    folders = ["movies", "amazon"] if part == "train" else ["movies"]
    files = [tasks / f"textcat_vader_{folder}" / f"{part}.jsonl.gz" for folder in folders]
    texts = [gzip.decompress(file.read_bytes()).decode("utf-8") for file in files]
    rows = [json.loads(line) for text in texts for line in text.splitlines()]
    examples = [
        ClassExample(row["text"], None, ("positive" if row["score"] > 0 else "negative",), None)
        for row in rows
        if row["score"] != 0
    ]
    return build_class_docs(examples, vocab, ["negative", "positive"])


def nli(tasks: Path, part: str, vocab: Vocab) -> Iterable[Doc]:
    """Pairs of which the second follows from the first, or does not."""
    files = [tasks / "pairs_nli_cad" / f"{part}.jsonl.gz"]
    if part == "train":
        files.append(tasks / "pairs_snli" / "dev.jsonl.gz")
    examples = [example for file in files for example in read_classes(file).examples]
    return build_class_docs(examples, vocab, ["entailment", "neutral", "contradiction"])


def questions(tasks: Path, part: str, vocab: Vocab) -> Iterable[Doc]:
    """Texts with a few questions each."""
    texts = [
        QuestionedText(text.context, text.questions[start : start + N_QUESTIONS])
        for text in read_squad(tasks / "qa_squad2" / f"{part}.jsonl.gz")
        for start in range(0, len(text.questions), N_QUESTIONS)
    ]
    return build_question_docs(texts, vocab, "en")


def choices(folder: Path, part: str, vocab: Vocab) -> Iterable[Doc]:
    """Contexts or questions with their choices."""
    return build_choice_docs(read_choices(folder / f"{part}.jsonl.gz"), vocab)


SETS: dict[str, Callable[[Path, str, Vocab], Iterable[Doc]]] = {
    "ewt": ewt,
    "wg": wikigold,
    "wn": wnut,
    "sent": sentiment,
    "nli": nli,
    "qa": questions,
    "mc_codah": lambda tasks, part, vocab: choices(tasks / "mc_codah", part, vocab),
    "mc_csqa": lambda tasks, part, vocab: choices(tasks / "mc_commonsenseqa", part, vocab),
}
WITHOUT_TEST = ("mc_csqa",)


def read_all(tasks: Path) -> dict[tuple[str, str], list[Doc]]:
    """The Docs of every set and part."""
    return {
        (name, part): list(build(tasks, part, Vocab()))
        for name, build in SETS.items()
        for part in PARTS
        if part != "test" or name not in WITHOUT_TEST
    }


def leave_out(docs: dict[tuple[str, str], list[Doc]], held_out: set[str]) -> None:
    """Drop what is held out from the training parts, and shuffle them; says how many are left."""
    for name in SETS:
        given = docs[name, "train"]
        kept = [doc for doc in given if not keys_of(doc) & held_out]
        random.Random(SEED).shuffle(kept)  # so that the first Docs of a file are a sample of it
        docs[name, "train"] = kept
        print(f"{name}: {len(given)} Docs to train on, {len(kept)} without those held out")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    docs = read_all(arguments.tasks)
    with tempfile.TemporaryDirectory() as folder:
        files = prepare_data(None, Path(folder))
        demo = [
            doc
            for part in ("dev", "test")
            for doc in DocBin().from_disk(files[part]).get_docs(Vocab())
        ]
    tested = [doc for (_, part), found in docs.items() if part != "train" for doc in found]
    leave_out(docs, {key for doc in (*tested, *demo) for key in keys_of(doc)})
    for (name, part), found in docs.items():
        file = arguments.out / f"{name}_{part}.spacy"
        DocBin(docs=found, store_user_data=True).to_disk(file)


if __name__ == "__main__":
    main()
