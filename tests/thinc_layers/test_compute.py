"""Precision, device and memory of the encoder; which of its layers are trained."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from spacy.tokens import Doc
from thinc.api import Adam
from torch import Tensor

from spacy_deberta.checkpoints import load_encoder, save_encoder
from spacy_deberta.errors import CheckpointError, ConfigError, PipelineError
from spacy_deberta.thinc_layers import compute
from spacy_deberta.thinc_layers.compute import Compute
from spacy_deberta.thinc_layers.optimizer import AdamW, build_adamw
from spacy_deberta.thinc_layers.shim import DebertaShim
from spacy_deberta.thinc_layers.transformer import DocsToRows, build_deberta_model, shim_of
from spacy_deberta.tokenizers import UnigramTokenizer
from tests.tiny import TEXTS, make_docs, write_checkpoint

DOCS = make_docs(TEXTS)


def tiny_model(source: Path, **settings: Any) -> DocsToRows:
    return build_deberta_model(str(source), **{"window": 12, "stride": 6, **settings})


def gradients(model: DocsToRows, docs: list[Doc] = DOCS) -> dict[str, Tensor]:
    """Gradients of sum(rows^2) / 2."""
    rows, backprop = model.begin_update(docs)
    backprop(rows)
    named = shim_of(model).encoder.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


def similarity(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    assert a.keys() == b.keys()
    one, two = (torch.cat([d[n].flatten() for n in a]) for d in (a, b))
    return float(torch.cosine_similarity(one, two, dim=0))


@pytest.fixture
def fp16_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs on CUDA only, here: the same code, slowly."""
    monkeypatch.setattr(Compute, "place", lambda self: torch.device("cpu"))


def test_bf16_predicts_float32_rows_near_those_of_fp32(tiny_source: Path) -> None:
    """Rows 31 and 53: half precision works on a CPU, and thinc gets float32."""
    low = tiny_model(tiny_source, precision="bf16")

    found = np.concatenate(low.predict(DOCS))

    wanted = np.concatenate(tiny_model(tiny_source).predict(DOCS))
    assert found.dtype == np.float32
    assert 0 < np.abs(found - wanted).max() < 0.1
    assert all(p.dtype == torch.float32 for p in shim_of(low).encoder.parameters())


@pytest.mark.parametrize("optimizer", [build_adamw(0.05), Adam(0.05)], ids=["ours", "thinc's"])
def test_bf16_predictions_follow_the_trained_weights(tiny_source: Path, optimizer: Any) -> None:
    model = tiny_model(tiny_source, precision="bf16")
    before = np.concatenate(model.predict(DOCS))
    gradients(model)

    model.finish_update(optimizer)

    after = np.concatenate(model.predict(DOCS))
    full = tiny_model(tiny_source)
    shim_of(full).encoder.load_state_dict(shim_of(model).encoder.state_dict())
    assert np.abs(after - before).max() > 0.05
    np.testing.assert_allclose(after, np.concatenate(full.predict(DOCS)), atol=0.1)


def test_bf16_trains_float32_weights(tiny_source: Path) -> None:
    low = gradients(tiny_model(tiny_source, precision="bf16"))

    assert all(gradient.dtype == torch.float32 for gradient in low.values())
    assert similarity(low, gradients(tiny_model(tiny_source))) > 0.99


def test_fp16_on_a_cpu_is_an_error_that_says_what_to_do(tiny_source: Path) -> None:
    """Row 31."""
    model = tiny_model(tiny_source, precision="fp16")

    with pytest.raises(
        ConfigError, match=r"needs a CUDA device, .* on 'cpu'. Use precision='bf16'"
    ):
        model.predict(DOCS)


@pytest.mark.usefixtures("fp16_on_cpu")
def test_fp16_scales_gradients_and_takes_the_factor_out(tiny_source: Path) -> None:
    model, optimizer = tiny_model(tiny_source, precision="fp16"), _Recorder()

    for _ in range(20):  # until the scale fits
        if not optimizer.seen:
            gradients(model)
            model.finish_update(optimizer)  # type: ignore[arg-type]

    assert similarity(optimizer.seen, gradients(tiny_model(tiny_source))) > 0.99
    ratio = optimizer.norm / sum(float(g.square().sum()) for g in optimizer.wanted(tiny_source))
    assert ratio == pytest.approx(1, rel=0.05)


@pytest.mark.usefixtures("fp16_on_cpu")
@pytest.mark.parametrize("build", [build_adamw, Adam], ids=["ours", "thinc's"])
def test_fp16_skips_a_step_that_overflows_quietly_and_lowers_the_scale(
    tiny_source: Path, build: Callable[[float], Any]
) -> None:
    model, optimizer = tiny_model(tiny_source, precision="fp16"), build(0.01)
    gradients(model)
    shim = shim_of(model)
    parameter = next(shim.encoder.parameters())
    assert parameter.grad is not None
    parameter.grad[0, 0] = float("inf")
    before = copy.deepcopy(shim.encoder.state_dict())
    assert shim._scaler is not None
    scale = shim._scaler.get_scale()

    model.finish_update(optimizer)

    assert shim._scaler.get_scale() == scale / 2
    torch.testing.assert_close(shim.encoder.state_dict(), before, atol=0, rtol=0)
    assert all(p.grad is None for p in shim.encoder.parameters())


class _Recorder:
    """An optimizer that steps nothing."""

    def __init__(self) -> None:
        self.seen: dict[str, Tensor] = {}

    def __call__(self, key: tuple[int, str], weights: Any, gradient: Any) -> tuple[Any, Any]:
        self.seen[key[1]] = torch.tensor(gradient)
        return weights, gradient

    @property
    def norm(self) -> float:
        return sum(float(g.square().sum()) for g in self.seen.values())

    def wanted(self, source: Path) -> list[Tensor]:
        return [*gradients(tiny_model(source)).values()]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "int8"}, r"precision='int8' is unknown; supported: fp32, bf16, fp16"),
        ({"device": "toaster"}, r"device='toaster' is no device"),
    ],
)
def test_unknown_names_are_refused_at_once(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_deberta_model(**settings)  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_a_device_that_is_not_there_is_an_error(tiny_source: Path) -> None:
    model = tiny_model(tiny_source, device="cuda:3")

    with pytest.raises(ConfigError, match=r"device='cuda:3': torch finds 0 CUDA devices"):
        model.predict(DOCS)


def test_a_named_device_is_used_without_asking_thinc(
    tiny_source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute, "get_torch_default_device", lambda: pytest.fail("asked"))

    rows = tiny_model(tiny_source, device="cpu").predict(DOCS)

    assert isinstance(rows[0], np.ndarray)


def test_a_forked_process_refuses_its_parents_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 38: CUDA and fork are an error, not a hang."""
    monkeypatch.setattr(compute._Fork, "lost_cuda", True)

    compute.refuse_lost_device(torch.device("cpu"))
    with pytest.raises(PipelineError, match=r'set_start_method\("spawn"\)'):
        compute.refuse_lost_device(torch.device("cuda:0"))


def test_gradient_checkpointing_keeps_less_and_changes_nothing(tiny_source: Path) -> None:
    kept: list[int] = []

    def measured(**settings: Any) -> tuple[int, dict[str, Tensor]]:
        kept.clear()
        model = tiny_model(tiny_source, **settings)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: (kept.append(t.numel()), t)[1], lambda t: t
        ):
            rows, backprop = model.begin_update(DOCS)
        n_kept = sum(kept)
        backprop(rows)
        named = shim_of(model).encoder.named_parameters()
        return n_kept, {name: p.grad for name, p in named if p.grad is not None}

    plain, wanted = measured()
    checkpointed, found = measured(gradient_checkpointing=True)

    assert checkpointed < plain / 2
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("n_layers", "wanted"),
    [
        (0, set()),
        (1, {"layers.1"}),
        (2, {"layers.0", "layers.1"}),
        (3, {"layers.0", "layers.1", "embeddings", "table"}),
        (None, {"layers.0", "layers.1", "embeddings", "table"}),
    ],
)
def test_only_the_last_layers_are_trained(
    tiny_source: Path, n_layers: int | None, wanted: set[str]
) -> None:
    model, optimizer = tiny_model(tiny_source), build_adamw(0.1, weight_decay=0.5)
    shim_of(model).train_last(n_layers)
    before = copy.deepcopy(shim_of(model).encoder.state_dict())

    found = gradients(model)
    model.finish_update(optimizer)

    every = gradients(tiny_model(tiny_source))
    assert {_part(name) for name in found} == wanted
    torch.testing.assert_close(found, {name: every[name] for name in found})
    after = shim_of(model).encoder.state_dict()
    moved = {_part(name) for name in after if not torch.equal(after[name], before[name])}
    assert moved == wanted
    step = shim_of(model)._step
    assert len(step._torch.state if step else {}) == len(found)  # no moments of frozen layers


def _part(name: str) -> str:
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "layers" else parts[0]


def test_layers_that_are_unfrozen_later_join_the_same_optimizer(tiny_source: Path) -> None:
    model, optimizer = tiny_model(tiny_source), build_adamw(0.1, use_averages=True)
    before = copy.deepcopy(shim_of(model).encoder.state_dict())

    for n_layers in (0, 1, None):
        shim_of(model).train_last(n_layers)
        gradients(model)
        model.finish_update(optimizer)

    step = shim_of(model)._step
    assert step is not None
    steps = {name: int(step._torch.state[p]["step"]) for name, p in step._named}
    assert {(_part(name), n) for name, n in steps.items()} == {
        ("layers.1", 2), ("layers.0", 1), ("embeddings", 1), ("table", 1)
    }  # fmt: skip
    after = shim_of(model).encoder.state_dict()
    assert not any(torch.equal(after[name], before[name]) for name in steps)
    assert len(optimizer.averages) == len(steps)


@pytest.mark.parametrize("build", [build_adamw, Adam], ids=["ours", "thinc's"])
def test_a_gradient_that_is_not_finite_is_skipped_by_every_optimizer(
    tiny_source: Path, build: Callable[[float], Any]
) -> None:
    """Row 22."""
    model, optimizer = tiny_model(tiny_source), build(0.01)
    gradients(model)
    encoder = shim_of(model).encoder
    before = copy.deepcopy(encoder.state_dict())
    parameter = encoder.layers[0].attention.query.weight
    parameter.grad[0, 0] = float("nan")  # type: ignore[index]

    with pytest.warns(RuntimeWarning, match="gradient of the encoder is not finite, so its step"):
        model.finish_update(optimizer)

    torch.testing.assert_close(encoder.state_dict(), before, atol=0, rtol=0)
    assert all(p.grad is None for p in encoder.parameters())
    assert not isinstance(optimizer, AdamW) or optimizer.n_skipped == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_weights_of_16_bits_stay_so_until_they_are_trained(
    tiny_source: Path, tmp_path: Path, tiny_tokenizer: UnigramTokenizer, dtype: torch.dtype
) -> None:
    """Row 53."""
    save_encoder(load_encoder(tiny_source), tmp_path / "low", dtype=dtype)
    tiny_tokenizer.save(tmp_path / "low")
    model = tiny_model(tmp_path / "low")
    shim_of(model).save(tmp_path / "same")
    gradients(model)
    model.finish_update(build_adamw(0.01))
    shim_of(model).save(tmp_path / "trained")

    same = load_file(tmp_path / "same" / "model.safetensors")
    trained = load_file(tmp_path / "trained" / "model.safetensors")

    low = load_file(tmp_path / "low" / "model.safetensors")
    assert {tensor.itemsize for tensor in same.values()} == {2}
    assert {tensor.dtype for tensor in trained.values()} == {torch.float32}
    torch.testing.assert_close(same, low, check_dtype=False, atol=0, rtol=0)
    again = tiny_model(tmp_path / "same").predict(DOCS)
    np.testing.assert_array_equal(again[0], tiny_model(tmp_path / "low").predict(DOCS)[0])


def test_a_table_may_be_larger_than_the_vocabulary_never_smaller(
    tmp_path: Path, tiny_tokenizer: UnigramTokenizer
) -> None:
    """Row 56."""
    n_pieces = tiny_tokenizer.n_pieces
    text = "".join(map(chr, range(32, 1500))) + " [MASK] <s> 😀"
    larger = write_checkpoint(tmp_path / "a", tiny_tokenizer, vocab_size=n_pieces + 100)
    smaller = write_checkpoint(tmp_path / "b", tiny_tokenizer, vocab_size=n_pieces - 1)

    (rows,) = tiny_model(larger).predict(make_docs([text]))
    assert np.isfinite(rows).all()
    assert tiny_tokenizer.encode(text).ids.max() < n_pieces
    with pytest.raises(CheckpointError, match=rf"{n_pieces} pieces, .*vocab_size={n_pieces - 1}"):
        tiny_model(smaller).predict(DOCS)


def test_a_copy_has_no_optimizer_state_and_an_id_of_its_own(tiny_source: Path) -> None:
    """Row 24."""
    model = tiny_model(tiny_source, precision="bf16")
    gradients(model)
    model.finish_update(build_adamw(0.01))
    model.predict(DOCS)

    copied: DebertaShim = shim_of(model.copy())

    assert copied.id != shim_of(model).id
    assert copied._step is None
    assert copied._lowered is None
    assert copied.compute == shim_of(model).compute


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "atol"), [("fp32", 1e-4), ("bf16", 3e-2), ("fp16", 3e-2)])
def test_a_gpu_gives_the_rows_of_the_cpu(tiny_source: Path, precision: str, atol: float) -> None:
    """Row 57."""
    found = tiny_model(tiny_source, device="cuda", precision=precision).predict(DOCS)

    for ours, wanted in zip(found, tiny_model(tiny_source).predict(DOCS), strict=True):
        assert isinstance(ours, np.ndarray)
        np.testing.assert_allclose(ours, wanted, atol=atol)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_trains_without_cupy(tiny_source: Path, precision: str) -> None:
    model = tiny_model(tiny_source, device="cuda", precision=precision)
    found = gradients(model)
    assert similarity(
        {n: g.cpu() for n, g in found.items()}, gradients(tiny_model(tiny_source))
    ) > (0.99)
    before = np.concatenate(model.predict(DOCS))

    model.finish_update(build_adamw(0.01))

    assert not np.allclose(np.concatenate(model.predict(DOCS)), before)
