"""The contestants of the encoder benchmark that run an exported model, set up for latency."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import onnxruntime
import openvino

from tests.benchmarks.peers import EXPORTER, peer_python
from tests.benchmarks.speed_cells import Batch
from tests.benchmarks.speed_peers import Contestant

ONNX_RUNTIME, OPENVINO = "ONNX Runtime", "OpenVINO"
SCRIPT = Path(__file__).with_name("export_models.py")
ONNX_FILE, OPENVINO_FILE = "model.onnx", "model.xml"
PRECISIONS = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16}


def export(folder: Path) -> None:
    """Write both files beside a checkpoint, unless they are there.

    Raises:
        FileNotFoundError: the environment that can do it is not there.
        subprocess.CalledProcessError: it failed; its own message is on the screen.
    """
    if (folder / ONNX_FILE).exists() and (folder / OPENVINO_FILE).exists():
        return
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        [str(peer_python(EXPORTER)), str(SCRIPT), str(folder)], check=True, env=environment
    )


def onnx_runtime(folder: Path, threads: int) -> Contestant:
    """ONNX Runtime in float32; its threads do not spin while others are measured."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        folder / ONNX_FILE, options, providers=["CPUExecutionProvider"]
    )

    def encode(batch: Batch) -> Any:
        return session.run(None, batch.arrays)[0]

    return Contestant(ONNX_RUNTIME, "fp32", encode)


def openvino_model(folder: Path, dtype: str, threads: int) -> Contestant:
    """OpenVINO in the precision asked for.

    Raises:
        RuntimeError: it chose another one.
    """
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": PRECISIONS[dtype],
    }
    compiled = openvino.Core().compile_model(folder / OPENVINO_FILE, "CPU", settings)
    chosen = compiled.get_property("INFERENCE_PRECISION_HINT")
    if chosen != PRECISIONS[dtype]:
        raise RuntimeError(f"OpenVINO runs in {chosen}, asked was {PRECISIONS[dtype]}")
    request = compiled.create_infer_request()

    def encode(batch: Batch) -> Any:
        results = request.infer(batch.arrays, share_inputs=True, share_outputs=True)
        return results[0]

    return Contestant(OPENVINO, dtype, encode)
