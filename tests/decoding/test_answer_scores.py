"""SQuAD 2.0's measures on cases worked by hand."""

import itertools

import pytest

from spacy_deberta.decoding.answer_scores import best_threshold, judge_answer, summarize_answers


@pytest.mark.parametrize(
    ("found", "correct", "exact", "f1"),
    [
        ("the Eiffel Tower!", ["Eiffel tower"], 1, 1),
        ("Eiffel", ["the Eiffel Tower"], 0, 2 / 3),
        ("tall Eiffel Tower in Paris", ["Eiffel Tower", "Paris"], 0, 4 / 7),
        ("", ["Paris"], 0, 0),
        ("Paris", [], 0, 0),
        ("", [], 1, 1),
        ("", [""], 1, 1),
        ("the", [], 1, 1),  # an article is no word
        ("no no no", ["no"], 0, 0.5),
        ("U.S.", ["us"], 1, 1),
        ("theater", ["ater"], 0, 0),
    ],
)
def test_answers_are_judged_as_squad_does(
    found: str, correct: list[str], exact: float, f1: float
) -> None:
    judged = judge_answer(found, correct)
    assert (judged.exact, judged.f1) == pytest.approx((exact, f1))


def test_summary_tells_questions_with_and_without_an_answer_apart() -> None:
    judged = [judge_answer("x", ["x"]), judge_answer("x", ["x y"]), judge_answer("x", [])]
    assert summarize_answers(judged) == pytest.approx(
        {
            "exact": 100 / 3,
            "f1": 100 * (1 + 2 / 3) / 3,
            "has_answer_exact": 50,
            "has_answer_f1": 100 * (1 + 2 / 3) / 2,
            "no_answer_exact": 0,
        }
    )
    assert summarize_answers([])["exact"] is None


def test_the_best_threshold_is_the_best_of_all() -> None:
    null = [0.1, 0.4, 0.4, 0.8, 0.9]
    gains = [1.0, 0.5, 0.0, 0.6, 0.0]
    answerable = [True, True, False, True, False]
    threshold, score = best_threshold(null, gains, answerable)

    def total(at: float) -> float:
        return sum(
            (gain if n < at else 0.0) if has else float(n >= at)
            for n, gain, has in zip(null, gains, answerable, strict=True)
        )

    best = max(total(at) for at in (0.0, 0.05, 0.2, 0.5, 0.85, 0.95))
    assert score == pytest.approx(100 * best / 5)
    assert total(threshold) == pytest.approx(best)


def test_no_threshold_beats_the_best_on_any_small_case() -> None:
    for answerable in itertools.product([True, False], repeat=3):
        null, gains = [0.2, 0.5, 0.7], [0.0, 1.0, 0.4]
        threshold, score = best_threshold(null, gains, answerable)
        totals = [
            sum(
                (g if n < at else 0.0) if has else float(n >= at)
                for n, g, has in zip(null, gains, answerable, strict=True)
            )
            for at in (0.1, 0.3, 0.6, 0.9, threshold)
        ]
        assert totals[-1] == pytest.approx(max(totals)) == pytest.approx(score * 3 / 100)
