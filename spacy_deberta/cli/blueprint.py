"""A whole training config from tasks, language, size of the encoder and hardware.

The components are spaCy's and ours, with their own default settings, each listening to one encoder;
what suits fine-tuning an encoder stands here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spacy_deberta.errors import ConfigError

if TYPE_CHECKING:
    from confection import Config


@dataclass(frozen=True)
class Size:
    """An encoder to start from, and rates that suit it.

    Attributes:
        source: checkpoint folder or hub name; None = the embedded model.
        learn_rate: largest rate of the encoder.
        head_scale: factor on it for heads, which start from random weights.
    """

    source: str | None
    learn_rate: float
    head_scale: float


SIZES = {
    "embedded": Size(None, 3e-4, 5.0),
    "xsmall": Size("microsoft/deberta-v3-xsmall", 1e-4, 10.0),
    "small": Size("microsoft/deberta-v3-small", 5e-5, 20.0),
    "base": Size("microsoft/deberta-v3-base", 2e-5, 25.0),
    "large": Size("microsoft/deberta-v3-large", 1e-5, 50.0),
    "multilingual": Size("microsoft/mdeberta-v3-base", 2e-5, 25.0),
}

TASKS = {  # name on the command line -> factory
    **{
        name: name
        for name in (
            "ner",
            "tagger",
            "morphologizer",
            "parser",
            "senter",
            "trainable_lemmatizer",
            "textcat",
            "textcat_multilabel",
            "spancat",
            "span_finder",
            "entity_linker",
            "deberta_ner",
            "deberta_textcat",
            "deberta_qa",
            "deberta_choice",
            "deberta_fill_mask",
        )
    },
    "lemmatizer": "trainable_lemmatizer",
    "pairs": "deberta_textcat",
    "question-answering": "deberta_qa",
    "multiple-choice": "deberta_choice",
    "fill-mask": "deberta_fill_mask",
}

HARDWARE: Mapping[str, Mapping[str, Any]] = {
    "cpu": {
        "model": {"batch_pieces": 8192, "precision": "fp32"},
        "batcher": {"@batchers": "spacy.batch_by_sequence.v1", "size": 16},
    },
    "gpu": {
        "model": {"batch_pieces": 32768, "precision": "bf16", "device": "cuda"},
        "batcher": {
            "@batchers": "spacy.batch_by_padded.v1",
            "size": 2000,
            "buffer": 256,
            "discard_oversize": False,
        },
    },
}

ENCODER = "deberta"
LISTENER = "spacy-deberta.DebertaListener.v1"
SEQUENCE_LISTENER = "spacy-deberta.SequenceListener.v1"
_LISTENERS = {  # layers in the default settings of components -> ours in their place
    "spacy.HashEmbedCNN.v1": LISTENER,
    "spacy.HashEmbedCNN.v2": LISTENER,
    "spacy.Tok2Vec.v1": LISTENER,
    "spacy.Tok2Vec.v2": LISTENER,
    "spacy.Tok2VecListener.v1": LISTENER,
    LISTENER: LISTENER,
    "spacy-deberta.DebertaModel.v1": LISTENER,
    SEQUENCE_LISTENER: SEQUENCE_LISTENER,
    "spacy-deberta.SequenceModel.v1": SEQUENCE_LISTENER,
}


@dataclass(frozen=True)
class Plan:
    """What a config is for.

    Attributes:
        tasks: keys of TASKS.
        lang: of the pipeline, "en".
        size: a key of SIZES.
        hardware: a key of HARDWARE.
        source: an encoder instead of the size's.
        max_steps: updates in all; the rate falls to zero there.
    """

    tasks: Sequence[str]
    lang: str = "en"
    size: str = "embedded"
    hardware: str = "cpu"
    source: str | None = None
    max_steps: int = 2000


def build_config(plan: Plan) -> Config:
    """The config, filled: `spacy train` takes it as it is.

    Raises:
        ConfigError: an unknown task, language, size or hardware.
    """
    _check("task", plan.tasks, TASKS)
    _check("size", [plan.size], SIZES)
    _check("hardware", [plan.hardware], HARDWARE)
    factories = list(dict.fromkeys(TASKS[task] for task in plan.tasks))
    if not factories:
        raise ConfigError(f"no task; choose from: {', '.join(TASKS)}.")
    if plan.max_steps < 1:
        raise ConfigError(f"max_steps={plan.max_steps}; expected 1 or more.")
    model = {
        "@architectures": "spacy-deberta.DebertaModel.v1",
        "source": "${paths.source}",
        **HARDWARE[plan.hardware]["model"],
    }
    encoder = {"factory": ENCODER, "model": model}
    source = SIZES[plan.size].source if plan.source is None else plan.source
    return fill(
        {
            "paths": {"train": None, "dev": None, "source": source},
            "nlp": {"lang": plan.lang, "pipeline": [ENCODER, *factories]},
            "components": {ENCODER: encoder, **_heads(plan, factories)},
            "training": _training(plan),
        }
    )


def fill(config: Mapping[str, Any]) -> Config:
    """Fill in every default; nothing is loaded or downloaded.

    Raises:
        ConfigError: spaCy cannot build a pipeline from it.
    """
    from confection import Config, ConfigValidationError
    from spacy.util import load_model_from_config

    try:
        return load_model_from_config(Config(dict(config)), auto_fill=True).config
    except (ConfigValidationError, ValueError) as error:
        raise ConfigError(f"the config cannot be filled: {error}") from error


def _heads(plan: Plan, factories: Sequence[str]) -> dict[str, Any]:
    """Default settings of components, listening to the encoder."""
    from spacy.util import get_lang_class

    try:
        language = get_lang_class(plan.lang)
    except ImportError as error:
        raise ConfigError(f"lang={plan.lang!r}: spaCy knows no such language.") from error
    language()  # imports all factories
    heads = {}
    for factory in factories:
        defaults = language.get_factory_meta(factory).default_config
        heads[factory] = {"factory": factory, **_listening(defaults)}
        if factory in (
            "ner",
            "parser",
        ):  # the encoder's rows know their context: one layer is enough
            heads[factory]["model"]["use_upper"] = False
    if plan.size == "embedded" and "ner" in heads:
        model = heads["ner"]["model"]
        model["tok2vec"] = _with_shapes(model["tok2vec"])
    return heads


def _with_shapes(listener: dict[str, Any]) -> dict[str, Any]:
    """Rows and word shapes: the embedded encoder reads in lower case, and names have capitals."""
    shapes = {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": 32,
        "attrs": ["SHAPE"],
        "rows": [1000],
        "include_static_vectors": False,
    }
    return {"@layers": "concatenate.v1", "*": {"encoder": listener, "shapes": shapes}}


def _listening(settings: Any) -> Any:  # noqa: ANN401 - a value of a config
    """A copy of settings in which every encoder is a listener."""
    if isinstance(settings, list):
        return [_listening(value) for value in settings]
    if not isinstance(settings, Mapping):
        return settings
    ours = _LISTENERS.get(settings.get("@architectures", ""))
    if ours is not None:
        return {"@architectures": ours, "upstream": ENCODER, "grad_factor": 1.0}
    return {key: _listening(value) for key, value in settings.items()}


def _training(plan: Plan) -> dict[str, Any]:
    size = SIZES[plan.size]
    rate = {
        "@schedules": "warmup_linear.v1",
        "warmup_steps": max(1, plan.max_steps // 10),
        "total_steps": plan.max_steps,
        "initial_rate": size.learn_rate,
    }
    return {
        "max_steps": plan.max_steps,
        "patience": 0,  # the rate falls to zero at max_steps: stopping before would waste it
        "eval_frequency": max(1, plan.max_steps // 10),
        "batcher": dict(HARDWARE[plan.hardware]["batcher"]),
        "optimizer": {
            "@optimizers": "spacy-deberta.AdamW.v1",
            "learn_rate": rate,
            "head_learn_rate_scale": size.head_scale,
        },
    }


def _check(name: str, found: Sequence[str], known: Mapping[str, Any]) -> None:
    for value in found:
        if value not in known:
            raise ConfigError(f"{name} {value!r} is unknown; supported: {', '.join(known)}.")
