"""One model out of the tensors of a file: prefixes, old names, and the two models of a v3 run.

Microsoft trains v3 as a pair: a generator that fills masks, and a discriminator that finds what was
filled. The release is the discriminator; the generator, half as deep, is a file of its own. A dump
of the training holds both, each with its name in front. The discriminator's tables may be kept as
differences to the generator's (`_weight`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from spacy_deberta.heads import disentangled_table

GENERATOR = "generator"
DISCRIMINATOR = "discriminator"
PARTS = (DISCRIMINATOR, GENERATOR)

WORD_TABLE = "embeddings.word_embeddings.weight"
POSITION_TABLE = "embeddings.position_embeddings.weight"

_PART = re.compile(rf"({DISCRIMINATOR}|{GENERATOR})\.")
_PREFIX = re.compile(r"(deberta|bert)\.(?=(embeddings|encoder)\.)")
_OLD_NORM = re.compile(r"(?<=LayerNorm\.)(gamma|beta)$")
_NORM = {"gamma": "weight", "beta": "bias"}
_DELTAS = {
    "embeddings.word_embeddings._weight": WORD_TABLE,
    "embeddings.position_embeddings._weight": POSITION_TABLE,
}


@dataclass(eq=False)
class Part:
    """The tensors of one model, and what became of the others.

    Attributes:
        name: "discriminator" or "generator"; None where the file does not say.
        tensors: by their names without a prefix.
        origins: those names to the ones in the file.
        is_discriminator: the model finds replaced pieces; a masked-LM head in its file belongs to
            the generator.
        ignored: name in the file -> why it is harmless.
        faults: what is wrong.
    """

    name: str | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    is_discriminator: bool = False
    ignored: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def ignore(self, name: str, reason: str) -> None:
        """Take a tensor out, and say why."""
        del self.tensors[name]
        self.ignored[self.origins[name]] = reason


def choose_part(tensors: Mapping[str, Tensor], wanted: str) -> Part:
    """The model that is wanted; the only one where the file holds no pair.

    Args:
        tensors: by the names in the file.
        wanted: "discriminator" or "generator".
    """
    held = {match[1] for name in tensors if (match := _PART.match(name))}
    chosen = wanted if wanted in held else next(iter(held), None)
    part = Part(name=chosen, is_discriminator=chosen == DISCRIMINATOR)
    others: dict[str, Tensor] = {}
    for name, tensor in sorted(tensors.items()):
        match = _PART.match(name)
        rest = name[match.end() :] if match else name
        bare = _OLD_NORM.sub(lambda old: _NORM[old[1]], _PREFIX.sub("", rest, count=1))
        if match and match[1] != chosen:
            part.ignored[name] = f"part of the {match[1]}"
            others[bare] = tensor
        elif bare in part.tensors:
            part.faults.append(f"'{bare}' is there twice: '{part.origins[bare]}' and '{name}'")
        else:
            part.tensors[bare] = tensor
            part.origins[bare] = name
    _settle_tables(part, others)
    return part


def _settle_tables(part: Part, others: Mapping[str, Tensor]) -> None:
    """Leave whole tables only; a difference is added to a generator's table, never guessed."""
    for name, table in _DELTAS.items():
        if name not in part.tensors:
            continue
        part.is_discriminator = True
        delta = part.tensors[name]
        if table in part.tensors:
            part.ignore(name, "difference to the generator's table; the sum is there too")
        elif table in others and others[table].shape == delta.shape:
            part.ignore(name, "difference to the generator's table, added to it")
            part.tensors[table] = disentangled_table(others[table], delta)
            part.origins[table] = part.origins[name]
        elif table == WORD_TABLE:
            part.faults.append(
                f"'{part.origins[name]}' is the difference to the word table of a generator that "
                "is not in the file, and the sum is not there"
            )
            part.ignore(name, "useless without the generator's table")
        else:
            part.ignore(name, "difference to the generator's table, which is not in the file")
