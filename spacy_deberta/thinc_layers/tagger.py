"""One row of logits per token: any tok2vec layer, dropout, one linear map."""

from __future__ import annotations

from typing import Any, cast

from spacy.tokens import Doc
from thinc.api import Dropout, Linear, Model, chain, with_array
from thinc.types import Floats2d

from spacy_deberta.errors import HeadMissingError

OUTPUT = "output"  # the name of the linear map among the model's references


def build_token_tagger(
    tok2vec: Model[list[Doc], list[Floats2d]], nO: int | None = None
) -> Model[list[Doc], list[Floats2d]]:
    """Logits of each token, registered as `spacy-deberta.TokenTagger.v1`.

    Args:
        tok2vec: rows (n_tokens, width) of each Doc: a listener, an encoder, or either of them
            concatenated with other features.
        nO: number of logits; the component sets it.
    """
    output = Linear(nO, tok2vec.maybe_get_dim("nO"))
    dropout: Model[Any, Any] = Dropout()
    head: Model[Any, Any] = with_array(chain(dropout, output))
    model: Model[list[Doc], list[Floats2d]] = chain(tok2vec, head)
    model.set_ref("tok2vec", tok2vec)
    model.set_ref(OUTPUT, output)
    return model


def is_initialized(model: Model[Any, Any]) -> bool:
    """Whether the logits have weights."""
    return bool(model.get_ref(OUTPUT).has_param("W"))


def set_width(model: Model[Any, Any], n_logits: int) -> None:
    """Give the model so many logits; all of them are drawn afresh by its next initialize()."""
    output = model.get_ref(OUTPUT)
    if output.maybe_get_dim("nO") != n_logits:
        _replace_output(model, Linear(n_logits, model.get_ref("tok2vec").maybe_get_dim("nO")))


def add_logits(model: Model[Any, Any], n_logits: int) -> None:
    """Append logits to those of an initialized model; their weights are zero."""
    old = model.get_ref(OUTPUT)
    n_old, width = old.get_dim("nO"), old.get_dim("nI")
    new = Linear(n_old + n_logits, width)
    weights: Any = model.ops.alloc2f(n_old + n_logits, width)
    bias: Any = model.ops.alloc1f(n_old + n_logits)
    weights[:n_old], bias[:n_old] = old.get_param("W"), old.get_param("b")
    new.set_param("W", weights)
    new.set_param("b", bias)
    _replace_output(model, new)


def load_token_head(model: Model[Any, Any], source: str) -> tuple[str, ...]:
    """Take the trained head of a token-classification checkpoint.

    Args:
        model: of this architecture, initialized.
        source: folder of the checkpoint, or its name on the hub.

    Returns:
        The names of its labels.

    Raises:
        HeadMissingError: the checkpoint has no such head, or one that is not a single linear map,
            or one for rows of another width.
    """
    from spacy_deberta.checkpoints import open_checkpoint, resolve_source

    checkpoint = open_checkpoint(resolve_source(source))
    head = checkpoint.heads.get("classifier", {})
    if "token-classification" not in checkpoint.tasks or not head:
        raise HeadMissingError(
            f"{checkpoint.file}: expected the linear head of a token-classification model; this "
            f"file can do: {', '.join(checkpoint.tasks)}. Give the folder of such a model, or "
            "leave `head` out and train one."
        )
    weights, bias = (
        cast(Any, head[f"classifier.{name}"].float().numpy()) for name in ("weight", "bias")
    )
    width = model.get_ref(OUTPUT).get_dim("nI")
    if weights.shape[1] != width:
        raise HeadMissingError(
            f"{checkpoint.file}: its head reads rows of width {weights.shape[1]}, but the "
            f"component's tok2vec gives {width}. Use the same checkpoint as the encoder's source, "
            "and its rows alone as tok2vec."
        )
    output = Linear(*weights.shape)
    output.set_param("W", model.ops.asarray2f(weights.copy()))
    output.set_param("b", model.ops.asarray1f(bias.copy()))
    _replace_output(model, output)
    names = checkpoint.config.id2label
    return tuple(names.get(number, f"LABEL_{number}") for number in range(len(weights)))


def _replace_output(model: Model[Any, Any], output: Model[Any, Any]) -> None:
    model.replace_node(model.get_ref(OUTPUT), output)
    model.set_ref(OUTPUT, output)
