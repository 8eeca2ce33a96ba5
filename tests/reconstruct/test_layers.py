"""Compensation of whole layers: what comes out is nearer to the real layer's, and no channel's mean moves."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx

from qrecipe.quantizers import Quantizer
from qrecipe.reconstruct.layers import compensate
from qrecipe.reconstruct.segments import cut
from qrecipe.reconstruct.weights import weight_behind
from qrecipe.structure.operands import OPERATORS
from qrecipe.student import calibrate
from qrecipe.student.calibrate import inputs_of
from tests.specimens import W4A4, Specimen, a_recipe


def test_a_layer_comes_nearer_and_keeps_its_means(toy: Specimen) -> None:
    student = toy.student(a_recipe(quantize=W4A4)).eval()
    batches = [toy.batch((2, 1)), toy.batch((1, 1), seed=1)]
    calibrate(student, batches)
    real = copy.deepcopy(student)
    real.switch_off()
    segment = cut(student.deployable().graph)[0]
    inputs = [dict(inputs_of(student, batch)) for batch in batches]
    reads = [{name: own[name] for name in segment.reads} for own in inputs]
    layer = next(node for node in segment.block.nodes if OPERATORS.get(node.target) == "conv")
    quantized, folded = layer.args[1:3]
    assert isinstance(quantized, fx.Node)
    assert isinstance(folded, fx.Node)
    assert isinstance(folded.args[2], fx.Node)  # the norm's own, behind the convolution's bias and factor
    path, beta = str(quantized.target), str(folded.args[2].target)
    reader = next(node for node in layer.users if node in segment.block.nodes)
    written = segment.operand(reader, reader.args.index(layer))

    def outputs(model: torch.nn.Module) -> Tensor:
        return torch.cat([written(model, read).transpose(0, 1).flatten(1) for read in reads], 1)

    student.get_submodule(path).set_mode("off")
    target = outputs(student)
    student.get_submodule(path).set_mode("on")
    before = outputs(student)
    weight, bias = weight_behind(student, quantized.all_input_nodes[0]), student.get_parameter(beta)
    assert weight is not None
    compensate(student, segment, reads, {path: weight}, {beta: bias})
    after = outputs(student)
    assert float((after - target).square().mean()) < float((before - target).square().mean())
    torch.testing.assert_close(after.mean(1), target.mean(1))
    quantizer = student.get_submodule(path)
    assert isinstance(quantizer, Quantizer)
    torch.testing.assert_close(quantizer(weight.value()), weight.value())
