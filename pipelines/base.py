"""What all task pipelines share: a model, options, batches, and the order of results.

A task is a subclass with `task`, `head`, `options_class` and the steps of steps.py. `run_items` is
everything between `prepare` and records; tasks of several rounds replace it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pipelines.batching import Row
from pipelines.engine import AHEAD, LARGE, Engine
from pipelines.inputs import check_stream, describe, is_stream
from pipelines.options import check_count
from pipelines.progress import watch
from pipelines.records import Failed
from pipelines.saving import save_pipeline
from pipelines.sources import Wanted, open_model
from pipelines.steps import In, Item, Nesting, Rec
from pipelines.stream import RAISE, ItemError, Plan, run_stream
from spacy_deberta.decoding import (
    Calibration,
    CalibrationReport,
    Evidence,
    calibrate_scores,
)
from spacy_deberta.errors import InputError, OptionError

if TYPE_CHECKING:
    from spacy.tokens import Doc

__all__ = ["Nesting", "Row", "TaskPipeline"]

AHEAD_OF_LISTS, AHEAD_OF_STREAMS = 1024, 64  # inputs looked at before the first result
CHARACTERS = 4  # of a piece, about
_RUN_NAMES = ("on_error", "progress", "batch_size")  # of calls, beside the task's options


class TaskPipeline(Engine[In, Item, Rec]):
    """One task over one model.

    Args:
        model: None = the embedded model; a checkpoint folder of any format or a name on the hub;
            a spaCy pipeline (folder, package or `nlp`) with the matching component; or a model of
            `spacy_deberta`.
        tokenizer: of a model object, or a folder with one; otherwise it comes with the model.
        device: None = CUDA if there is one, else the CPU.
        dtype: "auto" = what the pipeline was saved with, else the checkpoint's on CUDA and float32
            on the CPU.
        batch_pieces: pieces of a batch; 4,096 on the CPU and 32,768 on CUDA, unless given.
        batch_size: most rows of a batch.
        max_length: pieces of a row, special ones included.
        hf_compat: numbers and nesting of `transformers` 4.57.6.
        on_error: "raise", "skip", or "return" a `Failed` in the place of a record.
        calibration: instead of the one saved with the pipeline.
        allow_untrained_head: draw a missing head at random instead of refusing.
        revision: of a name on the hub.
        options: of the task, see its `options_class`; calls may give others.

    Attributes:
        model: in eval mode.
        tokenizer: its own.
        config: its shape and labels.
        options: of the task.
        given: names of the options that the constructor was given.
        max_length: pieces of a row.
        declared_length: what the tokenizer declares; None = no limit.
        calibration: temperature and thresholds; temperature 1 without one.

    Raises:
        HeadMissingError: the model has no trained head for the task.
        CheckpointError: a file is missing or damaged.
        OptionError: an option is unknown, or has a value that cannot work.
    """

    def __init__(
        self,
        model: Any = None,
        *,
        tokenizer: Any = None,
        device: str | int | torch.device | None = None,
        dtype: str | torch.dtype = "auto",
        batch_pieces: int | None = None,
        batch_size: int | None = None,
        max_length: int | None = None,
        hf_compat: bool | None = None,
        on_error: str = RAISE,
        calibration: Calibration | None = None,
        allow_untrained_head: bool = False,
        revision: str | None = None,
        **options: Any,
    ) -> None:
        wanted = Wanted(self.task, self.head, device, dtype, revision, allow_untrained_head)
        loaded = open_model(model, tokenizer, wanted)
        saved = loaded.settings
        self.model = loaded.model
        self.tokenizer = loaded.tokenizer
        self.config = loaded.model.config
        self.hf_compat = bool(saved.get("hf_compat") if hf_compat is None else hf_compat)
        self.options: Any = self.options_class.restore(saved.get("options", {}), options)
        self.given = frozenset(self.options_class.rename(options))
        self.on_error = Plan(self.options, on_error).on_error
        stored = Calibration.from_dict(saved.get("calibration", {}))
        self.calibration = stored if calibration is None else calibration
        if not isinstance(self.calibration, Calibration):
            raise OptionError(f"calibration={calibration!r}, expected a Calibration.")
        self.batch_pieces = self._budget() if batch_pieces is None else batch_pieces
        self.batch_size = LARGE if batch_size is None else batch_size
        check_count("batch_pieces", self.batch_pieces)
        check_count("batch_size", self.batch_size)
        self.declared_length = loaded.declared_length
        self._given_length = saved.get("max_length") if max_length is None else max_length
        self.max_length = loaded.window(self._given_length)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Records of one input, of a list, or one by one of anything else that can be iterated.

        Args:
            args: the input, or the inputs; some tasks take more.
            kwargs: options of the task, on_error, batch_size and progress, for this call.

        Returns:
            A record; a list of as many; or a lazy iterator.

        Raises:
            InputError: an input that the task cannot work on, with on_error="raise"; its `partial`
                has the records of the inputs before it.
            OptionError: an option is unknown, or has a value that cannot work.
        """
        run = {name: kwargs.pop(name) for name in _RUN_NAMES if name in kwargs}
        inputs, values = self.read_call(args, kwargs)
        options = self.options.override(values)
        if not self.is_batch(inputs):
            if is_stream(inputs):
                return self._shaped(self._records(inputs, options, AHEAD_OF_STREAMS, run), options)
            records = self._records([inputs], options, 1, run, is_single=True)
            return self._to_hf(list(records), options, "one")
        found: list[Any] = []
        try:
            found.extend(self._records(inputs, options, AHEAD_OF_LISTS, run))
        except InputError as error:
            error.partial = tuple(found)
            raise
        return self._to_hf(found, options, "list")

    def pipe(
        self,
        inputs: Iterable[Any],
        *,
        as_tuples: bool = False,
        progress: bool = False,
        on_error: str | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> Iterator[Any]:
        """Records of a stream, lazily and in order, looking a bounded number of inputs ahead.

        Args:
            inputs: any iterable, also an endless one.
            as_tuples: inputs are (input, context), results (record, context).
            progress: show it on stderr.
            on_error: instead of the pipeline's own.
            batch_size: most rows of a batch.
            options: of the task.

        Raises:
            OptionError: at once; the others while iterating, as in `__call__`.
            InputError: at once, if this is one input.
        """
        check_stream(inputs, "several inputs")
        chosen = self.options.override(options)
        run = {"on_error": on_error, "progress": progress, "batch_size": batch_size}
        found = self._records(inputs, chosen, AHEAD_OF_STREAMS, run, as_tuples=as_tuples)
        return self._shaped(found, chosen, as_tuples=as_tuples)

    def annotate(
        self, docs: Iterable[Doc], *, on_error: str | None = None, **options: Any
    ) -> Iterator[Doc]:
        """Docs with what the task finds in them, lazily and in order.

        A Doc that fails is left out with on_error="skip", and stays as it is with "return".

        Args:
            docs: of any pipeline.
            on_error: instead of the pipeline's own.
            options: of the task.

        Raises:
            InputError: what is given is one Doc; while iterating, it holds something else.
        """
        check_stream(docs, "several Docs")
        chosen = self.options.override(options)
        plan = Plan(chosen, on_error or self.on_error, as_tuples=True, n_items=AHEAD_OF_STREAMS)
        reading = _Runner(
            lambda doc, given: self.prepare(self.item_of_doc(_checked_doc(doc)), given),
            self.run_items,
        )
        return self._annotated(run_stream(reading, ((doc, doc) for doc in docs), plan), chosen)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write model, tokenizer, and pipeline.json with task, options and calibration.

        `pipeline(model=folder)` and `pipelines.load(folder)` give bit-equal results.

        Raises:
            OptionError: an option has no form in JSON.
        """
        settings: dict[str, Any] = {
            "task": self.task,
            "options": self.options.to_dict(),
            "hf_compat": self.hf_compat,
            "calibration": self.calibration.to_dict(),
        }
        if self._given_length:
            settings["max_length"] = self._given_length
        save_pipeline(Path(folder), self.model, self.tokenizer, settings)

    def calibrate(
        self, examples: Iterable[tuple[Any, Any]], *, force: bool = False, **options: Any
    ) -> CalibrationReport:
        """Learn temperature and thresholds from held-out examples, and use them from now on.

        Args:
            examples: (input, gold answer) each; what a gold answer is, the task's `judge` says.
            force: also from fewer than 50 examples.
            options: of the task.

        Returns:
            Likelihood, calibration error and Brier score before and after.

        Raises:
            DataError: too few examples.
            OptionError: this task has no scores to calibrate, or hf_compat=True.
        """
        if self.hf_compat:
            raise OptionError(
                "calibrate: with hf_compat=True scores are those of transformers, which nothing "
                "changes; make the pipeline without it."
            )
        chosen = self.options.override(options)
        pairs = list(examples)
        evidence: list[Evidence] = []
        kept, self.calibration = self.calibration, Calibration()
        try:
            plan = Plan(chosen, RAISE, as_tuples=True)
            judging = _Runner(self.prepare, self.run_rows)
            for (item, rows, results), gold in run_stream(judging, pairs, plan):
                evidence += self.judge(item, rows, _checked(results), gold, chosen)
            least = {"least": 1} if force else {}
            report = calibrate_scores(evidence, self.threshold_labels(), **least)
        except BaseException:
            self.calibration = kept
            raise
        self.calibration = report.calibration
        return report

    def _records(
        self,
        inputs: Iterable[Any],
        options: Any,
        n_items: int,
        run: dict[str, Any],
        *,
        as_tuples: bool = False,
        is_single: bool = False,
    ) -> Iterator[Any]:
        """Records as they are, before any shape of `transformers`."""
        policy = run.get("on_error") or self.on_error
        if run.get("batch_size") is not None:
            check_count("batch_size", run["batch_size"])
            options = replace(options, batch_size=run["batch_size"], given=options.given)
        n_characters = AHEAD * CHARACTERS * self.batch_pieces
        plan = Plan(options, policy, as_tuples, n_items, n_characters, is_single)
        watched = watch(inputs, self.task) if run.get("progress") else inputs
        return run_stream(self, watched, plan)

    def _shaped(
        self, found: Iterator[Any], options: Any, *, as_tuples: bool = False
    ) -> Iterator[Any]:
        if not self.hf_compat:
            return found
        if as_tuples:
            return ((self._to_hf([one], options, "stream"), context) for one, context in found)
        return (self._to_hf([one], options, "stream") for one in found)

    def _to_hf(self, records: list[Any], options: Any, nesting: Nesting) -> Any:
        if not records and nesting != "list":  # one input, skipped
            return None
        failed = any(isinstance(record, Failed) for record in records)
        if self.hf_compat and not failed:
            return self.to_hf(records, options, nesting)
        if self.hf_compat and nesting == "list":
            return [
                one if isinstance(one, Failed) else self.to_hf([one], options, "stream")
                for one in records
            ]
        return records if nesting == "list" else records[0]

    def _annotated(self, found: Iterator[Any], options: Any) -> Iterator[Doc]:
        for record, doc in found:
            if not isinstance(record, Failed):
                self.annotate_doc(doc, record, options)
            yield doc

    def _budget(self) -> int:
        return 4096 if self.model.device.type == "cpu" else 32_768


@dataclass(frozen=True, eq=False)
class _Runner:
    """The two steps of a stream, where they are not the pipeline's own."""

    prepare: Callable[[Any, Any], Any]
    run_items: Callable[[Sequence[Any], Any], Iterator[Any]]


def _checked_doc(value: Any) -> Any:
    if not hasattr(value, "set_ents"):  # as Docs have, and neither texts nor Spans
        raise InputError(f"found {describe(value)}, expected a Doc.")
    return value


def _checked(results: list[Any] | ItemError) -> list[Any]:
    if isinstance(results, ItemError):
        raise results.error
    return results
