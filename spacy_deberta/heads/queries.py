"""Some rows of a packed batch as the queries of attention over all of it.

The keys stay in the groups of the batch. The queries asked of one group form a rectangle of their
own: as many rows for each sequence as are asked of the sequence that is asked most.

    content: sequences of 4        asked: rows 1, 3, 4        queries, with their places
        a b c d                        . b . d                    b 1   d 3
        e f g h                        e . . .                    e 0    -
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spacy_deberta.encoder.packing import Group, Packing, round_rows

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class QueryGroup:
    """The rows asked of the sequences of one group.

    Attributes:
        content: the group.
        asked: the same sequences, with the rows asked of each.
        places: (B, Q) place of each asked row in its sequence, 0 in empty slots; None = all rows
            are asked, in order.
    """

    content: Group
    asked: Group
    places: Tensor | None


@dataclass(frozen=True, eq=False)
class Queries:
    """How M asked rows are arranged.

    Attributes:
        packed: (P,) the packed row of each query, ascending; P is M rounded up, and the queries
            after the first M are copies of the last that nobody reads.
        places: (P,) place of each query in its sequence.
        inverse: (M,) the query of each of the caller's rows.
        n_spare: P - M.
        groups: those of the batch that are asked for a row.
    """

    packed: Tensor
    places: Tensor
    inverse: Tensor
    n_spare: int
    groups: tuple[QueryGroup, ...]


def all_queries(packing: Packing) -> Queries:
    """Every packed row as its own query, without a look at what the packing holds."""
    return Queries(
        packed=torch.arange(packing.order.shape[0], device=packing.order.device),
        places=packing.positions,
        inverse=packing.inverse,
        n_spare=packing.n_spare,
        groups=tuple(QueryGroup(group, group, None) for group in packing.groups),
    )


def pack_queries(rows: Tensor, packing: Packing) -> Queries:
    """Arrange the rows that are asked of a packed batch.

    Args:
        rows: (M,) in the caller's order, any number of times each, at least one.
        packing: of the batch.
    """
    wanted = packing.inverse[rows].cpu().numpy()
    by_row = np.argsort(wanted, kind="stable")
    packed = wanted[by_row]
    inverse = np.empty_like(by_row)
    inverse[by_row] = np.arange(len(by_row))
    n_spare = round_rows(len(packed)) - len(packed)
    padded = torch.from_numpy(np.pad(packed, (0, n_spare), mode="edge")).to(rows.device)
    return Queries(
        packed=padded,
        places=packing.positions[padded],
        inverse=torch.from_numpy(inverse).to(rows.device),
        n_spare=n_spare,
        groups=tuple(_query_groups(packed, packing)),
    )


def _query_groups(packed: Int64, packing: Packing) -> Iterator[QueryGroup]:
    for group in packing.groups:
        start, stop = np.searchsorted(packed, (group.start, group.stop)).tolist()
        if start < stop:
            yield _query_group(group, packed[start:stop], start, packing.order.device)


def _query_group(group: Group, packed: Int64, start: int, device: torch.device) -> QueryGroup:
    """The queries of one group; `packed` are their packed rows, `start` is the first query."""
    content_slots = packed - group.start
    if group.slots is not None:
        content_slots = group.slots.cpu().numpy()[content_slots]
    sequence, place = np.divmod(content_slots, group.length)
    number = np.arange(len(packed)) - np.searchsorted(sequence, sequence)  # within the sequence
    n_queries = int(number.max()) + 1
    places = np.zeros((group.count, n_queries), dtype=np.int64)
    places[sequence, number] = place
    slots = sequence * n_queries + number
    full = len(slots) == places.size
    asked = Group(
        start=start,
        stop=start + len(packed),
        count=group.count,
        length=n_queries,
        slots=None if full else torch.from_numpy(slots).to(device),
        keep=None,
    )
    return QueryGroup(group, asked, torch.from_numpy(places).to(device))
