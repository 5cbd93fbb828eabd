"""Tagged sentences to spaCy's training files: split, build Docs, write `.spacy`."""

import random
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from spacy.tokens import Doc, DocBin, Span
from spacy.vocab import Vocab

from spacy_deberta.corpora.iob import TaggedSentence
from spacy_deberta.errors import DataError

PARTS = ("train", "dev", "test")

T = TypeVar("T")
H = TypeVar("H", bound=Hashable)


def split_sentences(sentences: Sequence[H], shares: Sequence[int], seed: int) -> dict[str, list[H]]:
    """Split by sentence, or whatever the items are, the same way for the same shares and seed.

    Identical sentences go into the same part: nothing of the test part is seen in training.

    Args:
        sentences: all sentences.
        shares: percent of train and dev, or of train, dev and test.
        seed: of the shuffle before the split.

    Returns:
        The sentences of each part, in the order of the file.

    Raises:
        DataError: the shares do not add up to 100, or a part would be empty.
    """
    n_parts = len(shares)
    if n_parts not in (2, 3) or min(shares) <= 0 or sum(shares) != 100:  # noqa: PLR2004  percent
        found = "/".join(map(str, shares))
        raise DataError(
            f"split {found}: expected two or three positive percentages (train/dev or "
            "train/dev/test) that add up to 100, such as 70/10/20."
        )
    distinct = list(dict.fromkeys(sentences))
    random.Random(seed).shuffle(distinct)
    ends = [round(len(distinct) * sum(shares[: i + 1]) / 100) for i in range(n_parts)]
    part_of = {
        sentence: PARTS[part]
        for part, (start, end) in enumerate(zip([0, *ends], ends, strict=False))
        for sentence in distinct[start:end]
    }
    parts: dict[str, list[H]] = {name: [] for name in PARTS[:n_parts]}
    for sentence in sentences:
        parts[part_of[sentence]].append(sentence)
    empty = [name for name, members in parts.items() if not members]
    if empty:
        raise DataError(
            f"split {'/'.join(map(str, shares))} of {len(distinct)} distinct sentences leaves "
            f"{', '.join(empty)} empty: more sentences are needed."
        )
    return parts


def build_docs(sentences: Sequence[TaggedSentence], vocab: Vocab) -> Iterator[Doc]:
    """Yield one Doc per sentence, the words joined by single spaces.

    The files do not say where the spaces were, and a rule for it would be right for one language
    and corpus only.
    """
    for sentence in sentences:
        spaces = [True] * (len(sentence.words) - 1) + [False]
        doc = Doc(vocab, words=list(sentence.words), spaces=spaces)
        doc.set_ents([Span(doc, ent.start, ent.end, label=ent.label) for ent in sentence.entities])
        yield doc


def write_docs(sentences: Sequence[TaggedSentence], path: Path) -> None:
    """Write sentences as a `.spacy` file, making the folder where needed.

    Raises:
        DataError: the file cannot be written.
    """
    write_built(build_docs, sentences, path)


def write_built(
    build: Callable[[Sequence[T], Vocab], Iterable[Doc]], items: Sequence[T], path: Path
) -> None:
    """Write the Docs of items as a `.spacy` file, with their user data.

    Args:
        build: items to Docs.
        items: of one file.
        path: its folder is made where needed.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        DocBin(docs=build(items, Vocab()), store_user_data=True).to_disk(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}).") from error
