"""What is written behind a weight's quantizer is what the quantizer sees."""

from __future__ import annotations

import torch
from torch import Tensor

from qrecipe.quantizers import Quantizer
from qrecipe.reconstruct.weights import put, weight_behind
from qrecipe.student import Student, calibrate
from tests.specimens import W4A4, Specimen, a_recipe


def seen_by_quantizers(student: Student, specimen: Specimen) -> dict[str, Tensor]:
    """The tensor that each weight's quantizer gets in a forward, by its path."""
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_pre_hook(lambda _, args, path=path: seen.update({path: args[0].detach().clone()}))
        for path, module in student.named_modules()
        if isinstance(module, Quantizer) and module.operand.is_weight
    ]
    batch = specimen.batch((1,))
    with torch.no_grad():
        student.eval()(batch.pixel_values, batch.pixel_mask)
    for hook in hooks:
        hook.remove()
    return seen


def test_every_weight_is_read_and_written(specimen: Specimen) -> None:
    student = specimen.student(a_recipe(quantize=W4A4)).eval()
    calibrate(student, [specimen.batch((2,))])
    graph = student.deployable().graph
    before = seen_by_quantizers(student, specimen)
    sources = {
        str(node.target): node.all_input_nodes[0]
        for node in graph.nodes
        if node.op == "call_module" and str(node.target) in before
    }
    assert len(sources) == len(before) > 3
    wanted = {}
    for path, source in sources.items():
        weight = weight_behind(student, source)
        assert weight is not None, path
        torch.testing.assert_close(weight.value(), before[path])
        wanted[path] = student.get_submodule(path)(before[path]).detach()  # onto the grid
        put(weight, wanted[path])
    after = seen_by_quantizers(student, specimen)
    for path, value in wanted.items():
        torch.testing.assert_close(after[path], value)
        assert torch.equal(student.get_submodule(path)(after[path]), student.get_submodule(path)(value)), path
