"""Where a pipeline's model comes from: embedded, a folder or hub name, spaCy, or an object."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch

from pipelines.defaults import default_source
from pipelines.inputs import describe
from pipelines.saving import read_settings
from pipelines.spacy_models import FACTORIES, is_pipeline, load_pipeline, model_of
from spacy_deberta.checkpoints import open_checkpoint, read_config, resolve_source
from spacy_deberta.config import DebertaConfig, DebertaV2Config
from spacy_deberta.errors import CheckpointError, HeadMissingError, OptionError
from spacy_deberta.modeling import (
    DebertaPreTrainedModel,
    DebertaTokenizer,
    DebertaV2PreTrainedModel,
    DebertaV2Tokenizer,
)

CONFIG_FILE = "config.json"
NO_LIMIT = 1_000_000  # what a tokenizer declares beyond this is no limit
USUAL_LENGTH = 512  # pieces of a row where nothing is declared
LEAST_LENGTH = 8

_BESIDE_OTHERS = ("feature-extraction", "zero-shot-classification")  # no heads of their own
_DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
}

TASKS_OF_FILES: dict[str, str] = {  # what a checkpoint can do -> the task here
    "encoder": "feature-extraction",
    "fill-mask": "fill-mask",
    "sequence-classification": "text-classification",
    "token-classification": "token-classification",
    "question-answering": "question-answering",
    "multiple-choice": "multiple-choice",
}
ARCHITECTURES: dict[str, str] = {  # end of a class name in config.json -> task
    "ForMaskedLM": "fill-mask",
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMultipleChoice": "multiple-choice",
    "Model": "feature-extraction",
}


@dataclass(frozen=True, eq=False)
class Wanted:
    """What a pipeline asks of a source.

    Attributes:
        task: name of the task.
        head: end of the names of its model classes, such as "ForTokenClassification".
        device: None = the best one.
        dtype: "auto", or a precision.
        revision: of a name on the hub.
        allow_untrained_head: draw a missing head at random.
    """

    task: str
    head: str
    device: str | int | torch.device | None = None
    dtype: str | torch.dtype = "auto"
    revision: str | None = None
    allow_untrained_head: bool = False


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model and what it came with.

    Attributes:
        model: in eval mode.
        tokenizer: its own, or the one that was given.
        settings: content of pipeline.json; empty without one.
    """

    model: DebertaPreTrainedModel
    tokenizer: DebertaTokenizer
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def declared_length(self) -> int | None:
        """Pieces of a row that the tokenizer declares; None = no limit."""
        declared = self.tokenizer.model_max_length
        return int(declared) if declared < NO_LIMIT else None

    def window(self, asked: int | None) -> int:
        """Pieces of a row, special ones included.

        Raises:
            OptionError: fewer than leave room for text, or more than the model has positions.
        """
        config = self.model.config
        most = config.max_position_embeddings if config.position_biased_input else NO_LIMIT
        if asked is None:
            declared = self.declared_length
            usual = min(config.max_position_embeddings, USUAL_LENGTH)
            return min(usual if declared is None else declared, most)
        if (
            isinstance(asked, bool)
            or not isinstance(asked, int)
            or not LEAST_LENGTH <= asked <= most
        ):
            end = f" to {most}" if most < NO_LIMIT else " or more"
            raise OptionError(
                f"max_length={asked!r}, expected a whole number of pieces, {LEAST_LENGTH}{end}."
            )
        return asked


def open_model(source: Any, tokenizer: Any, wanted: Wanted) -> Loaded:
    """The model, on its device, in its precision, and the tokenizer that a source stands for.

    Args:
        source: as `TaskPipeline` takes it.
        tokenizer: instead of the source's own.
        wanted: task, device, precision.

    Raises:
        HeadMissingError: it has no trained head for this task; says what it can do.
        CheckpointError: nothing is there, or a file is missing or damaged.
        OptionError: the source, or a setting, is of a kind that cannot be.
    """
    device = pick_device(wanted.device)
    loaded = _open(source, tokenizer, wanted)
    dtype = _precision(loaded, wanted.dtype, device)
    model = loaded.model
    if model is source:  # the caller's own
        dtype = model.dtype if wanted.dtype == "auto" else dtype
        model = model if dtype == model.dtype else copy.deepcopy(model)
    model = model.to(device=device, dtype=dtype).eval()
    given = loaded.tokenizer if tokenizer is None else _read_tokenizer(tokenizer, model)
    return Loaded(model, given, loaded.settings)


def _read_tokenizer(given: Any, model: DebertaPreTrainedModel) -> DebertaTokenizer:
    """A tokenizer that a caller gave, or the one in a folder that a caller named.

    Raises:
        OptionError: it is something else.
    """
    if isinstance(given, str | Path):
        return tokenizer_class(model).from_pretrained(given)
    if not isinstance(given, DebertaTokenizer | DebertaV2Tokenizer):
        raise OptionError(
            f"tokenizer={describe(given)}: expected a folder, or a tokenizer of spacy_deberta."
        )
    return given


def _open(source: Any, tokenizer: Any, wanted: Wanted) -> Loaded:
    if isinstance(source, DebertaPreTrainedModel):
        return _of_object(source, tokenizer, wanted)
    if source is None:
        source = default_source(wanted.task)
    if is_pipeline(source):
        return _of_pipeline(source, wanted)
    if not isinstance(source, str | Path):
        raise OptionError(
            f"model={describe(source)}: expected a folder, a name on the hub, a spaCy pipeline, a "
            "model of spacy_deberta, or None for the embedded model."
        )
    if (nlp := load_pipeline(source)) is not None:
        return _of_pipeline(nlp, wanted)
    return _of_folder(source, tokenizer, wanted)


def _of_pipeline(nlp: Any, wanted: Wanted) -> Loaded:
    """The component for the task; others' tasks share the components of the one with their head."""
    task = wanted.task if wanted.task in FACTORIES else ARCHITECTURES.get(wanted.head, wanted.task)
    return Loaded(*model_of(nlp, task))


def _of_object(model: DebertaPreTrainedModel, tokenizer: Any, wanted: Wanted) -> Loaded:
    if tokenizer is None:
        raise OptionError(
            "tokenizer: a model object comes without one; give tokenizer="
            f"{tokenizer_class(model).__name__}.from_pretrained(folder)."
        )
    if not isinstance(model, tuple(classes_of(wanted.head).values())):
        raise HeadMissingError(
            f"model: found a {type(model).__name__}, expected a DebertaV2{wanted.head} (or "
            f"Deberta{wanted.head}) for {wanted.task}. Load the checkpoint with that class."
        )
    return Loaded(model, tokenizer)


def _of_folder(source: str | Path, tokenizer: Any, wanted: Wanted) -> Loaded:
    folder = resolve_source(str(source), revision=wanted.revision)
    model_class = classes_of(wanted.head)[_model_type(folder)]
    try:
        model = model_class.from_pretrained(folder, allow_missing_head=wanted.allow_untrained_head)
    except CheckpointError as error:
        _explain_head(folder, model_class, wanted, error)
        raise
    if tokenizer is None:
        tokenizer = tokenizer_class(model).from_pretrained(folder)
    settings = read_settings(folder)
    if settings.get("task", wanted.task) != wanted.task:
        settings = {}  # saved by another task: its options are not this one's
    return Loaded(model, tokenizer, settings)


def _precision(loaded: Loaded, asked: str | torch.dtype, device: torch.device) -> torch.dtype:
    """The dtype that is asked for; "auto" looks at pipeline.json, on CUDA also at config.json."""
    name: object = asked
    if asked == "auto":
        extra = loaded.model.config.extra
        noted = (extra.get("dtype") or extra.get("torch_dtype")) if device.type == "cuda" else None
        name = loaded.settings.get("dtype") or noted or "float32"
    found = name if isinstance(name, torch.dtype) else _DTYPES.get(str(name))
    if found is None or found not in _DTYPES.values():
        raise OptionError(f"dtype={asked!r}, expected 'auto' or one of {', '.join(_DTYPES)}.")
    return found


def classes_of(name: str) -> dict[str, type[DebertaPreTrainedModel]]:
    """The model class of each model_type, from the end of their name: "ForTokenClassification"."""
    import spacy_deberta.modeling as zoo

    return {
        "deberta": getattr(zoo, f"Deberta{name}"),
        "deberta-v2": getattr(zoo, f"DebertaV2{name}"),
    }


def tokenizer_class(model: DebertaPreTrainedModel) -> type[DebertaTokenizer]:
    """The tokenizer class of a model's family."""
    return DebertaV2Tokenizer if isinstance(model, DebertaV2PreTrainedModel) else DebertaTokenizer


def find_task(source: str | Path) -> str:
    """The task that a checkpoint is for, without any network for a folder.

    From its pipeline.json, else the architecture in its config.json, else its heads.

    Raises:
        HeadMissingError: it has no head, or several; says what it can do.
    """
    folder = resolve_source(str(source))
    if task := read_settings(folder).get("task"):
        return cast("str", task)
    config = read_config(folder) if (folder / CONFIG_FILE).is_file() else {}
    for name in config.get("architectures") or ():
        end = str(name).removeprefix("DebertaV2").removeprefix("Deberta")
        if end in ARCHITECTURES:
            return ARCHITECTURES[end]
    able = able_tasks(open_checkpoint(folder).tasks)
    found = [task for task in able if task not in _BESIDE_OTHERS] or [*able]
    if len(found) == 1:
        return found[0]
    raise HeadMissingError(
        f"{folder}: which task? This checkpoint can do {', '.join(found)}. Name one: "
        f"pipeline({found[-1]!r}, model=...)."
    )


def able_tasks(tasks: tuple[str, ...]) -> tuple[str, ...]:
    """Our names of what a checkpoint can do."""
    found = [TASKS_OF_FILES[name] for name in tasks if name in TASKS_OF_FILES]
    if "text-classification" in found:
        found.append("zero-shot-classification")
    return tuple(found)


def pick_device(device: str | int | torch.device | None) -> torch.device:
    """The device that is asked for; None = CUDA if there is one that works, else the CPU.

    Args:
        device: also as a number: -1 is the CPU, others are CUDA devices.

    Raises:
        OptionError: there is no such device here; nothing falls back silently.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if isinstance(device, int) and not isinstance(device, bool):
        device = "cpu" if device < 0 else f"cuda:{device}"
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise OptionError(
            f"device={device!r} cannot be used here ({reason}). Use device=None for the best one."
        ) from error
    return found


def _model_type(folder: Path) -> str:
    """Which family a checkpoint belongs to; Microsoft's configs do not say, but its tensors do."""
    found = read_config(folder).get("model_type") if (folder / CONFIG_FILE).is_file() else None
    if isinstance(found, str) and found in (DebertaConfig.model_type, DebertaV2Config.model_type):
        return found
    return open_checkpoint(folder).config.model_type


def _explain_head(
    folder: Path,
    model_class: type[DebertaPreTrainedModel],
    wanted: Wanted,
    error: CheckpointError,
) -> None:
    """Raise HeadMissingError if what failed is that a head is not there."""
    checkpoint = open_checkpoint(folder, part=model_class.checkpoint_part)
    able = able_tasks(checkpoint.tasks)
    if not checkpoint.faults and ARCHITECTURES.get(wanted.head) not in able:
        raise HeadMissingError(
            f"{folder}: has no trained head for {wanted.task}; it can do {', '.join(able)}. Use a "
            f"checkpoint that was trained for it, or allow_untrained_head=True. ({error})"
        ) from error


def task_of_model(model: object) -> str:
    """The task that a model object is for.

    Raises:
        OptionError: it is no model of ours.
    """
    name = type(model).__name__.removeprefix("DebertaV2").removeprefix("Deberta")
    if not isinstance(model, DebertaPreTrainedModel) or name not in ARCHITECTURES:
        raise OptionError(f"task: cannot be told from model={describe(model)}; give it.")
    return ARCHITECTURES[name]
