"""A training loop of one's own: qrecipe makes the student, its teacher and their losses; the loop is plain PyTorch.

    python examples/own_loop.py FOLDER [KEY=VALUE ...]

FOLDER gets the trained student; KEY=VALUE changes the recipe, as in train.epochs=1.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import qrecipe
from qrecipe.data.dataset import CocoDataset
from qrecipe.data.loader import build_loader
from qrecipe.data.splits import resolve_splits
from qrecipe.models.loading.build import build_model

folder, *changes = sys.argv[1:]
recipe = qrecipe.load_recipe(Path(__file__).parents[1] / "recipes" / "quickstart_w4a4.yaml", changes)

# Any detector and anything that yields qrecipe.Batch will do. Here: the recipe's own, the built-in ones.
images = resolve_splits(recipe.data, ("train",))["train"]
built = build_model(recipe.model, [(category.id, category.name) for category in images.categories], recipe.train.loss)
dataset = CocoDataset(images, built.label_map, built.input, recipe.data.transforms, recipe.seed)
batches = build_loader(dataset, recipe.train.batch_size, shuffle=True)

student = qrecipe.compile(built.model, recipe)
qrecipe.calibrate(student, [batch for batch, _ in zip(batches, range(4), strict=False)])
teacher = qrecipe.compile(built.model, qrecipe.real_valued(recipe, targets=True))
module = qrecipe.TrainingModule(student, teacher)

optimizer = torch.optim.AdamW(student.parameters(), lr=recipe.train.optimizer.lr)
for epoch in range(1, recipe.train.epochs + 1):
    batches.set_epoch(epoch)
    module.train()
    for batch in batches:
        loss, parts = module(batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
    print(f"epoch {epoch}:", ", ".join(f"{name} {value.item():.3f}" for name, value in parts.items()))

qrecipe.save(student, folder)
loaded = qrecipe.load(folder, built.model)
print("saved and loaded:", type(loaded).__name__, "with", len(loaded.quantizers), "quantizers")
