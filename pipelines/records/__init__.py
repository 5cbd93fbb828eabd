"""What pipelines return: frozen, plain Python numbers, equal by value.

`to_dict` gives the keys of `transformers`, and passes through `json.dumps`. Offsets count
characters of the text that was given.
"""

from pipelines.records.answers import Answer, Answers
from pipelines.records.base import Failed, Record
from pipelines.records.choice import Choice
from pipelines.records.classes import Classification, LabelScore, Regression, ZeroShot
from pipelines.records.entities import Entities, Entity, PieceTag
from pipelines.records.features import Features
from pipelines.records.fills import Fill, FillResult, JointFill, MaskFill

__all__ = [
    "Answer",
    "Answers",
    "Choice",
    "Classification",
    "Entities",
    "Entity",
    "Failed",
    "Features",
    "Fill",
    "FillResult",
    "JointFill",
    "LabelScore",
    "MaskFill",
    "PieceTag",
    "Record",
    "Regression",
    "ZeroShot",
]
