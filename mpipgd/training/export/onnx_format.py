"""An ONNX graph: raw features in, predictions and probabilities or scores out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UsageError
from .base import Exporter

if TYPE_CHECKING:
    from ...array_types import Array, FloatArray
    from .base import FeedForward

OPSET, IR_VERSION = 17, 8  # from 2022: what common runtimes read
ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}


class OnnxExporter(Exporter):
    """Input `X` (n, n_features); outputs `prediction` (n,) and, for classes, `output`.

    `output` holds probabilities (n, C), decision values (n,) or scores (n, C).
    """

    def __init__(self) -> None:
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise UsageError(
                "--to onnx needs onnx and onnxruntime: pip install 'mpipgd[onnx]'"
            ) from error
        self._onnx: Any = onnx
        self._runtime: Any = onnxruntime

    def to_bytes(self, network: FeedForward) -> bytes:
        """Return the content of the file."""
        return _Graph(self._onnx, network).model().SerializeToString()

    def outputs(self, path: str, X: FloatArray, head: str) -> FloatArray:
        """Return the outputs of the model in a file on X."""
        session = self._runtime.InferenceSession(
            path, providers=["CPUExecutionProvider"]
        )
        return session.run(None, {"X": X})[-1]

    def how_to_load(self, path: str, name: str) -> str:
        """Return a line that says how the file is loaded."""
        session = f'session = onnxruntime.InferenceSession("{name}")'
        return f'{name}: {session}; session.run(None, {{"X": X}})'


class _Graph:
    """A graph that is built node by node."""

    def __init__(self, onnx: Any, network: FeedForward) -> None:
        self._onnx, self._network = onnx, network
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._float = onnx.helper.np_dtype_to_tensor_dtype(network.dtype)

    def model(self) -> Any:
        """Return the verified model."""
        helper, network = self._onnx.helper, self._network
        n = network.n_features
        output = self._output(self._last_layer())
        prediction, label_type = self._prediction(output)
        outputs = [helper.make_tensor_value_info(prediction, label_type, ["n"])]
        if network.classes is not None:
            shape = ["n"] if network.head == "decision" else ["n", len(network.classes)]
            outputs.append(helper.make_tensor_value_info(output, self._float, shape))
        graph = helper.make_graph(
            self._nodes,
            "mpipgd",
            [helper.make_tensor_value_info("X", self._float, ["n", n])],
            outputs,
            self._constants,
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
        if network.feature_names is not None:
            names = "\n".join(network.feature_names)
            helper.set_model_props(model, {"feature_names": names})
        self._onnx.checker.check_model(model)
        return model

    def _node(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"{op.lower()}{len(self._nodes)}"
        node = self._onnx.helper.make_node(op, inputs, [name], **attributes)
        self._nodes.append(node)
        return name

    def _constant(self, value: Array) -> str:
        name = f"constant{len(self._constants)}"
        tensor = self._onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
        self._constants.append(tensor)
        return name

    def _last_layer(self) -> str:
        network, h = self._network, "X"
        if network.mean is not None and network.deviation is not None:
            h = self._node("Sub", h, self._constant(network.mean))
            h = self._node("Div", h, self._constant(network.deviation))
        for layer, (W, b) in enumerate(network.layers, 1):
            h = self._node("MatMul", h, self._constant(W))
            h = self._node("Add", h, self._constant(b))
            if layer < len(network.layers):
                h = self._node(ACTIVATIONS[network.activation or ""], h)
        return h

    def _output(self, z: str) -> str:
        """Return the node with what `base.outputs_of` describes."""
        head = self._network.head
        if head == "softmax":
            return self._node("Softmax", z, name="output", axis=1)
        if head == "logistic":
            sides = self._node("Concat", self._node("Neg", z), z, axis=1)
            return self._node("Sigmoid", sides, name="output")
        if head == "scores":
            return self._node("Identity", z, name="output")
        name = "prediction" if head == "value" else "output"
        return self._node("Squeeze", z, self._constant(np.array([1])), name=name)

    def _prediction(self, output: str) -> tuple[str, int]:
        """Return the node with the predictions, and the type of its values."""
        network = self._network
        if network.classes is None:
            return output, self._float
        labels = np.array(network.classes)
        kind = self._onnx.TensorProto.INT64
        if labels.dtype.kind in "UO":
            labels, kind = labels.astype(object), self._onnx.TensorProto.STRING
        elif labels.dtype.kind == "f":
            labels, kind = labels.astype(np.float64), self._onnx.TensorProto.DOUBLE
        else:
            labels = labels.astype(np.int64)
        if network.head == "decision":
            above = self._node(
                "Greater", output, self._constant(np.zeros((), network.dtype))
            )
            index = self._node("Cast", above, to=self._onnx.TensorProto.INT64)
        else:
            index = self._node("ArgMax", output, axis=1, keepdims=0)
        return self._node(
            "Gather", self._constant(labels), index, name="prediction"
        ), kind
