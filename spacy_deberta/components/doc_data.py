"""What the component leaves on a Doc: token rows in `doc.tensor`, pieces in `doc.user_data`.

An entry of `user_data` is plain arrays under one key per component, so it survives `to_bytes`,
`DocBin` and worker processes. The rows are stored once: in `doc.tensor`. Only when a second encoder
takes `doc.tensor` do the rows of the first move into its entry. An entry knows the checksum of its
rows, so it notices when some other component has replaced or the retokenizer changed the tensor.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from spacy.attrs import IS_SPACE
from spacy.tokens import Doc
from thinc.types import Floats2d, Floats4d

from spacy_deberta.alignment import TokenAlignment
from spacy_deberta.errors import ConfigError, PipelineError
from spacy_deberta.thinc_layers.pieces import align_doc
from spacy_deberta.thinc_layers.types import EncodedDoc, Integers

EXTENSION = "deberta"
KEEP = ("nothing", "pieces", "layers", "attentions")  # each with those before it

_PREFIX = "deberta."  # of the name in a key; spaCy's keys of extensions have the same form


@dataclass(frozen=True, eq=False)
class DocEncoding:
    """A Doc as an encoder saw it; `doc._.deberta`.

    Attributes:
        component: name of the encoder component.
        ids: (N,) pieces, without special pieces.
        starts: (N,) first character of each piece in `doc.text`.
        ends: (N,) one behind its last character.
        tokens: the pieces of each token, as the Doc is tokenized now.
        coverage: share of the tokens, other than whitespace, that have a piece.
        rows: (n_tokens, width), one row per token; None if the Doc no longer has them.
        layers: rows of the other layers that were kept, by number; 0 = the embeddings.
        windows: (W, 2) first piece of each window, and one behind its last; None unless kept.
        attentions: (layers, heads, L, L) of each window, by query and key, [CLS] and [SEP]
            included; empty unless kept.
    """

    component: str
    ids: npt.NDArray[np.int32] = field(repr=False)
    starts: npt.NDArray[np.int32] = field(repr=False)
    ends: npt.NDArray[np.int32] = field(repr=False)
    tokens: TokenAlignment = field(repr=False)
    coverage: float
    rows: Floats2d | None = field(repr=False)
    layers: dict[int, Floats2d] = field(repr=False)
    windows: Integers | None = field(repr=False)
    attentions: tuple[Floats4d, ...] = field(repr=False)

    @property
    def nbytes(self) -> int:
        """Bytes of all of this; the Doc itself holds the pieces in fewer."""
        arrays: list[Any] = [self.ids, self.starts, self.ends, self.rows, self.windows]
        arrays += [*self.layers.values(), *self.attentions]
        return sum(array.nbytes for array in arrays if array is not None)

    def pieces_of(self, token: int) -> npt.NDArray[np.int64]:
        """Numbers of the pieces of one token."""
        end = int(self.tokens.lengths[: token + 1].sum())
        return self.tokens.pieces[end - int(self.tokens.lengths[token]) : end]


def check_keep(keep: str) -> None:
    """Refuse a name that stands for nothing to keep."""
    if keep not in KEEP:
        raise ConfigError(f"keep={keep!r} is unknown; supported: {', '.join(KEEP)}.")


def store_encoding(doc: Doc, name: str, encoded: EncodedDoc, *, pieces: bool = True) -> None:
    """Leave what the encoder `name` gave on the Doc, which from now on owns it.

    Args:
        doc: the Doc.
        name: of the encoder component.
        encoded: rows and other layers, which are kept, and pieces.
        pieces: keep the pieces, too.
    """
    doc.user_data.pop(_key(name), None)
    for _, other in _entries(doc):
        if "rows" not in other and _is_tensor(doc, other):
            other["rows"] = doc.tensor
    doc.tensor = encoded.rows  # type: ignore[assignment]  # spaCy says float64
    entry: dict[str, Any] = {"checksum": _checksum(doc.tensor)}
    if pieces:
        found = encoded.pieces.pieces
        entry |= {
            "ids": _narrow(found.ids),
            "steps": _narrow(np.diff(found.starts, prepend=0)),
            "lengths": _narrow(found.ends - found.starts),
        }
    if encoded.layer_rows is not None:
        entry |= {"layers": list(encoded.layers), "layer_rows": encoded.layer_rows}
    if encoded.windows is not None:
        entry |= {"windows": encoded.windows, "attentions": list(encoded.attentions)}
    doc.user_data[_key(name)] = entry


def stored_rows(doc: Doc, name: str) -> Floats2d | None:
    """Token rows (n_tokens, width) of the encoder `name`; None if the Doc does not have them."""
    entry = doc.user_data.get(_key(name))
    if entry is None:
        return None
    rows: Floats2d | None = entry.get("rows")
    if rows is None and _is_tensor(doc, entry):
        rows = cast(Floats2d, doc.tensor)
    return rows if rows is not None and len(rows) == len(doc) else None


def stored_layers(doc: Doc, name: str) -> dict[int, Floats2d]:
    """Token rows of other layers, by number; only while those of the last layer are there."""
    entry = doc.user_data.get(_key(name), {})
    if "layers" not in entry or stored_rows(doc, name) is None:
        return {}
    return dict(zip(entry["layers"], entry["layer_rows"], strict=True))


def forget(doc: Doc, value: None) -> None:
    """Drop what encoders left, except `doc.tensor`: `doc._.deberta = None`."""
    if value is not None:
        raise PipelineError(
            "doc._.deberta is written by the encoder; the only value to set is None, which drops "
            "what is there."
        )
    for name, _ in list(_entries(doc)):
        del doc.user_data[_key(name)]


def encoding(doc: Doc, name: str | None = None) -> DocEncoding:
    """What the encoder `name`, or by default the last one, saw of the Doc.

    Raises:
        PipelineError: it has not run on this Doc.
    """
    entries = dict(_entries(doc))
    chosen = name if name is not None else next(reversed(entries), None)
    if chosen not in entries:
        there = ", ".join(f"'{there}'" for there in entries) or "none"
        wanted = "an encoder" if name is None else f"the encoder '{name}'"
        raise PipelineError(
            f"this Doc does not have the pieces of {wanted}; encoders that ran on it: {there}. "
            "Call a pipeline with a 'deberta' component on the text."
        )
    if "ids" not in entries[chosen]:
        raise PipelineError(
            f"the encoder '{chosen}' left its rows in doc.tensor, but no pieces: it has "
            'keep="nothing". Set keep="pieces" in its block of the config.'
        )
    return _view(doc, chosen, entries[chosen])


def register_extension() -> None:
    """Make `doc._.deberta` available."""
    if not Doc.has_extension(EXTENSION):
        Doc.set_extension(EXTENSION, getter=encoding, setter=forget)


def _view(doc: Doc, name: str, entry: dict[str, Any]) -> DocEncoding:
    starts = np.cumsum(entry["steps"], dtype=np.int32)
    ends = starts + entry["lengths"].astype(np.int32)
    tokens = align_doc(doc, starts, ends)
    is_space = doc.to_array([IS_SPACE]).astype(bool).ravel()
    return DocEncoding(
        component=name,
        ids=entry["ids"].astype(np.int32),
        starts=starts,
        ends=ends,
        tokens=tokens,
        coverage=tokens.coverage(is_space),
        rows=stored_rows(doc, name),
        layers=stored_layers(doc, name),
        windows=entry.get("windows"),
        attentions=tuple(entry.get("attentions", ())),
    )


def _key(name: str) -> Any:  # spaCy says str, and uses tuples
    return ("._.", _PREFIX + name, None, None)


def _entries(doc: Doc) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and entry of each encoder that ran on the Doc, the last one last."""
    for key, entry in doc.user_data.items():
        if isinstance(key, tuple) and len(key) == 4 and str(key[1]).startswith(_PREFIX):  # noqa: PLR2004
            yield key[1].removeprefix(_PREFIX), entry


def _is_tensor(doc: Doc, entry: dict[str, Any]) -> bool:
    """Whether `doc.tensor` still is what the entry's encoder left there."""
    tensor = doc.tensor  # None, after spaCy's doc_cleaner
    return tensor is not None and tensor.ndim > 1 and _checksum(tensor) == entry["checksum"]


def _narrow(values: npt.NDArray[np.int32]) -> npt.NDArray[np.integer]:
    """The same in the fewest bytes: this is what a Doc holds and a DocBin stores."""
    for dtype in (np.uint8, np.uint16):
        if not len(values) or (values.min() >= 0 and values.max() <= np.iinfo(dtype).max):
            return values.astype(dtype)
    return values.astype(np.int32)


def _checksum(rows: Any) -> int:
    """Of rows in main memory; those on a GPU are not read back for it."""
    return zlib.crc32(np.ascontiguousarray(rows)) if isinstance(rows, np.ndarray) else 0
