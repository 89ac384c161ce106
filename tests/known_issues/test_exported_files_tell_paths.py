"""An exported file held, for each node, the exporter's stack trace: paths of the machine, a third of a small file."""

import onnx

from fithubert_upstream.assets import JOINT_ONNX
from fithubert_upstream.export.onnx import strip


def test_the_notes_of_the_exporter_go():
    node = onnx.helper.make_node("Identity", ["x"], ["y"], doc_string="File /home/me/model.py")
    node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="File /home/me/model.py, line 3")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node], "g", [value("x", 1, [2])], [value("y", 1, [2])], value_info=[value("z", 1, [2])]
    )
    proto = onnx.helper.make_model(graph)
    strip(proto)
    assert b"/home/me" not in proto.SerializeToString() and not proto.graph.value_info
    onnx.checker.check_model(proto)


def test_the_embedded_file_has_none():
    content = JOINT_ONNX.read_bytes()
    assert b"stack_trace" not in content and b".py" not in content
