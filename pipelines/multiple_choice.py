"""Multiple choice: which of several answers fits a text, for any number of choices."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from spacy.tokens import Doc

from pipelines.base import TaskPipeline
from pipelines.batching import Row, collate
from pipelines.inputs import describe
from pipelines.options import Options, check_choice
from pipelines.records import Choice
from pipelines.registry import tasks
from pipelines.running import check_finite
from pipelines.stream import ItemError
from spacy_deberta.decoding import (
    LONG,
    ChoiceTexts,
    Evidence,
    PairFrame,
    choice_formats,
    choice_probabilities,
    lay_pair,
    read_question,
)
from spacy_deberta.errors import InputError, OptionError
from spacy_deberta.tokenizers import TruncationWarning

EXTENSION = "choices"  # doc._.choices

_FIELDS = ("context", "question", "choices")
_PAIR = 2


@dataclass(frozen=True, kw_only=True)
class MultipleChoiceOptions(Options):
    """Options of multiple-choice.

    Attributes:
        format: how a dict is read: a data set's name, see `decoding.choice_formats`; "auto" = by
            its keys.
        cloze: fill the option into the "_" of a RACE question, instead of putting it behind.
        long: of a context that is too long, the "head" or the "tail" is read, with a warning, or
            all of it in "window"s, of which a choice takes its best. Choices are never cut.
        temperature: divides logits, beside that of the calibration.
    """

    format: str = "auto"
    cloze: bool = False
    long: str = "head"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        check_choice("format", self.format, ("auto", *choice_formats()))
        check_choice("long", self.long, LONG)
        if isinstance(self.temperature, bool) or not isinstance(self.temperature, int | float):
            raise OptionError(f"temperature={self.temperature!r}, expected a number above 0.")
        if not 0 < self.temperature < float("inf"):
            raise OptionError(f"temperature={self.temperature!r}, expected a number above 0.")


@dataclass(frozen=True, eq=False)
class Place:
    """What a row shows: `Row.extra`.

    Attributes:
        choice: number of the choice.
        n_cut: pieces of its context that no row has.
    """

    choice: int
    n_cut: int


@tasks.register("multiple-choice")
class MultipleChoicePipeline(TaskPipeline[Any, ChoiceTexts, Choice]):
    """Chooses among answers; each is read together with the context, and their logits compete.

        choose(question="Where do fish live?", choices=["in water", "on trees"]).text

    An input is such arguments, a tuple (context, choices), or a dict with the fields of any known
    data set. Questions may have different numbers of choices.
    """

    task: ClassVar[str] = "multiple-choice"
    head: ClassVar[str] = "ForMultipleChoice"
    options_class: ClassVar[type[Options]] = MultipleChoiceOptions
    input_fields: ClassVar[tuple[str, ...]] = ()

    def read_call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """The inputs and the options of a call."""
        options = dict(kwargs)
        named = {name: options.pop(name) for name in _FIELDS if name in options}
        if args and named:
            raise OptionError(f"found positional inputs and {', '.join(named)}=; give one of them.")
        if len(args) == _PAIR:
            named = dict(zip(("context", "choices"), args, strict=True))
        if not named:
            return super().read_call(args, options)
        context = named.get("context", named.get("question"))
        if not isinstance(context, list):
            return named, options
        if any(not isinstance(v, list) or len(v) != len(context) for v in named.values()):
            raise InputError(
                f"{', '.join(named)}: expected lists of one length, one item a question."
            )
        rows = zip(*named.values(), strict=True)
        return [dict(zip(named, row, strict=True)) for row in rows], options

    def prepare(self, raw: Any, options: MultipleChoiceOptions) -> ChoiceTexts:
        """The texts of one question."""
        fields = raw
        if isinstance(raw, tuple) and len(raw) == _PAIR:
            fields = dict(zip(("context", "choices"), raw, strict=True))
        if not isinstance(fields, Mapping):
            raise InputError(
                f"input: found {describe(raw)}, expected (context, choices), or a dict with "
                "context, question or the fields of a data set, and choices."
            )
        return read_question(fields, options.format, cloze=options.cloze)

    def encode(self, item: ChoiceTexts, options: MultipleChoiceOptions) -> list[Row]:
        """The rows of each choice, one after the other."""
        core = self.tokenizer.core
        frame = PairFrame(core.cls_id, core.sep_id, self.max_length, options.long)
        contexts = {text: core.encode(text).ids.tolist() for text in {a for a, _ in item.pairs}}
        rows = []
        for choice, (context, text) in enumerate(item.pairs):
            second = core.encode(text).ids.tolist()
            if item.second_limit is not None:
                second = second[-item.second_limit :]  # the option stands at the end
            for row in lay_pair(contexts[context], second, frame):
                rows.append(Row(row.ids, row.types, Place(choice, row.n_cut)))
        return rows

    def forward(self, rows: Sequence[Row], options: MultipleChoiceOptions) -> list[Any]:
        """One logit per row."""
        given = collate(rows, self.config.pad_token_id, self.model.device)
        stacked = {name: values.unsqueeze(0) for name, values in given.items()}
        with torch.no_grad():
            output = self.model(**stacked)  # the rows of a batch as choices of one question
        check_finite(output, lambda: self._first_broken(stacked))
        found: list[Any] = output.logits[0].float().cpu().numpy().tolist()
        return found

    def decode(
        self,
        item: ChoiceTexts,
        rows: Sequence[Row],
        results: Sequence[Any],
        options: MultipleChoiceOptions,
    ) -> Choice:
        """The best choice, and the probability of each."""
        temperature = options.temperature * self.calibration.temperature
        scores = choice_probabilities(_logits(item, rows, results), temperature).tolist()
        best = int(np.argmax(scores))
        return Choice(
            index=best,
            text=item.choices[best],
            score=scores[best],
            scores=tuple(scores),
            choices=item.choices,
            n_windows=sum(row.extra.choice == best for row in rows),
            truncated=any(row.extra.n_cut for row in rows),
        )

    def run_items(self, items: Sequence[ChoiceTexts], options: Any) -> Iterator[Choice | ItemError]:
        """Records of checked items; warns with the number of contexts that were cut."""
        n_cut = 0
        for number, record in enumerate(super().run_items(items, options), 1):
            n_cut += isinstance(record, Choice) and record.truncated
            if n_cut and number == len(items):  # nobody may ask for more than the last record
                warnings.warn(
                    f"{n_cut} of {number} contexts have more than max_length={self.max_length} "
                    f"pieces leave room for; only their {options.long} was read. Use "
                    "long='window' to read all of it.",
                    TruncationWarning,
                    stacklevel=2,
                )
            yield record

    def judge(
        self,
        item: ChoiceTexts,
        rows: Sequence[Row],
        results: Sequence[Any],
        gold: Any,
        options: Any,
    ) -> Iterable[Evidence]:
        """Logits of the choices; the gold answer is the number or the text of the right one."""
        number = item.choices.index(gold) if gold in item.choices else gold
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise InputError(f"gold={gold!r}, expected a choice's number or its text.")
        if not 0 <= number < len(item.choices):
            raise InputError(f"gold={gold!r}, expected a number below {len(item.choices)}.")
        yield Evidence(_logits(item, rows, results), int(number))

    def item_of_doc(self, doc: Doc) -> Any:
        """The Doc's text, and `doc._.choices`."""
        choices = doc._.get(EXTENSION) if Doc.has_extension(EXTENSION) else ()
        return {"context": doc.text, "choices": list(choices or ())}

    def annotate_doc(self, doc: Doc, record: Choice, options: Any) -> None:
        """Write `doc.cats`: the probability of each choice under its number."""
        doc.cats = {**doc.cats, **{str(n): score for n, score in enumerate(record.scores)}}


def _logits(item: ChoiceTexts, rows: Sequence[Row], results: Sequence[float]) -> Any:
    """(C,) of each choice, from its best window."""
    logits = np.full(len(item.pairs), -np.inf)
    np.maximum.at(logits, [row.extra.choice for row in rows], results)
    return logits
