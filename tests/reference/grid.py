"""The random cases of the comparison, over the whole grid of configurations, tasks and batches.

Every value of every choice comes up equally often: the columns are shuffled, not drawn.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import Any

from tests.reference.case import POOLED, TASKS, Case

IGNORED = -100  # label of what is no target
N_CHOICES = 2
STRETCH = 200.0  # position products reach 1e5, scores not

SIZES = {
    "vocab_size": 60,
    "hidden_size": 16,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
    "max_relative_positions": 16,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
V3 = {
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_buckets": 8,
    "position_biased_input": False,
}
CHOICES: dict[str, tuple[Any, ...]] = {
    "num_hidden_layers": (2, 2, 3),
    "num_attention_heads": (1, 2, 4),
    "hidden_act": ("gelu", "gelu", "relu", "tanh"),
    "relative_attention": (True, True, True, True, True, False),
    "pos_att_type": (["c2p", "p2c"], ["c2p", "p2c"], "p2c|c2p", ["c2p"], ["p2c"], []),
    "position_biased_input": (False, True),
    "type_vocab_size": (0, 2),
    "embedding_size": (16, 8),
    "pad_token_id": (0, 0, 5),
    "layer_norm_eps": (1e-7, 1e-7, 1e-5),
}
CHOICES_V2: dict[str, tuple[Any, ...]] = {
    "share_att_key": (True, False),
    "norm_rel_ebd": ("layer_norm", "none"),
    "position_buckets": (8, 8, -1),
    "conv_kernel_size": (0, 3, 0, 5),
    "conv_groups": (1, 1, 2),
    "conv_act": ("tanh", "gelu"),
}
# Beside the configuration: the batch's width (24 is beyond max_relative_positions), its padding,
# what is given instead of ids, and the layout of the checkpoint.
BATCHES: dict[str, tuple[Any, ...]] = {
    "width": (1, 7, 16, 24),
    "padding": ("none", "right", "left", "holes", "row"),
    "embeds": (False, False, False, True),
    "positions": (False, False, True),
    "types": (True, True, False),
    "layout": ("safetensors", "shards", "bin", "bin-shards", "renamed", "half"),
}
MASKED_LM = ("legacy", "plain")
SEQUENCE_LOSSES = ("classes", "classes", "soft", "regression", "single", "multi", "vector")


def random_cases(n_cases: int, seed: int = 0) -> list[Case]:
    """Cases of both layouts, in equal parts, and of all tasks."""
    rng = random.Random(seed)
    columns = {
        name: balanced(values, n_cases, rng)
        for name, values in {**CHOICES, **CHOICES_V2, **BATCHES}.items()
    }
    columns["head"] = balanced(MASKED_LM, n_cases, rng)
    columns["loss"] = balanced(SEQUENCE_LOSSES, n_cases, rng)
    cases = []
    for number in range(n_cases):
        family = ("v1", "v2", "v2")[number % 3]
        task = TASKS[number // 3 % len(TASKS)]
        picked = {name: column[number] for name, column in columns.items()}
        cases.append(make_case(f"{number:03}-{family}-{task}", family, task, picked, seed + number))
    return cases


def overflowing_case(sizes: Mapping[str, Any] = SIZES) -> Case:
    """One whose unscaled position scores exceed float16, while the scores themselves fit.

    `transformers` divides position scores after the product, and gets what is not a number.
    """
    rng = random.Random(1)
    heads = {"num_hidden_layers": 2, "num_attention_heads": 1}
    return Case(
        name="overflow",
        family="v2",
        task="model",
        config={**sizes, **V3, **heads},
        inputs={"input_ids": _integers(2, 8, sizes["vocab_size"], rng)},
        labels={},
        layout="safetensors",
        seed=0,
        stretch=STRETCH,
    )


def balanced(values: Sequence[Any], n: int, rng: random.Random) -> list[Any]:
    """Every value as often as the others, in random order."""
    column = list(islice(cycle(values), n))
    rng.shuffle(column)
    return column


def make_case(
    name: str,
    family: str,
    task: str,
    picked: Mapping[str, Any],
    seed: int,
    sizes: Mapping[str, Any] = SIZES,
) -> Case:
    """Put one case together from one value for each of CHOICES, CHOICES_V2, BATCHES and a head."""
    rng = random.Random(seed)
    config = {key: picked[key] for key in CHOICES}
    if family == "v2":
        config |= {key: picked[key] for key in CHOICES_V2}
    config = {**sizes, **config, **_head_keys(task, picked)}
    if task == "masked-lm" and not config["legacy"]:
        config["embedding_size"] = config["hidden_size"]  # theirs has no other form
    inputs = make_inputs(task, config, picked, rng)
    return Case(
        name=name,
        family=family,
        task=task,
        config=config,
        inputs=inputs,
        labels=make_labels(task, config, inputs, picked, rng),
        layout=picked["layout"],
        seed=seed,
    )


def _head_keys(task: str, picked: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of the configuration that belong to one task."""
    if task == "masked-lm":
        return {"legacy": picked["head"] == "legacy"}
    if task == "tokens":
        return {"num_labels": 5}
    if task == "sequence":
        problem = {
            "single": "single_label_classification",
            "multi": "multi_label_classification",
            "vector": "regression",
        }.get(picked["loss"])
        return {
            "num_labels": 1 if picked["loss"] == "regression" else 3,
            "pooler_hidden_act": "gelu" if picked["embeds"] else "tanh",
            **({"problem_type": problem} if problem else {}),
        }
    return {}


def make_mask(padding: str, width: int, rng: random.Random) -> list[list[int]] | None:
    """Three sequences of one batch; None = no mask at all."""
    if padding == "none" or width == 1:
        return None
    lengths = (width, max(1, width // 2), width - 1)
    rows = [[1] * length + [0] * (width - length) for length in lengths]
    if padding == "left":
        rows = [row[::-1] for row in rows]
    if padding == "holes":
        for row in rows:
            row[rng.randrange(1, width)] = 0
    if padding == "row":
        rows[1] = [0] * width
    return rows


def make_inputs(
    task: str, config: Mapping[str, Any], picked: Mapping[str, Any], rng: random.Random
) -> dict[str, Any]:
    """A batch: ids or embeddings, and mask, types and positions where they were picked."""
    width, padding = picked["width"], picked["padding"]
    if task in POOLED and padding in ("left", "row"):
        padding = "holes"  # theirs pools position 0, which would not be real
    if task == "span" and picked["loss"] != "classes":
        padding = "none"  # the loss is compared, and theirs counts the logits of padding
    n_rows = 2 * N_CHOICES if task == "choice" else 3
    mask = make_mask(padding, width, rng)
    inputs: dict[str, Any] = {"input_ids": _integers(n_rows, width, config["vocab_size"], rng)}
    if picked["embeds"]:
        size = config["embedding_size"]
        del inputs["input_ids"]
        inputs["inputs_embeds"] = [_floats(width, size, rng) for _ in range(n_rows)]
    if mask is not None:
        inputs["attention_mask"] = [mask[number % 3] for number in range(n_rows)]
    if picked["types"] and config["type_vocab_size"]:
        inputs["token_type_ids"] = _integers(n_rows, width, config["type_vocab_size"], rng)
    if picked["positions"]:
        size = config["max_position_embeddings"]
        inputs["position_ids"] = _integers(n_rows, width, size, rng)
    if task == "choice":
        pairs = range(0, n_rows, N_CHOICES)
        inputs = {
            name: [value[start : start + N_CHOICES] for start in pairs]
            for name, value in inputs.items()
        }
    return inputs


def make_labels(
    task: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, Any],
    picked: Mapping[str, Any],
    rng: random.Random,
) -> dict[str, Any]:
    """Targets for the task; none for the bare model and for spans in padded batches."""
    if task == "sequence":
        return {"labels": _sequence_labels(picked["loss"], rng)}
    if task == "choice":
        return {"labels": [rng.randrange(N_CHOICES) for _ in range(2)]}
    if task == "span" and "attention_mask" not in inputs:
        width = picked["width"]  # a target beyond the text is ignored
        return {
            "start_positions": [rng.randrange(width), width + 3, rng.randrange(width)],
            "end_positions": [rng.randrange(width), rng.randrange(width), width],
        }
    if task in ("masked-lm", "tokens"):
        n_classes = config["vocab_size"] if task == "masked-lm" else config["num_labels"]
        labels = _integers(3, picked["width"], n_classes, rng)
        real = inputs.get("attention_mask") or [[1] * picked["width"]] * 3
        kept = [[m and (n % 3 != 1) for n, m in enumerate(row)] for row in real]
        pairs = zip(labels, kept, strict=True)
        return {
            "labels": [
                [label if keep else IGNORED for label, keep in zip(*pair, strict=True)]
                for pair in pairs
            ]
        }
    return {}


def _sequence_labels(loss: str, rng: random.Random) -> Any:
    """Labels of three sequences, of three classes."""
    if loss == "classes":
        return [2, -1, 0]  # a negative one is no target
    if loss == "single":
        return [1, 2, IGNORED]
    if loss == "regression":
        return [0.5, -1.0, 2.0]
    if loss == "multi":
        return [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 1.0]]
    return _floats(3, 3, rng)


def _integers(n_rows: int, width: int, size: int, rng: random.Random) -> list[list[int]]:
    return [[rng.randrange(size) for _ in range(width)] for _ in range(n_rows)]


def _floats(n_rows: int, width: int, rng: random.Random) -> list[list[float]]:
    return [[round(rng.gauss(0, 1), 2) for _ in range(width)] for _ in range(n_rows)]
