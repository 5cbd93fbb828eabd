"""SentencePiece's processor of a model, checked: special pieces and their numbers."""

from collections.abc import Mapping

from sentencepiece import SentencePieceProcessor as Processor

from spacy_deberta.errors import TokenizerError
from spacy_deberta.tokenizers.encoding import AddedPiece
from spacy_deberta.tokenizers.model_file import check_model
from spacy_deberta.tokenizers.special import CLS, MASK, MAX_PIECES, PAD, SEP, UNK


def read_model(model: bytes, source: str) -> Processor:
    """Let SentencePiece read a model that looks like one."""
    check_model(model, source)
    processor = Processor()
    try:
        processor.LoadFromSerializedProto(model)
        processor.id_to_piece(list(range(processor.get_piece_size())))
    except (RuntimeError, UnicodeDecodeError) as error:
        raise TokenizerError(
            f"{source}: SentencePiece cannot read these {len(model)} bytes ({error}). Expected a "
            "model file such as DeBERTa-v3's spm.model; download it again."
        ) from error
    return processor


def check_numbers(processor: Processor, added: Mapping[str, AddedPiece], source: str) -> None:
    """Refuse an added piece that has the number of another piece of the model."""
    n_model = processor.get_piece_size()
    for piece, entry in added.items():
        if entry.id < n_model and processor.id_to_piece(entry.id) != piece:
            raise TokenizerError(
                f"{source}: added piece {piece!r} (number {entry.id}) would replace "
                f"{processor.id_to_piece(entry.id)!r} of the model, whose numbers run from 0 to "
                f"{n_model - 1}. Give it a number behind these, or remove it."
            )


def special_id(processor: Processor, piece: str, source: str) -> int:
    """The number of a special piece that the model itself must have."""
    number = int(processor.piece_to_id(piece))
    if processor.id_to_piece(number) != piece:
        found = [processor.id_to_piece(i) for i in range(min(4, processor.get_piece_size()))]
        raise TokenizerError(
            f"{source}: no piece {piece!r}; DeBERTa's begin with {PAD}, {CLS}, {SEP}, {UNK}, "
            f"this one with {', '.join(found)}. Use the spm.model saved with the checkpoint."
        )
    return number


def mask_number(processor: Processor, asked: int | None, source: str) -> int:
    """The number of [MASK]: the model's own, the one asked for, or the first free one."""
    n_model = int(processor.get_piece_size())
    own = int(processor.piece_to_id(MASK))
    has_own = processor.id_to_piece(own) == MASK
    expected = own if has_own else n_model
    if asked is None or asked == expected or (not has_own and n_model < asked < MAX_PIECES):
        return expected if asked is None else asked
    raise TokenizerError(
        f"{source}: {MASK} is said to be number {asked}, but the model has {n_model} pieces and "
        f"expects {MASK} at {expected}. Use the files of one checkpoint together."
    )
