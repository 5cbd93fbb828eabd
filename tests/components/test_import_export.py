"""Checkpoints as pipelines and back: the same numbers on both sides."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from typer.testing import CliRunner

from spacy_deberta import modeling
from spacy_deberta.checkpoints import load_encoder, open_checkpoint
from spacy_deberta.cli import app
from spacy_deberta.components.exporting import export_pipeline
from spacy_deberta.components.importing import TASKS, import_checkpoint
from spacy_deberta.errors import CheckpointError, ConfigError, PipelineError
from spacy_deberta.tokenizers import UnigramTokenizer
from tests.tiny import NER_MODEL, tiny_config, tiny_nlp

TEXT = "Marie Curie crossed the old river"
TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
CHANGES: dict[str, dict[str, Any]] = {
    "token-classification": {"num_labels": 5, "id2label": TAGS},
    "sequence-classification": {"num_labels": 2, "id2label": {0: "bad", 1: "good"}},
    "fill-mask": {"legacy": False, "position_biased_input": True},
}


def checkpoint(
    folder: Path, tokenizer: UnigramTokenizer, task: str, **changes: Any
) -> modeling.DebertaPreTrainedModel:
    """A checkpoint with large random weights in its head."""
    torch.manual_seed(5)
    kind = getattr(modeling, "DebertaV2" + TASKS[task].architecture)
    model = kind(tiny_config(**{**CHANGES.get(task, {}), **changes})).eval()
    for head in model.heads().values():
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(folder)
    tokenizer.save(folder)
    return model


def ask(nlp: Language) -> Doc:
    doc = nlp.make_doc(TEXT)
    if nlp.has_pipe("deberta_choice"):
        doc._.choices = ["one", "two", "the mountain"]
    if nlp.has_pipe("deberta_qa"):
        doc._.qa = [{"id": "1", "question": "the painter"}]
    return nlp(doc)


@pytest.mark.parametrize("task", TASKS)
def test_a_pipeline_comes_back_as_the_checkpoint_it_was(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer, task: str
) -> None:
    model = checkpoint(tmp_path / "theirs", tiny_tokenizer, task)
    nlp = import_checkpoint(str(tmp_path / "theirs"))
    nlp.to_disk(tmp_path / "nlp")
    (tmp_path / "theirs").rename(tmp_path / "gone")

    done = export_pipeline(spacy.load(tmp_path / "nlp"), tmp_path / "ours")

    assert done.architecture == type(model).__name__
    assert done.component == TASKS[task].factory
    found = type(model).from_pretrained(tmp_path / "ours")
    assert found.config.id2label == model.config.id2label
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("task", TASKS)
def test_the_command_makes_a_pipeline_that_predicts(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer, task: str
) -> None:
    checkpoint(tmp_path / "theirs", tiny_tokenizer, task)

    result = CliRunner().invoke(app, ["import", str(tmp_path / "theirs"), str(tmp_path / "a/nlp")])

    assert result.exit_code == 0, result.output
    assert f"deberta, {TASKS[task].factory}" in result.output
    nlp = spacy.load(tmp_path / "a/nlp")
    assert nlp.config["initialize"]["components"] == {}
    assert ask(nlp).has_annotation("ENT_IOB") == (task == "token-classification")


def test_classes_have_the_checkpoints_probabilities(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    model = checkpoint(tmp_path, tiny_tokenizer, "sequence-classification")
    t = tiny_tokenizer
    ids = torch.tensor([[t.cls_id, *t.encode(TEXT).ids.tolist(), t.sep_id]])

    doc = ask(import_checkpoint(str(tmp_path)))

    with torch.no_grad():
        wanted = model(ids).logits.softmax(-1)[0].tolist()
    assert doc.cats == pytest.approx({"bad": wanted[0], "good": wanted[1]}, abs=1e-5)


def test_entities_are_those_of_first_pieces(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    model = checkpoint(tmp_path, tiny_tokenizer, "token-classification")
    t = tiny_tokenizer
    ids = torch.tensor([[t.cls_id, *t.encode(TEXT).ids.tolist(), t.sep_id]])
    nlp = import_checkpoint(str(tmp_path))
    pipe: Any = nlp.get_pipe("deberta_ner")

    doc = nlp(TEXT)

    logits = pipe.model.predict([doc])[0]
    with torch.no_grad():
        of_pieces = model(ids).logits[0, 1:-1].numpy()
    firsts = [doc._.deberta.pieces_of(token.i)[0] for token in doc]
    np.testing.assert_allclose(logits, of_pieces[firsts], atol=1e-5)
    assert pipe.labels == ("LOC", "PER") or set(pipe.labels) == {"PER", "LOC"}


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({"problem_type": "multi_label_classification"}, "multilabel"),
        ({"num_labels": 1, "id2label": {}}, "regression"),
        ({}, "exclusive"),
    ],
)
def test_the_problem_type_chooses_the_mode(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer, changes: dict[str, Any], mode: str
) -> None:
    checkpoint(tmp_path, tiny_tokenizer, "sequence-classification", **changes)

    nlp = import_checkpoint(str(tmp_path))

    assert nlp.get_pipe_config("deberta_textcat")["mode"] == mode


def test_a_checkpoint_without_a_fitting_head_is_refused(
    tmp_path: Path, tiny_source: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    with pytest.raises(CheckpointError, match="no head for any task; this file can do: encoder"):
        import_checkpoint(str(tiny_source))
    checkpoint(tmp_path, tiny_tokenizer, "question-answering")
    with pytest.raises(CheckpointError, match="no head for fill-mask"):
        import_checkpoint(str(tmp_path), task="fill-mask")
    with pytest.raises(ConfigError, match="task='qa' is unknown; supported: token-class"):
        import_checkpoint(str(tmp_path), task="qa")
    with pytest.raises(ConfigError, match="lang='qq'"):
        import_checkpoint(str(tmp_path), lang="qq")


def test_an_encoder_without_heads_of_ours_is_exported_alone(
    tmp_path: Path, tiny_source: Path
) -> None:
    nlp = tiny_nlp(tiny_source)
    nlp.add_pipe("ner", config={"model": NER_MODEL})

    done = export_pipeline(nlp, tmp_path)

    assert (done.architecture, done.component) == ("DebertaV2Model", None)
    assert open_checkpoint(tmp_path).tasks == ("encoder",)
    for name, tensor in load_encoder(tiny_source).state_dict().items():
        torch.testing.assert_close(load_encoder(tmp_path).state_dict()[name], tensor)


def test_what_has_no_place_in_a_checkpoint_is_refused(tmp_path: Path, tiny_source: Path) -> None:
    nlp = tiny_nlp(tiny_source)
    nlp.add_pipe("deberta_qa")
    nlp.add_pipe("deberta_qa", name="other")
    with pytest.raises(PipelineError, match=r"heads of deberta_qa, other.*--component"):
        export_pipeline(nlp, tmp_path)
    with pytest.raises(PipelineError, match="component 'ner' has no head"):
        export_pipeline(nlp, tmp_path, "ner")
    with pytest.raises(PipelineError, match="no component with a DeBERTa encoder"):
        export_pipeline(spacy.blank("en"), tmp_path)


def test_a_tagger_that_reads_more_than_the_encoder_is_refused(
    tmp_path: Path, tiny_source: Path
) -> None:
    nlp = tiny_nlp(tiny_source)
    listener = {"@architectures": "spacy-deberta.DebertaListener.v1"}
    shapes = {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": 8,
        "attrs": ["SHAPE"],
        "rows": [50],
        "include_static_vectors": False,
    }
    both = {"@layers": "concatenate.v1", "*": {"encoder": listener, "shapes": shapes}}
    tagger = {"@architectures": "spacy-deberta.TokenTagger.v1", "tok2vec": both}
    nlp.add_pipe("deberta_ner", config={"model": tagger})

    with pytest.raises(PipelineError, match="more than the encoder's rows"):
        export_pipeline(nlp, tmp_path)


def test_the_export_command_says_what_it_wrote(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    checkpoint(tmp_path / "theirs", tiny_tokenizer, "token-classification")
    nlp = import_checkpoint(str(tmp_path / "theirs"))
    nlp.to_disk(tmp_path / "nlp")

    result = CliRunner().invoke(app, ["export", str(tmp_path / "nlp"), str(tmp_path / "ours")])

    assert result.exit_code == 0, result.output
    assert "DebertaV2ForTokenClassification, with the head of deberta_ner" in result.output
    assert "note" not in result.output
