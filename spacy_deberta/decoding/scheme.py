"""Tag schemes: what a list of tags means, and which tag may follow which.

    BIO     B-x I-x I-x         every span begins with B
    IOB1    I-x I-x             B only where a span touches one of its own type before it
    BILUO   B-x I-x L-x, U-x    E and S are read as L and U (BIOES)
    plain   x x x               a run of equal tags is one span

What a tag may do depends on which others its type has, so that label sets which mix schemes work,
too: a type that has neither B nor U is tagged in runs, whatever the others do. A legal sequence of
tags stands for exactly one set of spans. Every tag may follow either whatever ends a span (or lies
outside), or only tags inside a span of its own type; never both. So one step of a decoder costs
O(K), not O(K * K).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spacy_deberta.errors import OptionError

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

OUTSIDE = "O"
SCHEMES = ("BIO", "IOB1", "BILUO", "plain")

_ROLES = {"B": "B", "I": "I", "L": "L", "E": "L", "U": "U", "S": "U"}
_KNOWN = {"BIO": "BI", "IOB1": "BI", "BILUO": "BILU"}
_NONE = -1  # no such tag
_ROLE_ORDER = "BILU"
_IS = {role: np.array([role == other for other in _ROLE_ORDER]) for role in "BILUO"}


@dataclass(frozen=True, eq=False)
class TagScheme:
    """K tags over X types of spans.

    Attributes:
        name: one of SCHEMES.
        tags: all tags, by their number.
        types: the types of spans, in order of their first tag.
        roles: of each tag: B, I, L or U; O for those outside.
        type_of: (K,) type of each tag; -1 for those outside.
        tag_of: by role, (X,) the tag of each type; -1 where there is none.
    """

    name: str
    tags: tuple[str, ...]
    types: tuple[str, ...]
    roles: tuple[str, ...]
    type_of: Ints
    tag_of: dict[str, Ints]

    @property
    def outside(self) -> int | None:
        """Number of the tag O; None if there is none."""
        return self.tags.index(OUTSIDE) if OUTSIDE in self.tags else None

    @property
    def runs(self) -> Mask:
        """(X,) types whose spans are runs of I: no B is needed to begin one."""
        if self.name in ("IOB1", "plain"):
            return np.ones(len(self.types), dtype=bool)
        return (self.tag_of["B"] < 0) & (self.tag_of["U"] < 0)

    @property
    def continues(self) -> Mask:
        """(K,) tags that may only follow a tag inside a span of their own type."""
        return self._per_tag(np.where(self.runs[:, None], _IS["B"], _IS["I"] | _IS["L"]))

    @property
    def ends(self) -> Mask:
        """(K,) tags after which a text may end or another span begin; those outside, too."""
        has_last = (self.tag_of["L"] >= 0) & ~self.runs
        inside = self._per_tag(np.where(has_last[:, None], _IS["B"] | _IS["I"], _IS["O"]))
        return ~inside

    def _per_tag(self, by_type_and_role: Mask) -> Mask:
        """(X, 4) by type and role to (K,); false outside."""
        roles = np.array([_ROLE_ORDER.find(role) for role in self.roles])
        if not self.types:
            return np.zeros(len(roles), dtype=bool)
        return (self.type_of >= 0) & by_type_and_role[self.type_of, roles]

    @property
    def within(self) -> Ints:
        """(K, 2) the tags inside a span of a tag's own type: its B and its I; -1 = none."""
        if not self.types:
            return np.full((len(self.tags), 2), _NONE)
        of_type = np.stack([self.tag_of["B"], self.tag_of["I"]], axis=1)
        return np.where(self.type_of[:, None] >= 0, of_type[self.type_of], _NONE)

    def spans(self, tags: Sequence[int] | Ints) -> list[tuple[int, int, int]]:
        """The spans of a sequence of tags: start, end (exclusive), type.

        What no legal sequence holds is read generously: a span begins wherever one cannot go on,
        and ends wherever it does not.
        """
        found: list[tuple[int, int, int]] = []
        is_open = False
        for place, tag in enumerate(tags):
            role, kind = self.roles[tag], int(self.type_of[tag])
            if role == "O":
                is_open = False
                continue
            if is_open and role not in "BU" and found[-1][2] == kind:
                found[-1] = (found[-1][0], place + 1, kind)
            else:
                found.append((place, place + 1, kind))
            is_open = role not in "LU"
        return found

    def encode(self, spans: Sequence[tuple[int, int, int]], length: int) -> Ints:
        """The tags of spans (start, end, type) that do not overlap; the inverse of `spans`.

        Raises:
            OptionError: there are no tags for a span, or none for what lies outside.
        """
        outside = self.outside
        tags = np.full(length, _NONE if outside is None else outside)
        for start, end, kind in sorted(spans):
            tags[start:end] = self._tags_of_span(kind, end - start)
            touches = start > 0 and tags[start - 1] >= 0 and self.type_of[tags[start - 1]] == kind
            if self.runs[kind] and touches:
                tags[start] = self.tag_of["B"][kind]
        if (tags < 0).any():
            raise OptionError(
                f"the tags {', '.join(self.tags)} cannot express these spans; add the missing ones."
            )
        return tags

    def _tags_of_span(self, kind: int, length: int) -> Ints:
        first, inner, last, single = (int(self.tag_of[role][kind]) for role in _ROLE_ORDER)
        tags = np.full(length, inner)
        if self.runs[kind]:
            return tags
        tags[0] = first
        if last >= 0:
            tags[-1] = last
        if length == 1 and (single >= 0 or last >= 0):
            tags[0] = single
        return tags


def read_scheme(tags: Sequence[str], name: str | None = None) -> TagScheme:
    """Recognize the scheme of a list of tags.

    Tags without a prefix beside such that have one stand for their type's I. IOB1 is recognized by
    a type that has an I but no B; where all have both, BIO is assumed.

    Args:
        tags: by their number.
        name: the scheme instead of the one that is recognized.

    Raises:
        OptionError: an unknown scheme, or one that these tags do not follow.
    """
    if name is not None and name not in SCHEMES:
        raise OptionError(f"scheme={name!r}: expected one of {', '.join(SCHEMES)}.")
    chosen = name or _recognize(tags)
    parts = [_split(tag, chosen) for tag in tags]
    types = tuple(dict.fromkeys(kind for role, kind in parts if role != "O"))
    numbers = {kind: number for number, kind in enumerate(types)}
    tag_of = {role: np.full(len(types), _NONE) for role in "BILU"}
    for tag, (role, kind) in enumerate(parts):
        if role != "O":
            tag_of[role][numbers[kind]] = tag
    _check(chosen, types, tag_of, tags)
    return TagScheme(
        name=chosen,
        tags=tuple(tags),
        types=types,
        roles=tuple(role for role, _ in parts),
        type_of=np.array([numbers[kind] if role != "O" else _NONE for role, kind in parts]),
        tag_of=tag_of,
    )


def make_tags(types: Sequence[str], name: str) -> list[str]:
    """All tags of a scheme: O, then those of each type in turn, so that types can be appended."""
    if name == "plain":
        return [OUTSIDE, *types]
    return [OUTSIDE, *(f"{role}-{kind}" for kind in types for role in _KNOWN[name])]


def bare_type(tag: str) -> str:
    """A tag without its prefix."""
    prefix, mark, kind = tag.partition("-")
    return kind if mark and prefix in _ROLES else tag


def _recognize(tags: Sequence[str]) -> str:
    prefixes: dict[str, set[str]] = {}
    for tag in tags:
        prefix, mark, kind = tag.partition("-")
        if mark and prefix in _ROLES:
            prefixes.setdefault(kind, set()).add(_ROLES[prefix])
    everything = set().union(*prefixes.values()) if prefixes else set()
    if not everything or not everything & {"B", "I"}:
        return "plain"
    if everything & {"L", "U"}:
        return "BILUO"
    return "BIO" if all("B" in found for found in prefixes.values()) else "IOB1"


def _split(tag: str, scheme: str) -> tuple[str, str]:
    """Role and type of a tag."""
    prefix, mark, kind = tag.partition("-")
    if tag == OUTSIDE or (mark and kind == OUTSIDE):
        return "O", OUTSIDE
    if scheme == "plain":
        return "I", tag
    return (_ROLES[prefix], kind) if mark and prefix in _ROLES else ("I", tag)


def _check(
    scheme: str, types: tuple[str, ...], tag_of: dict[str, Ints], tags: Sequence[str]
) -> None:
    """Refuse a scheme under which some type could not be tagged at all."""
    begins, inner, last, single = (tag_of[role] >= 0 for role in _ROLE_ORDER)
    can_be = inner if scheme in ("IOB1", "plain") else (begins | single | (inner & ~last))
    if not can_be.all():
        lost = types[int(np.argmin(can_be))]
        raise OptionError(
            f"scheme={scheme!r} leaves no legal span of type {lost!r} with the tags "
            f"{', '.join(tags)}; set scheme to one of {', '.join(SCHEMES)}."
        )
