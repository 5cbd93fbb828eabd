"""The benchmark that scores the configs: every one of its pipelines can be built."""

from argparse import Namespace

import pytest
from spacy.util import load_model_from_config

from tests.benchmarks.config_scores import DEV_DOCS, TASKS, our_config


@pytest.mark.parametrize("name", TASKS)
def test_the_config_of_a_task_is_complete(name: str) -> None:
    task = TASKS[name]
    config = our_config(task, None, Namespace(precision="bf16"))
    nlp = load_model_from_config(config.interpolate(), validate=True)
    assert nlp.pipe_names == config["nlp"]["pipeline"]
    assert set(task.kept) <= set(nlp.pipe_names)
    training = config.interpolate()["training"]
    assert training["max_steps"] == training["optimizer"]["learn_rate"]["total_steps"] == task.steps
    assert config["corpora"]["dev"]["limit"] == DEV_DOCS
    first = config["nlp"]["pipeline"][0]
    model = config["components"][first]["model"]
    assert model.get("precision", model.get("tok2vec", {}).get("precision")) == "bf16"
