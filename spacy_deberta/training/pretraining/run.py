"""A run from its settings: folder, lock, data, model, and the checkpoint that it goes on from."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

from spacy_deberta.errors import CheckpointError, ConfigError
from spacy_deberta.tokenizers import Tokenizer
from spacy_deberta.training.corpus import PieceCorpus
from spacy_deberta.training.corpus_meta import tokenizer_checksum
from spacy_deberta.training.pretraining.data import Samples
from spacy_deberta.training.pretraining.distributed import Group, join_group
from spacy_deberta.training.pretraining.lock import locked
from spacy_deberta.training.pretraining.log import (
    LOG_FILE,
    PLOT_FILE,
    ProgressLine,
    RunLog,
    plot_log,
)
from spacy_deberta.training.pretraining.models import choose_tokenizer
from spacy_deberta.training.pretraining.objectives import build_objective
from spacy_deberta.training.pretraining.resume import check_forced, check_unchanged, to_json
from spacy_deberta.training.pretraining.settings import Settings
from spacy_deberta.training.pretraining.signals import EXIT_CODES, StopRequest
from spacy_deberta.training.pretraining.state import (
    FOLDER,
    CheckpointStore,
    Snapshot,
    read_snapshot,
)
from spacy_deberta.training.pretraining.tokenized import open_corpus
from spacy_deberta.training.pretraining.trainer import Trainer
from spacy_deberta.training.pretraining.writer import Material, Output

CORPUS_FOLDER = "corpus"
HELD_OUT_FOLDER = "corpus-held-out"


def pretrain(settings: Settings, *, forced: Collection[str] = (), strict: bool = False) -> int:
    """Train from the settings, or go on from the newest checkpoint in `run.out`.

    Every process of a `torchrun` calls this.

    Args:
        settings: of the run.
        forced: "section.key" that may differ from those of the checkpoint.
        strict: refuse to pass over a damaged checkpoint.

    Returns:
        An exit code: 0, or that of the signal that stopped the run after a checkpoint.

    Raises:
        CheckpointError: the folder is in use or cannot be written, or no checkpoint is whole.
        ConfigError: settings that cannot work, or not with the checkpoint.
        DataError: a text cannot be read.
    """
    check_forced(forced)
    if settings.run.threads:
        torch.set_num_threads(settings.run.threads)
    with StopRequest() as stop, _joined(settings) as group, _folder(settings, group) as output:
        material = load_material(settings, group)
        trainer = Trainer(settings, material, group, output)
        now = {"settings": to_json(settings), "content": material.content}
        found = find_checkpoint(output, group, strict=strict)
        if found is not None:
            check_unchanged(found.record, now, forced)
            trainer.restore(found)
        if group.is_first:
            output.log.go_on(trainer.counters.step)
        ended = trainer.run(stop)
        if group.is_first and ended:
            _plot(output)
    return 0 if ended or stop.signal is None else EXIT_CODES[stop.signal]


def find_checkpoint(output: Output, group: Group, *, strict: bool = False) -> Snapshot | None:
    """The newest whole checkpoint, the same for every process.

    Args:
        output: where the checkpoints are.
        group: the processes.
        strict: refuse to pass over a damaged checkpoint.

    Raises:
        CheckpointError: there are checkpoints, but none is whole; or `strict`.
    """
    found: Path | None = None
    if group.is_first:
        output.store.clean()
        say = output.progress.say
        found = output.store.newest(lambda text: say(f"warning: {text}"), strict=strict)
        if found is not None:
            say(f"{found}: going on from here")
    found = group.gather(found)[0]
    return None if found is None else read_snapshot(found)


def load_material(settings: Settings, group: Group) -> Material:
    """Model and data of a run; the first process tokenizes what is not tokenized yet.

    Raises:
        DebertaError: something cannot be read or does not fit; see `pretrain`.
    """
    tokenizer = choose_tokenizer(settings.model, settings.data)
    data, out = settings.data, Path(settings.run.out)
    folder = Path(data.corpus) if data.corpus else out / CORPUS_FOLDER
    corpus = _open_once(data.text, tokenizer, folder, group)
    samples = Samples(corpus, tokenizer, data, settings.run.seed)
    held_out = []
    if data.held_out:
        evaluated = _open_once(data.held_out, tokenizer, out / HELD_OUT_FOLDER, group)
        share, wanted = settings.evaluation.mask_share, settings.evaluation.sequences
        held_out = Samples(evaluated, tokenizer, data, settings.run.seed).fixed(
            wanted, share, _longest(settings)
        )
    torch.manual_seed(settings.run.seed)
    objective = build_objective(settings.objective, settings.model, tokenizer)
    objective.module.to(group.device)
    _check_windows(objective.module, settings)
    content = {"data.text": _checksum(corpus), "data.tokenizer": tokenizer_checksum(tokenizer)}
    return Material(objective, samples, held_out, content)


@contextmanager
def _joined(settings: Settings) -> Iterator[Group]:
    group = join_group(settings.run.device, settings.run.timeout_seconds)
    try:
        yield group
    finally:
        group.close()


@contextmanager
def _folder(settings: Settings, group: Group) -> Iterator[Output]:
    """The folder of the run, kept for this run alone."""
    folder = Path(settings.run.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"{folder}: cannot be made ({error}); expected a folder to write to as run.out."
        ) from error
    with locked(folder) if group.is_first else nullcontext():
        group.wait()
        yield Output(
            folder=folder,
            store=CheckpointStore(folder / FOLDER, settings.run.keep),
            log=RunLog(folder / LOG_FILE),
            progress=ProgressLine(sys.stderr),
        )


def _open_once(
    texts: Sequence[str], tokenizer: Tokenizer, folder: Path, group: Group
) -> PieceCorpus:
    """A tokenized corpus, written by the first process if at all."""
    paths = [Path(text) for text in texts]
    if group.is_first:
        open_corpus(paths, tokenizer, folder)
    group.wait()
    return PieceCorpus.open(folder)


def _checksum(corpus: PieceCorpus) -> str:
    if corpus.meta is not None:
        return corpus.meta.pieces
    return hashlib.sha256(memoryview(corpus.pieces)).hexdigest()  # a folder of an older version


def _check_windows(module: torch.nn.Module, settings: Settings) -> None:
    """Refuse windows that the model or a micro-batch has no room for, also those of later on."""
    longest = _longest(settings)
    for part in module.modules():
        config = getattr(part, "config", None)
        room = getattr(config, "max_position_embeddings", longest)
        if longest > room:
            raise ConfigError(
                f"batches.windows={settings.batches.windows}: a window of {longest} pieces, "
                f"expected at most max_position_embeddings={room} of the model."
            )
    if longest > settings.data.micro_pieces:
        raise ConfigError(
            f"data.micro_pieces={settings.data.micro_pieces}: expected at least {longest}, the "
            "longest of batches.windows."
        )


def _longest(settings: Settings) -> int:
    """Pieces of the longest window of the run."""
    return max(length for _, length in settings.batches.windows)


def _plot(output: Output) -> None:
    image = output.folder / PLOT_FILE
    try:
        plot_log(output.log.path, image)
    except (ConfigError, OSError) as error:
        output.progress.say(f"no plot: {error}")
