"""What oneDNN takes inside of an operation, which a fake run does not see.

Found by measuring single operations on a CPU (torch 2.14, oneDNN 3). It is a small part of a step
but for the LSTM's workspace, and the probes correct what is left.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_aten = torch.ops.aten
LSTM = _aten.mkldnn_rnn_layer.default


def passing_bytes(func: Any, args: tuple, made: Any) -> int:
    """Return the bytes that an operation takes and gives back before it ends.

    A convolution copies the larger of its input and its output into a layout of its own, and for
    the gradient of the input once more.

    Args:
        func: The operation.
        args: What it was called with.
        made: What it returned.
    """
    if func is _aten.convolution.default:
        inputs, outputs, copies = args[0], made, 1
    elif func is _aten.convolution_backward.default:
        outputs, inputs, copies = args[0], args[1], 1 + args[10][0]
    else:
        return 0
    if inputs.device.type != "cpu" or not inputs.is_contiguous():
        return 0
    return copies * max(inputs.nbytes, outputs.nbytes)


def lstm_workspace(inputs: Tensor, *args: Any) -> Tensor:
    """Return a tensor as large as what the LSTM keeps for backward; the fake one is empty.

    For each row and time step about 8.8 numbers a hidden unit are touched, and 5.6 for each of the
    inputs or the hidden units, whichever are more. In bf16 about half of them stay in fp32.
    """
    hidden_size = args[9]
    numbers = 8.8 * hidden_size + 5.6 * max(hidden_size, inputs.shape[2])
    bytes_each = (inputs.element_size() + 4) / 2
    size = int(inputs.shape[0] * inputs.shape[1] * numbers * bytes_each)
    return inputs.new_empty(size, dtype=torch.uint8)
