"""Each weight's quantizer is shown what its layer multiplies in the real-valued model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qrecipe.quantizers import build
from qrecipe.quantizers.calibration.moment import conv_columns, linear_columns
from qrecipe.student import calibrate
from tests.specimens import W4A4, Specimen, a_recipe

OUTPUT, TENSOR = ({**W4A4, "weight": {**W4A4["weight"], "init": init}} for init in ("output", "mse"))


def test_ranges_of_weights_are_those_of_the_real_valued_model_s_layers(toy: Specimen) -> None:
    student = toy.student(a_recipe(OUTPUT))
    batches = [toy.batch((1, 1)), toy.batch((2,), seed=5)]
    seen: dict[str, Tensor] = {}
    for name, quantizer in student.quantizers.items():
        quantizer.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0]}))
    calibrate(student, batches)
    model = toy.eager()
    kinds = set()
    for path in ("layers.1.cross_attention.q_proj", "backbone.3", "class_head"):
        own = student.quantizers[f"{path}.weight"]
        again = build(own.spec, own.operand).double()
        again.observe(seen[f"{path}.weight"])
        layer = model.get_submodule(path)
        kinds.add(type(layer))
        for batch in batches:
            for x in inputs_of(model, layer, batch.pixel_values):
                if isinstance(layer, nn.Conv2d):
                    ways = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
                    for image in x:
                        again.watch(conv_columns(image, *ways, 10**6))
                else:
                    again.watch(linear_columns(x))
        again.finish_calibration()
        torch.testing.assert_close(own.scale, again.scale, rtol=1e-7, atol=0)
    assert kinds == {nn.Conv2d, nn.Linear}


def inputs_of(model: nn.Module, layer: nn.Module, pixels: Tensor) -> list[Tensor]:
    calls: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _, args, out: calls.append(args[0]))
    with torch.no_grad():
        model(pixels)
    hook.remove()
    return calls


def test_every_layer_of_a_detector_is_watched(specimen: Specimen) -> None:
    """Convolutions of all kinds and linear layers; those that only training has keep their own least squares."""
    student, other = (specimen.student(a_recipe(quantize)) for quantize in (OUTPUT, TENSOR))
    for one in (student, other):
        calibrate(one, [specimen.batch()])
    weights = [name for name, quantizer in student.quantizers.items() if quantizer.operand.is_weight]
    moved = [name for name in weights if not torch.equal(student.quantizers[name].scale, other.quantizers[name].scale)]
    assert len(moved) > 0.9 * len(weights)
    activations = [name for name in student.quantizers if name not in weights]
    assert all(torch.equal(student.quantizers[name].scale, other.quantizers[name].scale) for name in activations)
