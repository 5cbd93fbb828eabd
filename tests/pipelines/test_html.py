"""The report page: shows every task, escapes everything, loads and runs nothing."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.html import write_report
from pipelines.records import (
    Answer,
    Answers,
    Choice,
    Classification,
    Entities,
    Entity,
    Failed,
    Features,
    Fill,
    FillResult,
    JointFill,
    LabelScore,
    MaskFill,
    PieceTag,
    Regression,
    ZeroShot,
)
from spacy_deberta.errors import OptionError

EVIL = "</script><script>alert(\"1\")</script> 'q' <img src=x onerror=alert(1)> & &amp; ]]>"
ODD = "מארי \u202egnp\u202c 👩🏽\u200d🔬 \x00\x1b[31m \ud800 \ufdd0 café"
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "article",
    "section", "h1", "h2", "h3", "p", "ul", "li", "b", "i", "small", "span", "bdi", "mark", "div",
    "code",
}  # fmt: skip


class Reader(HTMLParser):
    """The elements of a page, and the text of its articles."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "article" in self.open:
            self.text += data


def scores(*pairs: tuple[str, float]) -> tuple[LabelScore, ...]:
    return tuple(LabelScore(*pair) for pair in pairs)


def results_of(text: str) -> dict[str, list[tuple[Any, Any]]]:
    """Results of every task whose every string is this text."""
    fill = Fill(text, (5,), 0.7, None, text)
    masks = (MaskFill(0, 1, (fill,)), MaskFill(2, 3, (fill, fill)))
    answer = Answer(text[2:5], 2, 5, 0.6)
    entities = Entities(text, (Entity(text[:3], text, 0, 3, 0.9), Entity("", text, 2, 9, 0.1)))
    labels = scores((text, 0.9), ("other", 1e-9))
    vectors = Features(np.ones((2, 4), dtype="f"), ((0, 0), (0, 1)), (False, True), False, 1, False)
    return {
        "ner": [(text, entities), (text, Entities(text, (PieceTag(text, "B-x", 0, 2, 0.5, 1),)))],
        "qa": [
            ({"question": text, "context": text}, Answers(answer, (answer, Answer.none(0.2)), 0.2)),
            ((text, [text, text]), Answers(answer, (answer,), 0.0)),
        ],
        "fill-mask": [(text, FillResult(text, masks, (JointFill((text, text), 0.5, text),), 1))],
        "sentiment": [
            ((text, text), Classification(labels[0], (text,), labels)),
            ({"text": text, "text_pair": text}, Regression(3.5, text)),
            (text, [{"label": text, "score": 0.5}]),
        ],
        "zero-shot": [(text, ZeroShot(text, (text, "other"), labels))],
        "choice": [
            (
                {"context": text, "choices": [text, "b"]},
                Choice(1, "b", 0.7, (0.3, 0.7), (text, "b")),
            ),
            ((text, [text, "b"]), Choice(0, text, 0.7, (0.7, 0.3), (text, "b"))),
        ],
        "features": [(text, vectors)],
    }


@pytest.mark.parametrize("text", [EVIL, ODD, "plain"], ids=["markup", "odd characters", "plain"])
@pytest.mark.parametrize("task", results_of(""))
def test_hostile_text_is_shown_and_does_nothing(task: str, text: str, tmp_path: Path) -> None:
    failed = Failed(2, text, text, text)
    results = [*results_of(text)[task], (text, failed)]
    path = write_report(tmp_path / "new" / "a.html", task, results, model=text)
    page = path.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(page)

    assert not reader.open
    assert {tag for tag, _ in reader.elements} <= ALLOWED
    names = {name for _, attributes in reader.elements for name in attributes}
    assert names <= {"lang", "charset", "http-equiv", "content", "name", "class", "style", "dir"}
    assert "default-src 'none'" in page
    assert "url(" not in page
    assert "\x1b" not in page
    assert "alert(" not in page.replace("alert(&quot;1&quot;)", "").replace("=alert(1)&gt;", "")
    if text != ODD:
        assert text in reader.text.replace("\u2026", "")


@pytest.mark.parametrize("task", results_of(""))
def test_records_and_their_dicts_give_the_same_page(task: str, tmp_path: Path) -> None:
    results = results_of("some text")[task]
    plain = [(g, r if isinstance(r, list) else r.to_dict()) for g, r in results]
    one = write_report(tmp_path / "a.html", task, results).read_text()
    assert one == write_report(tmp_path / "b.html", task, plain).read_text()


def test_entities_stand_in_their_text_with_label_and_score(tmp_path: Path) -> None:
    text = "Marie Curie moved to Paris."
    found = Entities(
        text, (Entity("Marie Curie", "PER", 0, 11, 0.98), Entity("Paris", "LOC", 21, 26, 0.7))
    )
    page = write_report(tmp_path / "a.html", "ner", [(text, found)] * 2).read_text()
    assert page.count("<bdi>Marie Curie</bdi>") == 2
    assert "PER<small>0.980</small>" in page
    assert "<bdi>PER</bdi><b>2</b>" in page
    assert "2 inputs" in page


def test_overlapping_entities_leave_the_text_whole(tmp_path: Path) -> None:
    text = "abcdefghij"
    found = tuple(Entity(text[s:e], "X", s, e, 0.5) for s, e in [(0, 4), (2, 6), (5, 99), (6, 8)])
    reader = Reader()
    reader.feed(
        write_report(tmp_path / "a.html", "ner", [(text, Entities(text, found))]).read_text()
    )
    assert reader.text.replace(" X0.500", "").lstrip("1").startswith(text)


def test_the_answers_context_is_that_of_its_number(tmp_path: Path) -> None:
    answer = Answer("two", 4, 7, 0.9, context_index=1)
    given = {"question": "Which?", "contexts": ["not one", "say two"]}
    page = write_report(
        tmp_path / "a.html", "qa", [(given, Answers(answer, (answer,), 0.0))]
    ).read_text()
    assert page.count("<mark") == 1
    assert "say <mark" in page


def test_scores_that_are_no_share_make_no_bar_longer_than_the_page(tmp_path: Path) -> None:
    rows = scores(("a", float("nan")), ("b", float("inf")), ("c", -2.0), ("d", 5.0))
    record = Classification(rows[0], ("a",), rows)
    page = write_report(tmp_path / "a.html", "sentiment", [("t", record)]).read_text()
    assert "--p:100.0%" in page
    assert "nan%" not in page
    assert "inf%" not in page


def test_no_results_and_unknown_tasks(tmp_path: Path) -> None:
    assert "0 inputs" in write_report(tmp_path / "a.html", "ner", []).read_text()
    with pytest.raises(OptionError, match="task='no such task' is unknown"):
        write_report(tmp_path / "a.html", "no such task", [])
