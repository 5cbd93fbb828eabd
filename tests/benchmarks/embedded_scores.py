"""Score the embedded pipeline, or another trained like it, on the test parts of its tasks.

    python -m tests.benchmarks.embedded_scores --data DIR                  # the one in the package
    python -m tests.benchmarks.embedded_scores --data DIR --pipeline OUT

DIR holds the files that `embedded_data` writes. Every task runs its own components and the encoder.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import Any

import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example

import spacy_deberta

TASKS = {  # name -> file, Docs, components
    "entities, WikiGold": ("wg", None, ("ner",)),
    "entities, WNUT-17": ("wn", None, ("ner",)),
    "tags, dependencies, EWT": ("ewt", 800, ("tagger", "sentencizer", "parser")),
    "sentiment, film reviews": ("sent", None, ("sentiment",)),
    "entailment, counterfactual NLI": ("nli", None, ("nli",)),
    "questions, SQuAD 2 half": ("qa", 60, ("qa",)),
    "choices, CODAH": ("mc_codah", None, ("choice",)),
}


def read(data: Path, file: str, limit: int | None, nlp: Language) -> list[Doc]:
    """The first Docs; for questions, all Docs of the first contexts."""
    docs = list(DocBin().from_disk(data / f"{file}_test.spacy").get_docs(nlp.vocab))
    if file != "qa":
        return docs[:limit]
    contexts = list(dict.fromkeys(doc.text for doc in docs))[:limit]
    return [doc for doc in docs if doc.text in set(contexts)]


def evaluate(nlp: Language, docs: list[Doc], components: tuple[str, ...]) -> dict[str, Any]:
    """Scores of these components alone."""
    with nlp.select_pipes(enable=["deberta", *components]):
        return nlp.evaluate([Example(nlp.make_doc(doc.text), doc) for doc in docs])


def majority(docs: list[Doc]) -> float:
    """Share of the most frequent class."""
    golds = Counter(max(doc.cats, key=doc.cats.get) for doc in docs)
    return max(golds.values()) / len(docs)


def percent(value: float | None) -> str:
    """As in the model card."""
    return "-" if value is None else f"{100 * value:.1f}"


def questions(nlp: Language, docs: list[Doc]) -> str:
    """With and without silence."""
    pipe, shown = nlp.get_pipe("qa"), []
    for threshold in (2.0, 0.5):  # always answering, silence where that is more probable
        pipe.cfg["threshold"] = threshold
        shown.append(evaluate(nlp, docs, ("qa",)))
    always, silent = shown
    nulls = [n for doc in docs for n in doc.spans["qa"].attrs["null_scores"].values()]
    return (
        f"always answering F1 {percent(always['qa_has_answer_f1'])}, "
        f"EM {percent(always['qa_has_answer_exact'])} on answerable; with silence at 0.5: "
        f"F1 {percent(silent['qa_f1'])} over all (answerable {percent(silent['qa_has_answer_f1'])},"
        f" without {percent(silent['qa_no_answer_exact'])}); "
        f"{len(nulls)} questions, silence alone {percent(sum(nulls) / len(nulls))}"
    )


def show(nlp: Language, file: str, docs: list[Doc], components: tuple[str, ...]) -> str:
    """The figures of one task."""
    if file == "qa":
        return questions(nlp, docs)
    s = evaluate(nlp, docs, components)
    if file in ("wg", "wn"):
        return f"F1 {percent(s['ents_f'])} (P {percent(s['ents_p'])}, R {percent(s['ents_r'])})"
    if file == "ewt":
        return (
            f"tags {percent(s['tag_acc'])}, UAS {percent(s['dep_uas'])}, "
            f"LAS {percent(s['dep_las'])}"
        )
    if file == "mc_codah":
        return f"accuracy {percent(s['choice_acc'])}"
    # Exclusive classes, every Doc has one: micro F is the accuracy.
    return (
        f"accuracy {percent(s['cats_micro_f'])}, macro F {percent(s['cats_macro_f'])}, "
        f"majority {percent(majority(docs))}"
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pipeline", type=Path, default=spacy_deberta.embedded_path())
    parser.add_argument("--limit", type=int, help="Docs (contexts) of a task, to try it out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tasks", nargs="*", help="names of files, such as wg qa; all")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    nlp = spacy.load(arguments.pipeline)
    for title, (file, most, components) in TASKS.items():
        if arguments.tasks and file not in arguments.tasks:
            continue
        limit = min(filter(None, (most, arguments.limit)), default=None)
        docs = read(arguments.data, file, limit, nlp)
        start = time.monotonic()
        line = show(nlp, file, docs, components)
        print(f"{title}, {len(docs)} Docs: {line}  [{time.monotonic() - start:.0f} s]", flush=True)


if __name__ == "__main__":
    main()
