import io

from fithubert_upstream.checkpoints.torch_files import Inert, InertUnpickler


def test_inert_unpickler_finds_nothing_but_tensors():
    unpickler = InertUnpickler(io.BytesIO())
    for module, name in [("os", "system"), ("builtins", "eval"), ("builtins", "getattr"), ("torch", "load")]:
        assert unpickler.find_class(module, name) is Inert
