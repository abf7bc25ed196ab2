"""OpenVINO: the ONNX model compiled for latency in float32, one infer request used again and again.

Without the precision hint it would compute in bfloat16 where the processor can. A step keeps its
state inside the request (a stateful model), which is faster than handing it in and out.
"""

from __future__ import annotations

import numpy as np
import openvino
from openvino._offline_transformations import apply_make_stateful_transformation

from benches.arrays import inputs
from benches.peers import Job
from benches.peers.onnx_runtime import model
from benches.shapes import Shape

_core = openvino.Core()
_settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}


def start(threads: int) -> str:
    _settings["INFERENCE_NUM_THREADS"] = threads
    return openvino.__version__.split("-")[0]


def request(network: openvino.Model, x: np.ndarray) -> Job:
    """A job that infers in place from x; its result is read from the request's own output."""
    compiled = _core.compile_model(network, "CPU", _settings)
    infer = compiled.create_infer_request()
    x_shared = openvino.Tensor(x, shared_memory=True)
    infer.set_input_tensor(x_shared)

    def run():
        infer.infer(share_outputs=True, decode_strings=False)
        return infer, x_shared, x  # all must live as long as the job

    return Job(run, read=lambda result: (result[0].get_output_tensor().data[:, 0].copy(),))


def forward(shape: Shape) -> Job:
    return request(_core.read_model(model(shape, ("Y",))), inputs(shape))


def step(shape: Shape) -> Job:
    network = _core.read_model(model(shape, ("Y", "Y_h", "Y_c"), state=True))
    apply_make_stateful_transformation(network, {"initial_h": "Y_h", "initial_c": "Y_c"})
    job = request(network, inputs(shape))
    return Job(job.run, read=lambda result: (job.read(result)[0][0],))


JOBS = {"forward": forward, "step": step}
