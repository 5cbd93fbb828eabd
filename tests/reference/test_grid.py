"""The random cases cover the whole grid, and are the same in every run."""

from collections import Counter

from tests.reference.case import TASKS
from tests.reference.grid import CHOICES, CHOICES_V2, random_cases


def test_every_value_of_the_grid_comes_up() -> None:
    cases = random_cases(72)
    for choices, families in ((CHOICES, ("v1", "v2")), (CHOICES_V2, ("v2",))):
        for key, values in choices.items():
            found = [str(c.config[key]) for c in cases if c.family in families]
            assert set(found) == {str(value) for value in values}, key
    assert {case.layout for case in cases} == {
        "safetensors",
        "shards",
        "bin",
        "bin-shards",
        "renamed",
        "half",
    }


def test_every_task_comes_up_equally_often() -> None:
    counts = Counter((case.family, case.task) for case in random_cases(72))
    assert counts == {
        **{("v1", task): 4 for task in TASKS},
        **{("v2", task): 8 for task in TASKS},
    }


def test_cases_are_drawn_from_the_seed_alone() -> None:
    assert random_cases(12, seed=3) == random_cases(12, seed=3)
    assert random_cases(12, seed=3) != random_cases(12, seed=4)
