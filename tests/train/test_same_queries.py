"""A student that decodes what its teacher chooses: against an interpreter that puts the indices in, and plain loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from qrecipe.data.batch import Batch
from qrecipe.detection.prediction import Prediction
from qrecipe.errors import TrainError
from qrecipe.student import Student
from qrecipe.train.module import TrainingModule
from tests.specimens import Specimen, a_recipe, captured
from tests.tiny_detectors import tiny_lw_detr
from tests.train.distilled_pairs import OUTPUT, pair

TOPK = torch.ops.aten.topk.default
SAME = {"kind": "same"}


class Chosen(fx.Interpreter):
    """Runs a student's graph node by node; of its choices of queries, keeps the indices, or puts given ones in."""

    def __init__(self, student: Student, mode: Any, given: list[Tensor] | None = None) -> None:
        self.program = student.programs[mode]
        super().__init__(fx.GraphModule(student, self.program.graph))
        self.given = given
        self.kept: list[Tensor] = []

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.target is not TOPK or not any(user.args[1] == 1 and user.users for user in n.users):
            return result
        told = self.given is not None and len(self.kept) < len(self.given)
        index = self.given[len(self.kept)] if self.given is not None and told else result[1]
        self.kept.append(index)
        return self.env[n.args[0]].gather(1, index), index

    def outputs(self, student: Student, inputs: dict[str, Tensor]) -> tuple[Prediction, dict[str, Tensor]]:
        names = [node.target for node in self.program.graph.nodes if node.op == "placeholder"]
        flat = self.run(*(inputs[str(name)] for name in names))
        count = self.program.out_spec.num_leaves
        outputs, extras = pytree.tree_unflatten(flat[:count], self.program.out_spec)
        return student.family.read(outputs, extras), dict(zip(self.program.exposed, flat[count:], strict=True))


def targets_of(specimen: Specimen) -> list[dict[str, Any]]:
    classes = "bce" if specimen.family.scores == "sigmoid" else "kl"
    return [
        {"at": "head.class", "loss": classes, "weight": 3.0, "match": SAME},
        {"at": "head.box", "loss": "l1", "weight": 5.0, "match": SAME},
        {"at": OUTPUT, "loss": "mse", "weight": 2.0, "match": SAME},
    ]


def expected(module: TrainingModule, batch: Batch) -> tuple[dict[str, float], bool]:
    """Each target's term, query after query; and whether the student would have chosen otherwise."""
    student, teacher = module.student, module.teacher
    assert teacher is not None
    torch.manual_seed(0)
    his_run = Chosen(teacher, "eval")
    with torch.no_grad():
        his, his_taps = his_run.outputs(teacher, teacher.family.inputs(batch.pixel_values, batch.pixel_mask))
        inputs = student.family.training_inputs(batch.pixel_values, batch.pixel_mask, batch.labels)
        own_run = Chosen(student, "train")
        own_run.outputs(student, inputs)
        mine, my_taps = Chosen(student, "train", his_run.kept).outputs(student, inputs)
    softmax = student.family.scores == "softmax"
    sums = [0.0, 0.0, 0.0]
    seen = 0.0
    name = next(name for name in reversed(list(my_taps)) if name.startswith(OUTPUT))
    for image in range(len(his.boxes)):
        for query in range(his.boxes.shape[1]):
            wanted, logits = his.logits[image, query], mine.logits[image, query]
            if softmax:
                p, q = wanted.softmax(-1), logits.softmax(-1)
                score, apart = float(p[:-1].max()), float((p * (p / q).log()).sum())
            else:
                p, q = wanted.sigmoid(), logits.sigmoid()
                score = float(p.max())
                apart = float((p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum())
            back = query - mine.boxes.shape[1]
            sums[0] += apart
            sums[1] += score * float((mine.boxes[image, query] - his.boxes[image, query]).abs().sum())
            sums[2] += score * float((my_taps[name][image, back] - his_taps[name][image, query]).square().mean())
            seen += score
    differs = any(not torch.equal(a, b) for a, b in zip(own_run.kept, his_run.kept, strict=False))
    names = [f"{target.loss} of {target.at}" for target in module.targets]
    weights = [target.weight for target in module.targets]
    terms = [weight * total / max(seen, 1.0) for weight, total in zip(weights, sums, strict=True)]
    return dict(zip(names, terms, strict=True)), differs


@pytest.mark.parametrize("name", ["demo", "detr", "deimv2"])
def test_the_terms_are_those_of_the_teachers_queries(name: str, request: pytest.FixtureRequest) -> None:
    specimen: Specimen = request.getfixturevalue(name)
    module = pair(specimen, targets_of(specimen), apart=0.02).eval()
    batch = specimen.batch((2, 1))
    terms, differs = expected(module, batch)
    assert differs == (name != "detr")  # DETR's queries are learned, not chosen
    torch.manual_seed(0)
    loss, parts = module(batch)
    assert {name: float(parts[name]) for name in terms} == pytest.approx(terms, rel=1e-5)
    loss.backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in module.parameters())


@pytest.mark.parametrize("name", ["demo", "deimv2"])
def test_blocks_that_are_computed_again_choose_what_they_were_told(name: str, request: pytest.FixtureRequest) -> None:
    """In the backward pass, where nothing is told any more: ``train.checkpointing``."""
    specimen: Specimen = request.getfixturevalue(name)
    batch, found = specimen.batch((2, 1)), []
    for checkpointing in (False, True):
        module = pair(specimen, targets_of(specimen), apart=0.02, train={"checkpointing": checkpointing}).train()
        torch.manual_seed(0)
        loss, _ = module(batch)
        loss.backward()
        gradients = {name: own.grad for name, own in module.student.named_parameters() if own.grad is not None}
        found.append((loss.detach(), gradients))
    (plain, wanted), (blocks, gradients) = found
    assert torch.equal(plain, blocks)
    assert wanted.keys() == gradients.keys()
    assert all(torch.equal(wanted[name], gradients[name]) for name in wanted)


def test_the_student_chooses_for_itself_again(demo: Specimen) -> None:
    module = pair(demo, targets_of(demo), apart=0.02).eval()
    batch = demo.batch((2, 1))
    before = module.student.predict(batch.pixel_values, batch.pixel_mask)
    module(batch)
    after = module.student.predict(batch.pixel_values, batch.pixel_mask)
    assert torch.equal(before.boxes, after.boxes)


def test_a_student_that_is_its_teacher_has_no_distance(demo: Specimen) -> None:
    module = pair(demo, targets_of(demo), apart=0.0).eval()
    module.student.switch_off()
    _, parts = module(demo.batch((2, 1)))
    assert float(parts["distill"]) < 1e-9


def test_of_several_groups_the_first_is_compared() -> None:
    """LW-DETR trains with groups of queries, each with a choice of its own, and evaluates the first."""
    specimen = captured(tiny_lw_detr().double(), ((1, 96, 128),))
    module = pair(specimen, targets_of(specimen), apart=0.02).eval()
    batch = specimen.batch((2, 1), height=96, width=128)
    assert module.student.family.groups == 2
    terms, differs = expected(module, batch)
    assert differs
    loss, parts = module(batch)
    assert {name: float(parts[name]) for name in terms} == pytest.approx(terms, rel=1e-5)
    loss.backward()
    again = pair(specimen, targets_of(specimen), apart=0.02, train={"checkpointing": True}).eval()
    blocks, _ = again(batch)
    blocks.backward()
    assert torch.equal(blocks, loss)
    own, other = (
        {name: one.grad for name, one in each.student.named_parameters() if one.grad is not None}
        for each in (module, again)
    )
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)


def test_a_teacher_without_choices_has_other_queries(demo: Specimen, toy: Specimen) -> None:
    recipe = a_recipe(targets=[target for target in targets_of(demo) if target["at"] == "head.box"])
    module = TrainingModule(demo.student(recipe), toy.student(recipe))
    with pytest.raises(TrainError, match="the teacher chooses its queries in 0 steps, the student in 1 step"):
        module(demo.batch((2, 1)))
