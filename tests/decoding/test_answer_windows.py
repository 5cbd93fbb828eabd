"""Windows of a question and its context."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_deberta.decoding.answer_windows import QuestionFrame, cut_question, lay_question
from spacy_deberta.errors import AlignmentError

QUESTION = np.array([11, 12])


@given(
    n=st.integers(0, 60), room=st.integers(1, 20), overlap=st.integers(0, 19), full=st.booleans()
)
def test_windows_cover_the_context_and_none_is_needless(
    n: int, room: int, overlap: int, full: bool
) -> None:
    if overlap >= room:
        return
    context = np.arange(100, 100 + n)
    frame = QuestionFrame(1, 2, room + 5, overlap, full)
    windows = lay_question(QUESTION, context, frame)
    assert bool(windows) == bool(n)
    seen = 0
    for number, window in enumerate(windows):
        body = context[window.first : window.last].tolist()
        assert window.ids == [1, 11, 12, 2, *body, 2]
        assert window.types == [0] * 4 + [1] * (len(body) + 1)
        assert window.place(window.first) == window.offset == 4
        assert window.place(window.last) is None
        if number:
            assert windows[number - 1].last - window.first >= overlap
            assert len(body) == room or not full
        assert window.last > seen
        seen = window.last
    assert seen == n


def test_a_frame_without_room_is_refused() -> None:
    with pytest.raises(AlignmentError, match="room for 4 pieces of the context beside 2"):
        lay_question(QUESTION, np.arange(9), QuestionFrame(1, 2, 9, 4))


def test_logits_are_read_by_place() -> None:
    (window,) = lay_question(QUESTION, np.arange(3), QuestionFrame(1, 2, 20, 5))
    logits = np.arange(16, dtype=np.float32).reshape(8, 2)
    read = window.read(logits, np.array([0, 2, 4]), np.array([1, 3, 5]), 7)
    assert read.start.tolist() == [8, 10, 12]
    assert read.end.tolist() == [9, 11, 13]
    assert (read.null, read.context) == (1.0, 7)
    assert read.char_ends.tolist() == [1, 3, 5]


def test_questions_are_cut_at_either_end() -> None:
    ids = np.arange(5)
    assert cut_question(ids, 5) is ids
    assert cut_question(ids, 2).tolist() == [0, 1]
    assert cut_question(ids, 2, "tail").tolist() == [3, 4]
