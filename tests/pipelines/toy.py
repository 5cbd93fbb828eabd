"""A trivial task over a sequence classifier, for tests of what all tasks share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pipelines.base import TaskPipeline
from pipelines.batching import Row
from pipelines.inputs import read_text
from pipelines.options import Options, check_count
from pipelines.records import Record
from spacy_deberta.decoding import Evidence
from spacy_deberta.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ToyOptions(Options):
    aliases: ClassVar[dict[str, str]] = {"topk": "top_k"}
    top_k: int = 1
    window: int = 8

    def __post_init__(self) -> None:
        check_count("top_k", self.top_k)


@dataclass(frozen=True, slots=True)
class ToyRecord(Record):
    text: str
    label: str
    score: float
    n_rows: int

    def to_dict(self) -> dict[str, Any]:
        return {"label": self.label, "score": self.score}


class ToyPipeline(TaskPipeline[str, str, ToyRecord]):
    """The mean of the logits of windows without overlap."""

    task = "toy"
    head = "ForSequenceClassification"
    options_class = ToyOptions

    def prepare(self, raw: Any, options: ToyOptions) -> str:
        text = read_text(raw)
        if text == "bad":
            raise InputError("found a bad text.")
        return text

    def encode(self, item: str, options: ToyOptions) -> list[Row]:
        core = self.tokenizer.core
        ids = core.encode(item).ids.tolist()
        cuts = range(0, len(ids), options.window) if ids else [0]
        return [Row([core.cls_id, *ids[at : at + options.window], core.sep_id]) for at in cuts]

    def forward(self, rows: Sequence[Row], options: ToyOptions) -> list[Any]:
        return list(self.run_model(rows).logits.float().cpu().numpy())

    def decode(
        self, item: str, rows: Sequence[Row], results: Sequence[Any], options: ToyOptions
    ) -> ToyRecord:
        if item == "undecodable":
            raise InputError("found an undecodable text.")
        logits = np.mean(results, axis=0) / self.calibration.temperature
        scores = np.exp(logits - np.logaddexp.reduce(logits))
        best = int(scores.argmax())
        return ToyRecord(item, self.config.id2label[best], float(scores[best]), len(rows))

    def annotate_doc(self, doc: Any, record: ToyRecord, options: ToyOptions) -> None:
        doc.cats[record.label] = record.score

    def judge(
        self, item: str, rows: Sequence[Row], results: Sequence[Any], gold: Any, options: Any
    ) -> list[Evidence]:
        labels = list(self.config.id2label.values())
        return [Evidence(np.mean(results, axis=0), labels.index(gold))]
