"""A fine-tuned checkpoint as a pipeline, with its trained head: nothing is drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import spacy
from spacy.language import Language
from spacy.training import Example

from spacy_deberta.config import TOKEN_POOLING
from spacy_deberta.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from spacy_deberta.checkpoints import Checkpoint
    from spacy_deberta.config import DebertaConfig

ENCODER = "deberta"
_N_SAMPLE_CHOICES = 2
_DEFAULT_WINDOW = 256  # pieces


@dataclass(frozen=True)
class Task:
    """What a task of a checkpoint becomes.

    Attributes:
        factory: of the component.
        architecture: how the class that saved such a checkpoint ends.
        settings: of the component, by the checkpoint's config.
        pooling: of the encoder.
    """

    factory: str
    architecture: str
    settings: Callable[[DebertaConfig], dict[str, Any]] = field(default=lambda config: {})
    pooling: str = "mean"


def _textcat_settings(config: DebertaConfig) -> dict[str, Any]:
    modes = {"multi_label_classification": "multilabel", "regression": "regression"}
    single = "regression" if config.num_labels == 1 else "exclusive"
    return {"mode": modes.get(config.problem_type or "", single)}


def _mask_settings(config: DebertaConfig) -> dict[str, Any]:
    return {key: size for key, size in _window(config).items() if key == "window"}


# Token classifiers are trained on the first piece of every word.
TASKS = {
    "token-classification": Task("deberta_ner", "ForTokenClassification", pooling="first"),
    "sequence-classification": Task(
        "deberta_textcat", "ForSequenceClassification", _textcat_settings
    ),
    "question-answering": Task("deberta_qa", "ForQuestionAnswering"),
    "multiple-choice": Task("deberta_choice", "ForMultipleChoice"),
    "fill-mask": Task("deberta_fill_mask", "ForMaskedLM", _mask_settings),
}


def import_checkpoint(source: str, *, lang: str = "en", task: str | None = None) -> Language:
    """A pipeline of the encoder and the component for the checkpoint's task, ready to predict.

    Args:
        source: checkpoint folder, of any format, or hub name.
        lang: of the pipeline.
        task: which of the checkpoint's heads; None = the one it was saved for.

    Raises:
        CheckpointError: the checkpoint has no head for the task, or it cannot be read.
        ConfigError: an unknown task or language.
    """
    from spacy_deberta.checkpoints import open_checkpoint, resolve_source

    if task is not None and task not in TASKS:
        raise ConfigError(f"task={task!r} is unknown; supported: {', '.join(TASKS)}.")
    folder = resolve_source(source)
    checkpoint = open_checkpoint(folder)
    chosen = TASKS[_choose_task(checkpoint, task)]
    try:
        nlp = spacy.blank(lang)
    except ImportError as error:
        raise ConfigError(f"lang={lang!r}: spaCy knows no such language.") from error
    model = {
        "@architectures": "spacy-deberta.DebertaModel.v1",
        "source": source,
        "pooling": checkpoint.config.extra.get(TOKEN_POOLING, chosen.pooling),
        **_window(checkpoint.config),
    }
    nlp.add_pipe(ENCODER, config={"model": model})
    nlp.add_pipe(chosen.factory, config=chosen.settings(checkpoint.config))
    settings = nlp.config["initialize"]
    settings["components"] = {chosen.factory: {"head": str(folder)}}
    nlp.initialize(lambda: [_sample(nlp)])
    settings["components"] = {}  # a saved pipeline carries the head
    return nlp


def _choose_task(checkpoint: Checkpoint, task: str | None) -> str:
    """A key of TASKS that the checkpoint can do."""
    able = [name for name in checkpoint.tasks if name in TASKS]
    if task in able:
        return task
    if task is not None or not able:
        wanted = "any task" if task is None else task
        raise CheckpointError(
            f"{checkpoint.file}: holds no head for {wanted}; this file can do: "
            f"{', '.join(checkpoint.tasks)}. Give a fine-tuned checkpoint; an encoder alone is the "
            "`source` of a `deberta` component."
        )
    saved_by = checkpoint.config.extra.get("architectures") or []
    for name in able:
        if any(str(saver).endswith(TASKS[name].architecture) for saver in saved_by):
            return name
    if len(able) > 1:
        raise CheckpointError(
            f"{checkpoint.file}: its heads can do {' and '.join(able)}, and config.json's "
            "'architectures' does not say which it was saved for. Choose by --task."
        )
    return able[0]


def _window(config: DebertaConfig) -> dict[str, int]:
    """Smaller windows for an encoder with fewer absolute positions than the default asks for."""
    most = config.max_position_embeddings
    if not config.position_biased_input or most >= _DEFAULT_WINDOW:
        return {}
    return {"window": most, "stride": max(1, (most - 2) * 3 // 4)}


def _sample(nlp: Language) -> Example:
    """What components look at when they are initialized: a text with choices."""
    doc = nlp.make_doc("a text")
    if nlp.has_pipe("deberta_choice"):
        doc._.choices = [str(number) for number in range(_N_SAMPLE_CHOICES)]
        doc.cats = {str(number): float(number == 0) for number in range(_N_SAMPLE_CHOICES)}
    return Example(nlp.make_doc("a text"), doc)
