"""Models out of spaCy pipelines: the component that does a task, as a model and its tokenizer."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from spacy_deberta import modeling
from spacy_deberta.checkpoints import unfilled
from spacy_deberta.errors import HeadMissingError
from spacy_deberta.modeling import DebertaPreTrainedModel, DebertaTokenizer

PIPELINE_FILES = ("config.cfg", "meta.json")

FACTORIES: dict[str, tuple[str, ...]] = {  # task -> factories that do it, the first that is there
    "feature-extraction": ("deberta",),
    "fill-mask": ("deberta_fill_mask",),
    "multiple-choice": ("deberta_choice",),
    "question-answering": ("deberta_qa",),
    "text-classification": ("deberta_textcat",),
    "token-classification": ("deberta_ner",),
    "zero-shot-classification": ("deberta_textcat",),
}
NAMES: dict[str, tuple[str, ...]] = {  # task -> preferred names among components of one factory
    "text-classification": ("sentiment", "textcat", "deberta_textcat"),
    "zero-shot-classification": ("nli", "pairs"),
}


def is_pipeline(source: object) -> bool:
    """Tell whether this is an `nlp` object, without importing spaCy."""
    return hasattr(source, "pipe_names") and hasattr(source, "get_pipe")


def load_pipeline(source: str | Path) -> Any:
    """The spaCy pipeline of a folder or an installed package; None if it is neither."""
    folder = Path(source).expanduser()
    if _is_folder(folder):
        import spacy

        return spacy.load(folder)
    if isinstance(source, str) and source.isidentifier() and not folder.exists():
        from spacy.util import is_package, load_model_from_package

        return load_model_from_package(source) if is_package(source) else None
    return None


def model_of(nlp: Any, task: str) -> tuple[DebertaPreTrainedModel, DebertaTokenizer]:
    """The model of the component that does a task.

    Raises:
        HeadMissingError: there is no such component; says which tasks there are components for.
    """
    factories = FACTORIES.get(task, ())
    found = [name for name in nlp.pipe_names if nlp.get_pipe_meta(name).factory in factories]
    if not found:
        able = ", ".join(able_tasks(nlp)) or "none"
        raise HeadMissingError(
            f"the spaCy pipeline has no component for {task}: found {', '.join(nlp.pipe_names)}, "
            f"expected one made by {' or '.join(factories) or 'a factory of ours'}. Tasks that its "
            f"components can do: {able}."
        )
    if task == "feature-extraction":
        return _bare(*_take_out(nlp, _any_head(nlp)))
    return _take_out(nlp, next((name for name in NAMES.get(task, ()) if name in found), found[0]))


def able_tasks(nlp: Any) -> tuple[str, ...]:
    """The tasks that components of a spaCy pipeline can do, those with a head first."""
    made = {nlp.get_pipe_meta(name).factory for name in nlp.pipe_names}
    found = [task for task, factories in FACTORIES.items() if not made.isdisjoint(factories)]
    return tuple(sorted(found, key=lambda task: task == "feature-extraction"))


def _take_out(nlp: Any, name: str | None) -> tuple[DebertaPreTrainedModel, DebertaTokenizer]:
    """Encoder and head of a component, copied through the files that it would be exported to."""
    from spacy_deberta.components.exporting import export_pipeline

    with TemporaryDirectory(prefix="spacy-deberta-") as folder:
        done = export_pipeline(nlp, Path(folder), name)
        model = getattr(modeling, done.architecture).from_pretrained(folder)
        is_v1 = model.config.model_type == "deberta"
        tokenizer = modeling.DebertaTokenizer if is_v1 else modeling.DebertaV2Tokenizer
        return model, tokenizer.from_pretrained(folder)


def _any_head(nlp: Any) -> str | None:
    """A component that stands on the encoder, where there is one."""
    ours = {
        factory
        for task, made in FACTORIES.items()
        if task != "feature-extraction"
        for factory in made
    }
    return next((name for name in nlp.pipe_names if nlp.get_pipe_meta(name).factory in ours), None)


def _bare(
    model: DebertaPreTrainedModel, tokenizer: DebertaTokenizer
) -> tuple[DebertaPreTrainedModel, DebertaTokenizer]:
    """The same encoder without a head."""
    is_v1 = model.config.model_type == "deberta"
    with unfilled():
        bare = (modeling.DebertaModel if is_v1 else modeling.DebertaV2Model)(model.config)
    bare.encoder = model.encoder
    return bare.eval(), tokenizer


def _is_folder(folder: Path) -> bool:
    try:
        return all((folder / name).is_file() for name in PIPELINE_FILES)
    except (OSError, ValueError):
        return False
