"""torch's nn.LSTM (cuDNN) on the same GPU: as it is called, and captured into a CUDA graph.

Precisions are set as torch names them: strict float32 means no TF32 in cuDNN nor in products.
Weights, inputs and upstream gradients are those of `benches.arrays`, as ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from benches import arrays, article
from benches.shapes import Shape

EAGER, CAPTURED = "nn.LSTM", "nn.LSTM in a graph"

Work = Callable[[], Any]


def use(precision: str) -> Any:
    """Let torch multiply in this precision; returns the dtype that layers shall have."""
    import torch

    short = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = short
    torch.backends.cuda.matmul.allow_tf32 = short
    torch.set_float32_matmul_precision("high" if short else "highest")
    return getattr(torch, "float32" if short else precision)


def layer(shape: Shape, dtype: Any, device: str = "cuda") -> Any:
    """The module with the common weights; its second bias is zero."""
    import torch

    made = torch.nn.LSTM(shape.I, shape.H)
    W_ih, W_hh, b = arrays.weights(shape)
    with torch.no_grad():
        for parameter, value in zip(made.parameters(), (W_ih, W_hh, b, 0 * b), strict=True):
            parameter.copy_(torch.from_numpy(value))
    made = made.to(device, dtype)
    made.flatten_parameters()
    return made


def works(shape: Shape, precision: str, device: str = "cuda") -> dict[str, Work]:
    """forward() gives (y,), training() (y, dx, dW_ih, dW_hh, db)."""
    import torch

    dtype = use(precision)
    module = layer(shape, dtype, device)
    x, dy = (torch.from_numpy(a).to(device, dtype)
             for a in (arrays.inputs(shape), arrays.upstream(shape)))  # fmt: skip
    leaf = x.clone().requires_grad_()

    def forward() -> Any:
        with torch.no_grad():
            return (module(x)[0],)

    def training() -> Any:
        module.zero_grad()
        leaf.grad = None
        y = module(leaf)[0]
        y.backward(dy)
        parameters = (module.weight_ih_l0, module.weight_hh_l0, module.bias_ih_l0)
        return (y.detach(), leaf.grad, *(p.grad for p in parameters))

    return {"forward": forward, "training": training}


def captured(work: Work) -> Work:
    """The same work as a graph's replay; raises what torch raises where it cannot be captured."""
    import torch

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = work()

    def replay() -> Any:
        graph.replay()
        return kept

    return replay


def article_step(precision: str, data: Any, device: str = "cuda") -> Work:
    """Training on the next batch, as `benches.article` has it; the 16-bit kinds by autocast.

    Each step copies its ids from the host and returns its loss to the host.
    """
    import torch

    dtype = use(precision)
    model = article.torch_model(article.SHAPE, every=False).to(device)
    adam = torch.optim.Adam(model.parameters(), fused=device == "cuda")
    batches = [tuple(map(torch.from_numpy, batch)) for batch in data]
    short, count = dtype != torch.float32, 0

    def step() -> float:
        nonlocal count
        use(precision)  # other steps of this process may have another
        x, y = (a.to(device) for a in batches[count % len(batches)])
        count += 1
        eps = article.EPSILON / math.sqrt(1 - article.BETA_2**count)  # as Keras has it
        adam.param_groups[0]["eps"] = eps
        adam.zero_grad()
        with torch.autocast(device, dtype if short else torch.bfloat16, enabled=short):
            loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        adam.step()
        return float(loss.item())

    return step
