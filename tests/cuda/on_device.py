"""`lstm_forward` and `lstm_backward` on copies in the GPU's memory: arrays of NumPy in and out."""

import numpy as np

from lstmfast.cuda.ops import lstm
from lstmfast.cuda.runtime.array import DeviceArray, from_host
from lstmfast.ops.lstm import LSTMGradients


def put(value):
    """What `ops` are given, on the GPU: lengths and masks stay on the host."""
    if isinstance(value, np.ndarray):
        return from_host(value)
    if isinstance(value, list):
        return [put(one) for one in value]
    return value


def get(value):
    """What they returned, on the host."""
    if isinstance(value, DeviceArray):
        return value.copy_to_host()
    if type(value) in (list, tuple):
        return type(value)(get(one) for one in value)
    if isinstance(value, LSTMGradients):
        found = LSTMGradients(*(get(one) for one in value))
        found.dp, found.dW_hr = get(value.dp), get(value.dW_hr)
        return found
    return value


def lstm_forward(*arrays, lengths=None, mask=None, **keywords):
    given = {name: put(value) for name, value in keywords.items()}
    return get(lstm.lstm_forward(*map(put, arrays), lengths=lengths, mask=mask, **given))


def lstm_backward(cache, **keywords):
    return get(lstm.lstm_backward(cache, **{k: put(v) for k, v in keywords.items()}))
