"""The steps of a task: what its subclass of `TaskPipeline` implements.

read_call     arguments of a call -> inputs and options        (default: the first argument)
prepare       one input, checked -> item                       InputError if it cannot be
encode        item -> rows of pieces
forward       rows of a batch -> one result for each           `run_model` runs the model
decode        item, rows, results -> record
to_hf         records in the nesting of `transformers`         (default: `to_dict` of each)
item_of_doc, annotate_doc                                      Docs
judge         item with gold answer -> evidence                `calibrate`
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from pipelines.batching import Row
from pipelines.inputs import is_column
from pipelines.options import Options
from pipelines.records import Record
from spacy_deberta.decoding import Evidence
from spacy_deberta.errors import OptionError

if TYPE_CHECKING:
    from spacy.tokens import Doc

In = TypeVar("In")
Item = TypeVar("Item")
Rec = TypeVar("Rec", bound=Record)

Nesting = Literal["one", "list", "stream"]


class TaskSteps(ABC, Generic[In, Item, Rec]):
    """What is particular about a task.

    Attributes:
        task: its name.
        head: end of the names of its model classes, such as "ForTokenClassification".
        options_class: its options.
        input_fields: keys that make an input in a file of JSON lines; none = the whole object.
        given: names of the options that the constructor was given.
    """

    task: ClassVar[str]
    head: ClassVar[str]
    options_class: ClassVar[type[Options]]
    input_fields: ClassVar[tuple[str, ...]] = ("text",)

    given: frozenset[str]

    def read_call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """Inputs and options of a call.

        Raises:
            OptionError: not exactly one input.
        """
        if len(args) != 1:
            raise OptionError(
                f"{self.task}: found {len(args)} inputs as arguments, expected one; give several "
                "as a list."
            )
        return args[0], kwargs

    def is_batch(self, inputs: Any) -> bool:
        """Tell whether these are several inputs: a list or a column; tuples are pairs."""
        return is_column(inputs)

    @abstractmethod
    def prepare(self, raw: Any, options: Any) -> Item:
        """Check one input.

        Raises:
            InputError: says what was found and what is expected.
        """

    @abstractmethod
    def encode(self, item: Item, options: Any) -> list[Row]:
        """Rows of one item; none where there is nothing to run."""

    @abstractmethod
    def forward(self, rows: Sequence[Row], options: Any) -> list[Any]:
        """One result per row, in float32 numpy; `run_model` and `batching.cut_rows` help."""

    @abstractmethod
    def decode(self, item: Item, rows: Sequence[Row], results: Sequence[Any], options: Any) -> Rec:
        """The record of one item."""

    def to_hf(self, records: Sequence[Any], options: Any, nesting: Nesting) -> Any:
        """What `transformers` 4.57.6 returns for these records.

        Args:
            records: of the call; one for "one" and "stream".
            options: of the call; `options.given` and `self.given` tell where they were given.
            nesting: whether one input was given, a list, or a stream: there, one record's result.
        """
        shaped = [record.to_dict() for record in records]
        return shaped if nesting == "list" else shaped[0]

    def item_of_doc(self, doc: Doc) -> Any:
        """The input that a Doc stands for."""
        return doc.text

    def annotate_doc(self, doc: Doc, record: Rec, options: Any) -> None:
        """Write a record into its Doc.

        Args:
            doc: that it was found in.
            record: what was found.
            options: of the task.

        Raises:
            OptionError: this task has nothing to write.
        """
        raise OptionError(f"{self.task}: has nothing to write into a Doc.")

    def judge(
        self, item: Item, rows: Sequence[Row], results: Sequence[Any], gold: Any, options: Any
    ) -> Iterable[Evidence]:
        """What one example says about the model's scores.

        Args:
            item: of the example's input.
            rows: what was run for it.
            results: what came out.
            gold: the answer that is right.
            options: of the task.

        Raises:
            OptionError: this task has no scores to calibrate.
        """
        raise OptionError(f"{self.task}: has no scores to calibrate.")

    def threshold_labels(self) -> Sequence[str]:
        """Names of the labels that `calibrate` finds thresholds for, in the order of logits."""
        return ()
