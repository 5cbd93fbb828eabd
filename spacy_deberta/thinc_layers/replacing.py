"""What stands in a component after `nlp.replace_listeners`: an encoder of its own.

spaCy calls both functions: they stand in the attributes of the encoder's model. It takes the block
of the listener from `model.tok2vec` of the component's config, wherever the listener itself is.
"""

from __future__ import annotations

from typing import Any

from thinc.api import Model

from spacy_deberta.thinc_layers.layer_mix import build_layers_model
from spacy_deberta.thinc_layers.listeners import listener_state

# of DebertaModel.v1, which SequenceModel.v1 has, too
SHARED_SETTINGS = ("source", "batch_pieces", "precision", "device", "gradient_checkpointing")


def replace_listener(
    encoder: Model[Any, Any], listener: Model[Any, Any], component: Any
) -> Model[Any, Any]:
    """The layer in a listener's place.

    Args:
        encoder: a copy of the encoder component's model.
        listener: the layer to replace.
        component: the encoder component.
    """
    from spacy_deberta.thinc_layers.sequences import hears_sequences, sequence_model_of
    from spacy_deberta.thinc_layers.transformer import shim_of

    if hears_sequences(listener):
        return sequence_model_of(shim_of(encoder), encoder.attrs["settings"].batch_pieces)
    state = listener_state(listener)
    if state is None or state.layers is None:
        return encoder
    model = build_layers_model(encoder, list(state.layers), listener.attrs["mix"])
    for name in model.param_names:
        model.set_param(name, listener.get_param(name).copy())
    model.set_dim("nO", listener.get_dim("nO"))
    return model


def replace_listener_config(encoder: dict[str, Any], listener: dict[str, Any]) -> dict[str, Any]:
    """The block of the config that builds the same layer.

    Args:
        encoder: block of the encoder component's model.
        listener: block of the listener.
    """
    name = listener.get("@architectures")
    if name == "spacy-deberta.SequenceListener.v1":
        shared = {key: encoder[key] for key in encoder if key in SHARED_SETTINGS}
        return {"@architectures": "spacy-deberta.SequenceModel.v1", **shared}
    if name == "spacy-deberta.LayersListener.v1":
        own = {key: listener[key] for key in listener if key in ("layers", "mix")}
        return {"@architectures": "spacy-deberta.LayersModel.v1", "encoder": encoder, **own}
    return encoder
