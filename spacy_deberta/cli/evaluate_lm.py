"""`evaluate-lm`: how well a masked language model knows a language."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spacy_deberta.errors import ConfigError

if TYPE_CHECKING:
    from spacy_deberta.tokenizers import Tokenizer
    from spacy_deberta.training.scoring import Scorer, ScorerOptions

CONTROLS = ("random", "unigram")
DIGITS = 16  # of a checksum


def evaluate_lm(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="checkpoint folder, or a name on the hub; without one, the embedded model. As "
            "controls: random or random:FOLDER (the same shape with random weights), unigram or "
            "unigram:FOLDER (frequencies of the pieces)",
        ),
    ] = None,
    blimp: Annotated[
        Path | None, typer.Option(help="minimal pairs: .jsonl, .jsonl.gz or a folder of them")
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="running text that no training has seen, .xz or plain")
    ] = None,
    counts: Annotated[
        list[Path] | None,
        typer.Option(help="text in which unigram counts; repeat for more; default: that of --text"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, every set included")] = False,
    dtype: Annotated[str, typer.Option(help="precision of the weights")] = "float32",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(min=1, help="threads of torch; default: its own choice")
    ] = None,
    batch_pieces: Annotated[
        int | None, typer.Option(min=1, help="most pieces in a batch; a GPU wants more")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="pairs of each set, the first ones; default: all")
    ] = None,
    limit_lines: Annotated[int, typer.Option(min=1, help="lines of --text, the first ones")] = 200,
    seed: Annotated[int, typer.Option(help="of random weights")] = 0,
) -> None:
    """Score a masked language model by the pseudo-log-likelihood of texts.

    A score is the sum of log p(piece | text with this piece hidden) over all pieces of the whole
    sentence, [CLS] and [SEP] excluded; "word-l2r" also hides the later pieces of the same word.
    Equal scores of a pair count one half. Never choose or train a model by minimal pairs.
    """
    if blimp is None and text is None:
        raise ConfigError("evaluate-lm: found neither --blimp nor --text, expected one or both.")
    import torch

    from spacy_deberta.training.scoring import ScorerOptions

    if threads is not None:
        torch.set_num_threads(threads)
    options = ScorerOptions(dtype=dtype, device=device)
    if batch_pieces is not None:
        options = replace(options, batch_pieces=batch_pieces)
    counted = counts or ([] if text is None else [text])
    scorer, tokenizer, facts = _open(source, counted, seed, options)
    report: dict[str, Any] = {**facts, "threads": torch.get_num_threads()}
    if blimp is not None:
        report["blimp"] = _score_blimp(blimp, limit, scorer, tokenizer)
    if text is not None:
        report["text"] = _score_text(text, limit_lines, scorer, tokenizer)
    if as_json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        print("\n".join(describe(report)))


def _open(
    source: str | None, counted: Sequence[Path], seed: int, options: ScorerOptions
) -> tuple[Scorer, Tokenizer, dict[str, Any]]:
    """The scorer that MODEL means, and what to note about it."""
    import torch

    from spacy_deberta import __version__
    from spacy_deberta.training.scoring import open_masked_lm, open_random, open_unigram

    kind, _, folder = (source or "").partition(":")
    control = kind if kind in CONTROLS else None
    facts: dict[str, Any] = {
        "version": __version__,
        "torch": torch.__version__,
        "model": source or "embedded",
        "control": control,
    }
    if control == "unigram":
        unigram, tokenizer = open_unigram(folder or None, counted)
        facts["counted"] = {str(file): _checksum(file.read_bytes()) for file in counted}
        return unigram, tokenizer, {**facts, "tokenizer": _checksum(tokenizer.to_bytes())}
    if control == "random":
        scorer, tokenizer = open_random(folder or None, seed, options)
        facts["seed"] = seed
    else:
        scorer, tokenizer = open_masked_lm(source, options)
    return (
        scorer,
        tokenizer,
        {
            **facts,
            "mask_decoder": scorer.model.mask_decoder,
            "parameters": scorer.model.num_parameters(),
            **asdict(options),
            "weights": scorer.checksum()[:DIGITS],
            "tokenizer": _checksum(tokenizer.to_bytes()),
        },
    )


def _score_blimp(
    source: Path, limit: int | None, scorer: Scorer, tokenizer: Tokenizer
) -> dict[str, Any]:
    from spacy_deberta.training.scoring import read_pairs, score_pairs

    pairs = read_pairs(source, limit)
    started = time.monotonic()
    report = asdict(score_pairs(pairs, scorer, tokenizer, _progress("pairs")))
    pairs_text = json.dumps([asdict(pair) for pair in pairs], sort_keys=True)
    facts = {"file": str(source), "limit": limit, "data": _checksum(pairs_text.encode("utf-8"))}
    return {**facts, "seconds": round(time.monotonic() - started, 1), **report}


def _score_text(file: Path, limit: int, scorer: Scorer, tokenizer: Tokenizer) -> dict[str, Any]:
    from spacy_deberta.training.scoring import read_passages, score_running_text

    passages = read_passages(file, limit)
    started = time.monotonic()
    report = asdict(score_running_text(passages, scorer, tokenizer, _progress("text")))
    data = _checksum("\n".join(passages).encode("utf-8"))
    facts = {"file": str(file), "limit_lines": limit, "data": data}
    return {**facts, "seconds": round(time.monotonic() - started, 1), **report}


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGITS]


def _progress(name: str) -> Callable[[float], None] | None:
    """Tell people who watch; None where standard error is a file."""
    if not sys.stderr.isatty():
        return None

    def show(share: float) -> None:
        print(f"\r{name}: {share:.0%}", end="\n" if share == 1 else "", file=sys.stderr, flush=True)

    return show


def describe(report: Mapping[str, Any]) -> Iterator[str]:
    """The lines that are printed without --json."""
    how = "piece frequencies"
    if report["control"] != "unigram":
        how = f"{report['mask_decoder']} head, {report['parameters']:,} parameters"
        how += f", {report['dtype']} on {report['device']}, weights {report['weights']}"
    yield f"model: {report['model']} ({how})"
    if "blimp" in report:
        yield from _describe_blimp(report["blimp"])
    if "text" in report:
        yield from _describe_text(report["text"])


def _describe_blimp(report: Mapping[str, Any]) -> Iterator[str]:
    variants = report["variants"]
    n_sets = len(variants["pll"]["sets"])
    yield ""
    yield f"minimal pairs: {report['n_pairs']:,} in {n_sets} sets, {report['seconds']} s"
    yield (
        f"with unknown pieces {report['n_unknown']:,}, of the same pieces {report['n_same']:,}; "
        "scores of full sentences, temperature 1, ties one half"
    )
    yield _row("% right", *(name.replace("_", "-") for name in variants))
    yield _row("mean over sets", *(f"{100 * v['accuracy']:.2f}" for v in variants.values()))
    yield _row("ties", *(f"{v['n_ties']:,}" for v in variants.values()))
    for field in variants["pll"]["fields"]:
        shares = (f"{100 * v['fields'][field]:.2f}" for v in variants.values())
        yield _row(f"  {field.replace('_', ' ')}", *shares)


def _describe_text(report: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield (
        f"text: {report['n_characters']:,} characters in {report['n_passages']:,} passages, "
        f"{report['n_pieces']:,} pieces, {report['n_unknown']:,} of them unknown; "
        f"{report['seconds']} s"
    )
    yield (
        f"15 % of the words hidden: {100 * report['masked_accuracy']:.2f} % of "
        f"{report['n_masked']:,} pieces right, {report['masked_nats']:.3f} nats a piece"
    )
    names = report["bits_per_character"]
    yield _row("", *(name.replace("_", "-") for name in names))
    for title, key in (
        ("bits per character", "bits_per_character"),
        ("pseudo-perplexity of a piece", "pseudo_perplexity"),
    ):
        yield _row(title, *(f"{value:.3f}" for value in report[key].values()))


def _row(title: str, *values: str) -> str:
    return f"{title:<28}" + "".join(f"{value:>14}" for value in values)
