"""Number and kinds of what goes into an operator and comes out, as the standard has them.

The table is the one of the installed package onnx, in the version of the file's operators. An
input too many, which nobody would read, is an error here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .reader import Node

__all__ = ["Kinds"]

OF_CONSTANTS = {
    "value_float": "FLOAT", "value_floats": "FLOAT", "value_int": "INT64", "value_ints": "INT64",
    "value_string": "STRING", "value_strings": "STRING",
}  # fmt: skip


class Kinds:
    """The kinds ("tensor(float)") of the values of a graph, as far as they are known.

    Parameters
    ----------
    onnx : the package
    graph : GraphProto
    """

    def __init__(self, onnx: Any, graph: Any):
        self._onnx = onnx
        self._names = {n: f"tensor({k.lower()})" for k, n in onnx.TensorProto.DataType.items()}
        self._names.pop(onnx.TensorProto.UNDEFINED)
        told = [*graph.value_info, *graph.output, *graph.input]
        self._told = {one.name: self._names.get(one.type.tensor_type.elem_type) for one in told}
        self.known: dict[str, str | None] = {}
        for tensor in graph.initializer:
            self._put(f"initializer {tensor.name!r}", tensor.name, tensor.data_type)
        for one in graph.input:
            if one.name not in self.known:
                self._put(f"input {one.name!r}", one.name, one.type.tensor_type.elem_type)

    def follow(self, node: Node) -> None:
        """Check a node's inputs and outputs and note the kinds of what it puts out.

        Raises
        ------
        ValueError
            Their number, or the kind of one, is not what the operator has in this version.
        """
        if node.domain:  # which the package does not describe: the operator looks for itself
            return
        schema = self._schema(node)
        _check_count("inputs", node.inputs, schema.min_input, schema.max_input)
        _check_count("outputs", node.outputs, schema.min_output, schema.max_output)
        allowed = {one.type_param_str: one.allowed_type_strs for one in schema.type_constraints}
        bound: dict[str, str] = {}
        for at, name in enumerate(node.inputs):
            self._check_input(_formal(schema.inputs, at), name, allowed, bound)
        for at, name in enumerate(node.outputs):
            formal = _formal(schema.outputs, at)
            found = bound.get(formal.type_str) or self._made(node)
            options = list(allowed.get(formal.type_str, [formal.type_str]))
            if found is None and len(options) == 1:
                found = options[0]
            if name and found is not None:
                self._note(f"output {name!r}", name, found)

    def _schema(self, node: Node) -> Any:
        try:
            schema = self._onnx.defs.get_schema(node.kind, node.opset, "")
        except self._onnx.defs.SchemaError:
            schema = None
        if schema is None or schema.deprecated:
            raise ValueError(f"expected an operator of version {node.opset}, got {node.kind}")
        return schema

    def _check_input(
        self, formal: Any, name: str, allowed: Mapping[str, Any], bound: dict[str, str]
    ) -> None:
        """Raise ValueError unless an input is there, of a kind that is allowed and goes along."""
        if not name:
            if formal.option == self._onnx.defs.OpSchema.FormalParameterOption.Single:
                raise ValueError(f"expected an input {formal.name}, got none")
            return
        found, letter = self.known.get(name), formal.type_str
        if found is None:
            return
        options = allowed.get(letter, [letter])
        if found not in options:
            raise ValueError(f"{formal.name}: expected one of {sorted(options)}, got {found}")
        if letter in allowed and formal.is_homogeneous and bound.setdefault(letter, found) != found:
            raise ValueError(
                f"{formal.name}: expected {bound[letter]} like the others, got {found}"
            )

    def _made(self, node: Node) -> str | None:
        """The kind that an attribute tells."""
        if node.kind == "Cast":
            to = node.peek("to")
            return None if to is None else self._names.get(to.i)
        if node.kind not in ("Constant", "ConstantOfShape"):
            return None
        value = node.peek("value")
        if value is not None:
            return self._names.get(value.t.data_type)
        if node.kind == "ConstantOfShape":
            return "tensor(float)"
        kinds = (kind for name, kind in OF_CONSTANTS.items() if node.peek(name) is not None)
        return next((f"tensor({kind.lower()})" for kind in kinds), None)

    def _put(self, what: str, name: str, number: int) -> None:
        if number in self._names:
            self._note(what, name, self._names[number])

    def _note(self, what: str, name: str, found: str) -> None:
        """Note a kind; ValueError if the file tells another."""
        told = self._told.get(name)
        if told is not None and told != found:
            raise ValueError(f"{what}: expected {told}, as the file tells of it, got {found}")
        self.known[name] = found


def _formal(parameters: Any, at: int) -> Any:
    """What the standard calls the input or output at this place; the last may be many."""
    return parameters[min(at, len(parameters) - 1)]


def _check_count(what: str, found: list[str], least: int, most: int) -> None:
    if not least <= len(found) <= most:
        expected = f"{least}" if least == most else f"{least} to {most}"
        raise ValueError(f"{what}: expected {expected}, got {len(found)}")
