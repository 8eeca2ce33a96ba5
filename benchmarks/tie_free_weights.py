"""Random weights of a recipe's detector under which scores, boxes and sampled places differ from query to query.

    python benchmarks/tie_free_weights.py recipes/rt_detr_v2_r18_w8a8_calibrated.yaml --set model.weights=null \\
        --set 'data={format: synthetic}' --size 640 640 --output FILE

As published code draws them, last layers of boxes and offsets are zeros, and activations shrink from layer to layer:
every query then gives the same, and a top-k chooses among ties. Here weights are drawn by their layers' widths, and
every BatchNorm has the statistics of an image of noise, so that activations are of a trained network's size.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from qrecipe.experiment.workspace import Workspace
from qrecipe.recipe import load_recipe


def spread(model: nn.Module, pixels: Tensor, seed: int) -> None:
    """Draw the weights of every convolution and linear layer anew, and give BatchNorms the statistics of an image."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
    hooks = [one.register_forward_pre_hook(_measure) for one in model.modules() if hasattr(one, "running_var")]
    model.eval()
    with torch.no_grad():
        model(pixels)
    for hook in hooks:
        hook.remove()


def _measure(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    mean, variance = module.get_buffer("running_mean"), module.get_buffer("running_var")
    mean.copy_(inputs[0].mean((0, 2, 3)))
    variance.copy_(inputs[0].var((0, 2, 3)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--size", type=int, nargs=2, default=(320, 320), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    recipe = load_recipe(given.recipe, given.set)
    model = Workspace(recipe, ("train",)).built.model
    noise = torch.randn(1, 3, *given.size, generator=torch.Generator().manual_seed(recipe.seed))
    spread(model, noise, recipe.seed)
    save_file({name: value.clone() for name, value in model.state_dict().items()}, given.output)
