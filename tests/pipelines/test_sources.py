"""Where models come from, which task they are for, and what is saved of a pipeline."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import catalogue
import numpy as np
import pytest
import safetensors.numpy
import spacy
import torch
from spacy.language import Language
from spacy.training import Example

import pipelines
from pipelines import available_tasks, pipeline
from pipelines.registry import ALIASES, OURS, task_class, task_name, tasks
from pipelines.sources import find_task
from spacy_deberta.decoding import Calibration
from spacy_deberta.errors import CheckpointError, HeadMissingError, OptionError
from spacy_deberta.modeling import DebertaV2ForSequenceClassification
from tests.pipelines.conftest import Written
from tests.pipelines.models import KINDS, build_model, tokenizer_of
from tests.pipelines.toy import ToyOptions, ToyPipeline

TEXT = "Angela Merkel lives in Berlin."


# --- names ----------------------------------------------------------------------------------------


def test_every_task_has_a_name_a_class_and_aliases_that_lead_to_it() -> None:
    assert set(OURS) <= set(available_tasks())
    assert {task_name(alias) for alias in ALIASES} <= set(OURS)
    assert task_name("Question_Answering") == "question-answering"
    for task, (_, name) in OURS.items():
        assert task_class(task) is getattr(pipelines, name)
        assert task_class(task).task == task


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(OptionError, match=r"task='nre' is unknown; .* Did you mean 'ner'\?"):
        pipeline("nre")
    with pytest.raises(OptionError, match="task=7"):
        pipeline(7)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="give a task"):
        pipeline()


def test_others_register_tasks_of_their_own(written: Written) -> None:
    tasks.register("toy", func=ToyPipeline)
    try:
        assert "toy" in available_tasks()
        found = pipeline("toy", written("text-classification"))
        assert found(TEXT).text == TEXT
    finally:
        catalogue.REGISTRY.pop((*tasks.namespace, "toy"))


def test_importing_pipelines_imports_neither_torch_nor_spacy() -> None:
    code = (
        "import sys, pipelines; pipelines.available_tasks();"
        "print([m for m in ('torch', 'spacy', 'transformers') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# --- models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["v3", "v1"])
def test_a_folder_an_object_and_a_path_give_the_same(written: Written, family: Any) -> None:
    folder = written("text-classification", family)
    model, tokenizer = build_model("text-classification", family), tokenizer_of(family)
    expected = ToyPipeline(folder)(TEXT)
    assert ToyPipeline(str(folder))(TEXT) == expected
    assert ToyPipeline(model, tokenizer=tokenizer)(TEXT) == expected


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "zero" not in kind])
@pytest.mark.parametrize("family", ["v3", "v1"])
def test_the_task_is_read_from_the_checkpoint(written: Written, kind: str, family: Any) -> None:
    wanted = kind.removesuffix("-emd")
    assert find_task(written(kind, family)) == wanted


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "zero" not in kind])
def test_the_task_is_read_from_the_heads_where_the_config_is_silent(
    written: Written, kind: str, tmp_path: Path
) -> None:
    source = written(kind)
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    del config["architectures"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert find_task(tmp_path) == kind.removesuffix("-emd")


def test_row_80_a_missing_head_is_an_error_that_says_what_can_be_done(written: Written) -> None:
    with pytest.raises(
        HeadMissingError, match="it can do feature-extraction, token-class"
    ) as caught:
        ToyPipeline(written("token-classification"))
    assert "pooler.dense.weight" in str(caught.value)
    with pytest.raises(HeadMissingError):
        ToyPipeline(written("token-classification"), hf_compat=True)
    found = ToyPipeline(written("token-classification"), allow_untrained_head=True)
    assert found(TEXT).text == TEXT


def test_row_80_a_model_object_of_another_task_is_refused() -> None:
    with pytest.raises(HeadMissingError, match="found a DebertaV2ForQuestionAnswering"):
        ToyPipeline(build_model("question-answering"), tokenizer=tokenizer_of())
    with pytest.raises(OptionError, match="tokenizer: a model object comes without one"):
        ToyPipeline(build_model("text-classification"))


def test_a_damaged_file_is_not_called_a_missing_head(written: Written, tmp_path: Path) -> None:
    source = written("text-classification")
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    del weights["deberta.embeddings.word_embeddings.weight"]
    safetensors.numpy.save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        ToyPipeline(tmp_path)
    assert not isinstance(caught.value, HeadMissingError)


def test_sources_that_are_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing is there"):
        ToyPipeline(tmp_path / "absent")
    with pytest.raises(OptionError, match="expected a folder, a name on the hub"):
        ToyPipeline(7)
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    with pytest.raises(
        HeadMissingError, match="no component for text-classification: found sentencizer"
    ):
        ToyPipeline(nlp)
    with pytest.raises(OptionError, match="task: cannot be told"):
        pipeline(model=7)


def test_a_head_that_the_embedded_model_lacks_is_missing() -> None:
    with pytest.raises(HeadMissingError, match="the embedded model has no head for toy"):
        ToyPipeline()


def test_row_40_windows_are_what_the_tokenizer_declares_or_512(written: Written) -> None:
    folder = written("text-classification")
    assert ToyPipeline(folder).max_length == 64
    assert ToyPipeline(folder, max_length=100).max_length == 100
    silent = tokenizer_of(model_max_length=int(1e30))
    found = ToyPipeline(build_model("text-classification"), tokenizer=silent)
    assert (found.declared_length, found.max_length) == (None, 512)
    positions = {"max_position_embeddings": 32, "position_biased_input": True}
    short = build_model("text-classification", **positions)
    assert ToyPipeline(short, tokenizer=tokenizer_of()).max_length == 32
    with pytest.raises(OptionError, match=r"max_length=33, expected .* 8 to 32"):
        ToyPipeline(short, tokenizer=tokenizer_of(), max_length=33)


def test_the_environment_is_left_alone(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    before, threads = dict(os.environ), torch.get_num_threads()
    ToyPipeline(written("text-classification"))([TEXT] * 3)
    assert (dict(os.environ), torch.get_num_threads()) == (before, threads)


def test_a_spacy_pipeline_gives_the_scores_of_its_component(
    written: Written, tmp_path: Path
) -> None:
    nlp = make_nlp(written("text-classification"))
    expected = nlp(TEXT).cats
    nlp.to_disk(tmp_path)
    for source in (nlp, tmp_path, str(tmp_path)):
        found = pipeline("textcat", source)(TEXT)
        assert {one.label: one.score for one in found.scores} == pytest.approx(expected, abs=1e-6)
    assert pipeline(model=nlp).task == "text-classification"
    bare = pipeline("feature-extraction", nlp).model
    assert type(bare).__name__ == "DebertaV2Model"
    with pytest.raises(
        HeadMissingError, match=r"expected one made by deberta_qa\. Tasks .* text-cl"
    ):
        pipeline("qa", nlp)


def make_nlp(source: Path) -> Language:
    """A pipeline with a trained classifier on an encoder that it shares."""
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy-deberta.DebertaModel.v1", "source": str(source)}
    nlp.add_pipe("deberta", config={"model": model})
    nlp.add_pipe("deberta_textcat")
    cats = ({"good": 1.0, "bad": 0.0}, {"good": 0.0, "bad": 1.0})
    docs = [nlp.make_doc(text) for text in (TEXT, "a terrible film")]
    examples = [
        Example.from_dict(doc, {"cats": gold}) for doc, gold in zip(docs, cats, strict=True)
    ]
    nlp.initialize(lambda: examples)
    nlp.update(examples)
    return nlp


# --- saving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", ["v3", "v1"])
def test_a_saved_pipeline_gives_bit_equal_results(
    written: Written, tmp_path: Path, family: Any, dtype: str
) -> None:
    folder = written("text-classification", family)
    first = ToyPipeline(folder, dtype=dtype, top_k=2, window=5, max_length=40)
    first.calibration = Calibration(1.7, {"positive": 0.25})
    first.save_pretrained(tmp_path)
    again = ToyPipeline(tmp_path)
    assert again.options == ToyOptions(top_k=2, window=5)
    assert again.calibration == first.calibration
    assert (again.max_length, again.model.dtype) == (40, first.model.dtype)
    assert again([TEXT, "good"]) == first([TEXT, "good"])
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])
    settings = json.loads((tmp_path / "pipeline.json").read_text())
    assert settings["task"] == "toy"
    assert find_task(tmp_path) == "toy"


def test_constructor_options_win_over_saved_ones(written: Written, tmp_path: Path) -> None:
    ToyPipeline(written("text-classification"), top_k=2, window=5).save_pretrained(tmp_path)
    again = ToyPipeline(tmp_path, topk=3, calibration=Calibration(2.0))
    assert again.options == ToyOptions(top_k=3, window=5)
    assert again.calibration.temperature == 2.0


def test_what_json_cannot_hold_is_refused_before_anything_is_written(
    written: Written, tmp_path: Path
) -> None:
    toy = ToyPipeline(written("text-classification"))
    toy.options = ToyOptions(window=object())  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="cannot be saved"):
        toy.save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"format": 2}', '{"format": 1, "task": 3}', '{"format": 1, "x": 1}', "\x00"],
)
def test_a_damaged_pipeline_json_is_refused(written: Written, tmp_path: Path, content: str) -> None:
    ToyPipeline(written("text-classification")).save_pretrained(tmp_path)
    (tmp_path / "pipeline.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"pipeline\.json"):
        ToyPipeline(tmp_path)


# --- calibration ----------------------------------------------------------------------------------


def test_calibrating_makes_scores_honest_and_is_saved(written: Written, tmp_path: Path) -> None:
    toy = ToyPipeline(written("text-classification"))
    random = np.random.RandomState(0)
    texts = [" ".join(random.choice(["good", "old", "river", "film"], 4)) for _ in range(120)]
    gold = [record.label for record in toy(texts)]
    gold[::3] = random.choice(["negative", "neutral", "positive"], 40).tolist()
    before = toy("good film")
    report = toy.calibrate(zip(texts, gold, strict=True))
    assert report.n_examples == 120
    assert toy.calibration.temperature > 1.5  # it was too sure of itself
    assert report.after.nll < report.before.nll
    assert report.after.ece < report.before.ece
    assert toy("good film").label == before.label
    assert toy("good film").score < before.score
    json.dumps(report.to_dict())
    toy.save_pretrained(tmp_path)
    assert ToyPipeline(tmp_path)("good film") == toy("good film")


def test_calibrating_from_too_little_is_refused_and_changes_nothing(written: Written) -> None:
    toy = ToyPipeline(written("text-classification"), calibration=Calibration(3.0))
    examples = [("good", "positive"), ("old", "negative")]
    with pytest.raises(ValueError, match="found 2 examples, expected 50 or more"):
        toy.calibrate(examples)
    assert toy.calibration == Calibration(3.0)
    assert toy.calibrate(examples, force=True).n_examples == 2


def test_a_model_class_can_be_used_directly(written: Written) -> None:
    model = DebertaV2ForSequenceClassification.from_pretrained(written("text-classification"))
    assert ToyPipeline(model, tokenizer=tokenizer_of())(TEXT).text == TEXT


def test_a_tokenizer_is_given_by_its_folder_or_refused(written: Written) -> None:
    folder = written("text-classification")
    found = ToyPipeline(folder, tokenizer=str(folder), device="cpu")
    assert found("good") == ToyPipeline(folder, device="cpu")("good")
    with pytest.raises(OptionError, match="tokenizer=int 5: expected a folder"):
        ToyPipeline(folder, tokenizer=5, device="cpu")


def test_a_calibration_of_another_kind_is_refused(written: Written) -> None:
    wrong: Any = {"temperature": 2.0}
    with pytest.raises(OptionError, match="expected a Calibration"):
        ToyPipeline(written("text-classification"), device="cpu", calibration=wrong)
