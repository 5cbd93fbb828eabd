"""Records checkpoints that TensorFlow's DeBERTa classes write, and what these compute.

Run by an interpreter that has TensorFlow, from the repository's root:

    pip install "tensorflow-cpu==2.19.1" "tf-keras==2.19.0" "transformers==4.57.6" "numpy<2.2" h5py
    export TF_USE_LEGACY_KERAS=1
    python tests/reference/record_tensorflow.py tests/reference/tensorflow-2.19.1
    python tests/reference/record_tensorflow.py tests/reference/tensorflow-2.19.1 --check OURS

The last line compares what TensorFlow makes of our files: OURS holds a folder per case with
config.json and tf_model.h5.

All weights are refilled with N(0, 0.3): at the library's own values broken position terms pass
unnoticed.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import transformers
from safetensors.numpy import load_file, save_file

SPREAD = 0.3  # standard deviation of all weights
SHAPE = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "relative_attention": True,
    "position_biased_input": False,
    "pos_att_type": ["c2p", "p2c"],
}
SECOND = {"position_buckets": 8, "max_relative_positions": 16, "norm_rel_ebd": "layer_norm"}
OWN = {**SECOND, "share_att_key": False, "conv_kernel_size": 3}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "v1-masked-lm": ("TFDebertaForMaskedLM", {}),
    "v1-sequence": (
        "TFDebertaForSequenceClassification",
        {"type_vocab_size": 2, "position_biased_input": True, "num_labels": 3},
    ),
    "v2-masked-lm": (
        "TFDebertaV2ForMaskedLM",
        {**OWN, "type_vocab_size": 2, "embedding_size": 8},
    ),
    "v2-choice": ("TFDebertaV2ForMultipleChoice", {**SECOND, "share_att_key": True}),
}


def run(model: Any, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The logits for the recorded inputs."""
    inputs = {name: tf.constant(array) for name, array in arrays.items() if name != "logits"}
    return model(inputs).logits.numpy()


def record(folder: Path, class_name: str, changes: dict[str, Any]) -> None:
    """One new model: its files, inputs with padding, and logits."""
    tf.keras.backend.clear_session()  # else a second dropout is called "dropout_1"
    rng = np.random.default_rng(len(folder.name))
    model_class = getattr(transformers, class_name)
    model = model_class(model_class.config_class(**{**SHAPE, **changes}))
    model(model.dummy_inputs)
    for weight in model.weights:
        weight.assign(rng.normal(0, SPREAD, weight.shape).astype(np.float32))
    model.save_pretrained(folder)
    shape = (2, 3, 7) if "choice" in folder.name else (2, 7)
    mask = np.ones(shape, np.int32)
    mask[-1, ..., 5:] = 0
    arrays = {"input_ids": rng.integers(1, 40, shape).astype(np.int32), "attention_mask": mask}
    if changes.get("type_vocab_size"):
        arrays["token_type_ids"] = rng.integers(0, 2, shape).astype(np.int32)
    arrays["logits"] = run(model, arrays)
    save_file(arrays, folder / "recorded.safetensors")
    print(folder, arrays["logits"].shape)


def check(folder: Path, recorded: Path, class_name: str) -> None:
    """Our file of one case in TensorFlow, against the recorded logits."""
    tf.keras.backend.clear_session()
    arrays = load_file(recorded / "recorded.safetensors")
    model, report = getattr(transformers, class_name).from_pretrained(
        folder, output_loading_info=True
    )
    error = np.abs(run(model, arrays) - arrays["logits"]).max()
    print(folder, f"largest difference {error:.1e}", {k: v for k, v in report.items() if v})


if __name__ == "__main__":
    target = Path(sys.argv[1])
    for name, (model_class_name, settings) in CASES.items():
        if len(sys.argv) > 3:  # FOLDER --check OURS
            check(Path(sys.argv[3]) / name, target / name, model_class_name)
        else:
            record(target / name, model_class_name, settings)
