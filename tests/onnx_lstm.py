"""ONNX's LSTM operator: from the text of its specification (opset 22), and as others run it.

`lstm` is that text in float64 with NumPy alone. It says that clip "is applied to the input of
activations", so of h, too: what h sees of C_t is clipped, the cell that goes on is not (`clip_h`).
It is silent on four things, where this does as ONNX Runtime: activation_alpha and activation_beta
are consumed by the activations that have such a parameter; input_forget makes f = 1 - i; Y is zero
past a row's end; a row of no steps leaves zeros in Y_h and Y_c, not the initial state.
"""

import numpy as np
import pytest

FUNCTIONS = {
    "Relu": lambda x: np.maximum(x, 0),
    "Tanh": np.tanh,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Affine": lambda x, alpha, beta: alpha * x + beta,
    "LeakyRelu": lambda x, alpha: np.where(x >= 0, x, alpha * x),
    "ThresholdedRelu": lambda x, alpha: np.where(x >= alpha, x, 0),
    "ScaledTanh": lambda x, alpha, beta: alpha * np.tanh(beta * x),
    "HardSigmoid": lambda x, alpha, beta: np.minimum(np.maximum(alpha * x + beta, 0), 1),
    "Elu": lambda x, alpha: np.where(x >= 0, x, alpha * (np.exp(x) - 1)),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Softplus": lambda x: np.log(1 + np.exp(x)),
}
DEFAULTS = {  # alpha, beta: of the operators of the same names
    "Affine": (1.0, 0.0),
    "LeakyRelu": (0.01,),
    "ThresholdedRelu": (1.0,),
    "ScaledTanh": (1.0, 1.0),
    "HardSigmoid": (0.2, 0.5),
    "Elu": (1.0,),
}


def functions(names, alphas, betas, clip, clip_h):
    """Return f, g and h of each direction, with the parameters that are theirs and the clip."""
    alphas, betas = iter(alphas or ()), iter(betas or ())
    found = []
    for n, name in enumerate(names):
        defaults = DEFAULTS.get(name, ())
        given = [next(values, d) for values, d in zip((alphas, betas), defaults, strict=False)]
        limit = np.inf if clip is None or (n % 3 == 2 and not clip_h) else clip
        found.append(
            lambda x, function=FUNCTIONS[name], limit=limit, given=given: function(
                np.clip(x, -limit, limit), *given
            )
        )
    return found


def one_direction(X, W, R, B, P, initial_h, initial_c, lengths, fgh, input_forget, reverse):
    """Return Y (T, B, H), Y_h and Y_c (B, H), row by row and step by step."""
    H = R.shape[1]
    f, g, h = fgh
    Wi, Wo, Wf, Wc = np.split(W, 4)
    Ri, Ro, Rf, Rc = np.split(R, 4)
    bi, bo, bf, bc = np.split(B[: 4 * H] + B[4 * H :], 4)
    Pi, Po, Pf = np.split(P, 3)
    Y, Y_h, Y_c = np.zeros((*X.shape[:2], H)), np.zeros_like(initial_h), np.zeros_like(initial_c)
    for row, length in enumerate(lengths):
        Ht, Ct = initial_h[row], initial_c[row]
        for t in reversed(range(length)) if reverse else range(length):
            x = X[t, row]
            it = f(x @ Wi.T + Ht @ Ri.T + Pi * Ct + bi)
            ft = f(x @ Wf.T + Ht @ Rf.T + Pf * Ct + bf)
            ct = g(x @ Wc.T + Ht @ Rc.T + bc)
            Ct = (1 - it if input_forget else ft) * Ct + it * ct
            ot = f(x @ Wo.T + Ht @ Ro.T + Po * Ct + bo)
            Ht = ot * h(Ct)
            Y[t, row], Y_h[row], Y_c[row] = Ht, Ht, Ct
    return Y, Y_h, Y_c


def lstm(
    X, W, R, B=None, sequence_lens=None, initial_h=None, initial_c=None, P=None, *,
    activations=None, activation_alpha=None, activation_beta=None, clip=None,
    direction="forward", hidden_size=None, input_forget=0, layout=0, clip_h=True,
):  # fmt: skip
    """Return Y (T, D, B, H), Y_h and Y_c (D, B, H); with layout 1 (B, T, D, H) and (B, D, H)."""
    turn = (lambda a: a.swapaxes(0, 1)) if layout else (lambda a: a)
    D, H = W.shape[0], R.shape[2]
    assert hidden_size in (None, H)
    assert (D == 2) == (direction == "bidirectional")
    X = turn(X).astype(float)
    T, rows, _ = X.shape
    h, c = (np.zeros((D, rows, H)) if s is None else turn(s) for s in (initial_h, initial_c))
    B = np.zeros((D, 8 * H)) if B is None else B
    P = np.zeros((D, 3 * H)) if P is None else P
    lengths = [T] * rows if sequence_lens is None else sequence_lens
    names = activations or ["Sigmoid", "Tanh", "Tanh"] * D
    fgh = functions(names, activation_alpha, activation_beta, clip, clip_h)
    found = []
    for d in range(D):
        weights = (a[d].astype(float) for a in (W, R, B, P, h, c))
        reverse = direction == "reverse" or d == 1
        found.append(
            one_direction(X, *weights, lengths, fgh[3 * d : 3 * d + 3], input_forget, reverse)
        )
    Y, Y_h, Y_c = (np.stack(arrays) for arrays in zip(*found, strict=True))
    Y = Y.transpose(2, 1, 0, 3) if layout else Y.transpose(1, 0, 2, 3)
    return Y, turn(Y_h), turn(Y_c)


INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
OUTPUTS = ("Y", "Y_h", "Y_c")


def model(onnx, inputs, **attributes):
    """Return a model of one LSTM operator with these inputs."""
    make = onnx.helper
    names = [name if name in inputs else "" for name in INPUTS]
    while not names[-1]:
        names.pop()
    H = inputs["R"].shape[2]
    node = make.make_node("LSTM", names, OUTPUTS, **{"hidden_size": H} | attributes)
    kind = make.np_dtype_to_tensor_dtype
    described = [make.make_tensor_value_info(n, kind(a.dtype), a.shape) for n, a in inputs.items()]
    outputs = [make.make_tensor_value_info(n, kind(inputs["X"].dtype), None) for n in OUTPUTS]
    graph = make.make_graph([node], "lstm", described, outputs)
    opset = make.make_opsetid("", 14)  # the last one that changed more than the list of types
    return make.make_model(graph, opset_imports=[opset], ir_version=10)


def by_runtime(inputs, **attributes):
    """Return Y, Y_h and Y_c of ONNX Runtime; skip the test where that is not installed."""
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    made = model(onnx, inputs, **attributes).SerializeToString()
    session = runtime.InferenceSession(made, providers=["CPUExecutionProvider"])
    return session.run(OUTPUTS, inputs)


def by_reference(inputs, **attributes):
    """Return Y, Y_h and Y_c of onnx.reference; skip the test where that is not installed."""
    onnx = pytest.importorskip("onnx")
    evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator
    return evaluator(model(onnx, inputs, **attributes)).run(OUTPUTS, inputs)
