"""Tiny checkpoints, written once."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.models import write_model

Written = Callable[..., Path]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """`written(kind, family="v3", seed=0, **config)` is a checkpoint folder; nobody changes it."""

    @cache
    def write(kind: str, family: Any = "v3", seed: int = 0) -> Path:
        folder = tmp_path_factory.mktemp(f"{kind}-{family}")
        return write_model(folder, kind, family, seed)

    return write
