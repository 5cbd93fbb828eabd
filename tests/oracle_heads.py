"""Slow, independent forms of the heads that no other package has, one sequence at a time.

Written from the papers and the published training code's formulas; shares no code with the
package. Weights come as dictionaries by the names of our modules.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.oracle import attend

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class LayerShape:
    """What a layer's weights do not say.

    Attributes:
        n_heads: attention heads.
        scale: factor on every score.
        row_of: table row of every signed distance i - j.
        has_c2p: the scores have the content-to-position term.
        has_p2c: the scores have the position-to-content term.
        eps: of the norms.
    """

    n_heads: int
    scale: float
    row_of: Mapping[int, int]
    has_c2p: bool
    has_p2c: bool
    eps: float


def decode_masked(
    hidden: Tensor, positions: Tensor, table: Tensor, layer: Weights, shape: LayerShape
) -> Tensor:
    """The enhanced mask decoder, every row of one sequence.

    Args:
        hidden: (L, H), output of the second-last layer.
        positions: (L, H), rows of the table of absolute positions.
        table: (S, H), the relative table, normed where the config says so.
        layer: the last layer's weights.
        shape: its other facts.
    """
    query = hidden + positions
    for _ in range(2):
        query = layer_step(query, hidden, table, layer, shape)
    return query


def layer_step(
    query: Tensor, content: Tensor, table: Tensor, layer: Weights, shape: LayerShape
) -> Tensor:
    """One layer whose queries are other rows than its keys and values; (L, H) each."""
    queries = _map(query, layer, "attention.query")
    keys = _map(content, layer, "attention.key")
    values = _map(content, layer, "attention.value")
    own = "attention.position_query.weight" in layer or "attention.position_key.weight" in layer
    position_keys = position_queries = None
    if shape.has_c2p:
        position_keys = _map(table, layer, "attention.position_key" if own else "attention.key")
    if shape.has_p2c:
        name = "attention.position_query" if own else "attention.query"
        position_queries = _map(table, layer, name)
    width = query.shape[1] // shape.n_heads
    contexts = []
    for head in range(shape.n_heads):
        mine = slice(head * width, (head + 1) * width)
        contexts.append(
            attend(
                (queries[:, mine], keys[:, mine], values[:, mine]),
                None if position_keys is None else position_keys[:, mine],
                None if position_queries is None else position_queries[:, mine],
                row_of=dict(shape.row_of),
                scale=shape.scale,
            )
        )
    mixed = _map(torch.cat(contexts, dim=1), layer, "attention_output.dense")
    attended = _normed(query + mixed, layer, "attention_output.norm", shape.eps)
    inner = _map(_gelu(_map(attended, layer, "intermediate")), layer, "output.dense")
    return _normed(attended + inner, layer, "output.norm", shape.eps)


def detect_replaced(hidden: Tensor, head: Weights, eps: float) -> Tensor:
    """Logits (L,) of the replaced-token head, for one sequence (L, H)."""
    logits = []
    for row in hidden:
        normed = _normed((row + hidden[0])[None], head, "norm", eps)
        inner = _gelu(_map(normed, head, "dense"))
        logits.append(_map(inner, head, "classifier")[0, 0])
    return torch.stack(logits)


def replaced_loss(logits: Sequence[Tensor], replaced: Sequence[Sequence[int]]) -> Tensor:
    """Mean over all pieces of all sequences of -log p(truth)."""
    losses = [
        -torch.sigmoid(logit if truth else -logit).log()
        for row, truths in zip(logits, replaced, strict=True)
        for logit, truth in zip(row, truths, strict=True)
    ]
    return sum(losses[1:], losses[0]) / len(losses)


def disentangled_rows(generator: Tensor, delta: Tensor, pieces: Sequence[int]) -> Tensor:
    """Rows of the discriminator's table for some pieces: a constant plus what is trained."""
    constant = generator.tolist()
    return torch.stack([torch.tensor(constant[piece]) + delta[piece] for piece in pieces])


def choose_entity(hidden: Tensor, entities: Sequence[Sequence[int]], head: Weights) -> list[Tensor]:
    """ReCoRD logits of the entities of one sequence (L, H), each given as its places."""
    logits = []
    for places in entities:
        weights = [
            ((hidden[p] * hidden[0]).sum() / math.sqrt(hidden.shape[1])).exp() for p in places
        ]
        total = sum(weights[1:], weights[0])
        mixed = sum(w / total * hidden[p] for w, p in zip(weights, places, strict=True))
        inner = _gelu(_map(mixed[None], head, "proj"))
        logits.append(_map(inner, head, "classifier")[0, 0])
    return logits


def mean_log_loss(logits: Tensor, labels: Sequence[int]) -> Tensor:
    """Mean of -log softmax at the label, over the labels that are not negative."""
    losses = []
    for row, label in zip(logits, labels, strict=True):
        if label >= 0:
            losses.append(-(row[label].exp() / row.exp().sum()).log())
    return sum(losses[1:], losses[0]) / len(losses)


def _map(rows: Tensor, weights: Weights, name: str) -> Tensor:
    """rows W^T + b, b = 0 where there is none."""
    mapped = torch.stack([(weights[f"{name}.weight"] * row).sum(1) for row in rows])
    bias = weights.get(f"{name}.bias")
    return mapped if bias is None else mapped + bias


def _normed(rows: Tensor, weights: Weights, name: str, eps: float) -> Tensor:
    normed = []
    for row in rows:
        centered = row - row.sum() / len(row)
        deviation = ((centered**2).sum() / len(row) + eps).sqrt()
        normed.append(centered / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"])
    return torch.stack(normed)


def _gelu(rows: Tensor) -> Tensor:
    return rows * (1 + torch.erf(rows / math.sqrt(2))) / 2
