"""A student is called like its model, keeps its names, and quantizes what its stage says."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from qrecipe.detection.prediction import Prediction
from qrecipe.errors import PlanError
from qrecipe.quantizers import recompute
from qrecipe.quantizers.recompute import Origin
from qrecipe.recipe import recipe_from_mapping
from qrecipe.recipe.definition import InputSpec
from qrecipe.student import Student, calibrate, make_plan, make_student, plan_size
from qrecipe.vocabulary import ROLES
from tests.specimens import ALIGN, TARGETS, W4A4, Specimen, a_recipe, images


def calibrated(specimen: Specimen, **parts: object) -> Student:
    student = specimen.student(a_recipe(**{"quantize": W4A4, **parts}))
    calibrate(student, [specimen.batch((2, 0))])
    return student


def test_outputs_are_the_models_own_type(specimen: Specimen) -> None:
    student = specimen.student(a_recipe(W4A4)).eval()
    student.switch_off()
    pixels, mask = images(2, 64, 96)
    theirs, _ = specimen.family.forward(specimen.eager(), specimen.family.inputs(pixels, mask))
    mine = student(pixels, mask)
    assert type(mine) is type(theirs)
    assert list(mine) == list(theirs)
    torch.testing.assert_close(mine["pred_boxes"], theirs["pred_boxes"], rtol=0, atol=1e-9)
    prediction = student.predict(pixels, mask)
    assert isinstance(prediction, Prediction)
    assert torch.equal(prediction.logits, mine["logits"])


def test_the_models_own_keys_survive(specimen: Specimen) -> None:
    student = specimen.student(a_recipe(W4A4, align=ALIGN))
    mine, theirs = student.state_dict(), specimen.model.state_dict()
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    assert {key.split(".")[0] for key in mine.keys() - theirs.keys()} == {"fake_quantizers", "alignments"}


@pytest.mark.parametrize("teacher", [False, True])
def test_denoising_is_asked_of_the_model_that_trains(toy: Specimen, teacher: bool) -> None:
    other = {"teacher": {"architecture": "demo"}} if teacher else {}
    recipe = recipe_from_mapping(
        {"version": 1, "model": {"architecture": "demo"}, **other, "train": {"loss": {"denoising": True}}}
    )
    with pytest.raises(PlanError, match=r"train\.loss\.denoising: generic has no denoising branch.*null"):
        make_student(toy.original, recipe)
    if teacher:  # it never trains
        assert make_student(toy.original, recipe, part="teacher")


def test_compiling_changes_nothing_in_the_source(toy: Specimen) -> None:
    before = copy.deepcopy(toy.captured.root.state_dict()), str(toy.captured.programs["train"].graph)
    student = calibrated(toy, align=ALIGN, targets=TARGETS)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)
    after = toy.captured.root.state_dict()
    assert after.keys() == before[0].keys()
    assert all(torch.equal(after[key], before[0][key]) for key in after)
    assert str(toy.captured.programs["train"].graph) == before[1]


@torch.no_grad()
def test_quantized_differs_and_more_bits_are_nearer(specimen: Specimen) -> None:
    """Chosen queries may come in another order: so the logits are sorted."""
    batch = specimen.batch((1, 1))
    inputs = specimen.family.inputs(batch.pixel_values, batch.pixel_mask)
    expected = specimen.family.read(*specimen.family.forward(specimen.eager(), inputs)).logits.sort(1).values
    distance = {}
    for bits in (8, 3):
        quantize = {key: {**value, "bits": bits, "quantizer": "mse", "init": "mse"} for key, value in W4A4.items()}
        student = specimen.student(a_recipe(quantize)).eval()
        calibrate(student, [batch])
        found = student.predict(batch.pixel_values, batch.pixel_mask).logits.sort(1).values
        distance[bits] = float((found - expected).norm() / expected.norm())
    assert 0 < distance[8] < 0.03
    assert distance[3] > 3 * distance[8]


def test_both_graphs_use_the_same_quantizers(toy: Specimen) -> None:
    student = calibrated(toy)
    pixels, _ = images(2, 20, 28)

    def logits() -> list[Tensor]:
        return [student.train(mode).predict(pixels).logits.detach() for mode in (True, False)]

    before = logits()
    assert torch.allclose(*before, atol=1e-12)
    with torch.no_grad():
        student.quantizers["class_head@1.input"].scale.mul_(3)
    after = logits()
    assert torch.allclose(*after, atol=1e-12)
    assert not torch.allclose(before[0], after[0])


def test_deepcopies_are_independent(toy: Specimen) -> None:
    student = calibrated(toy, align=ALIGN).eval()
    other = copy.deepcopy(student)
    pixels, _ = images(2, 20, 28)
    expected = student(pixels)["logits"]
    assert torch.equal(other(pixels)["logits"], expected)
    with torch.no_grad():
        for quantizer in other.quantizers.values():
            quantizer.scale.mul_(2)
        other.query_alignments[1].beta.add_(1)
    other.set_stage(["backbone"])
    assert torch.equal(student(pixels)["logits"], expected)
    assert student.quantized_roles is None
    assert not torch.equal(other(pixels)["logits"], expected)


@pytest.fixture(scope="module")
def staged(demo: Specimen) -> Student:
    return calibrated(demo, align=ALIGN)


@pytest.mark.parametrize("stage", [["backbone"], ["backbone.stem", "head.*"], ["*.cross_attention"], ["*"], [], None])
def test_a_stage_quantizes_its_roles_alone(staged: Student, stage: list[str] | None) -> None:
    student = copy.deepcopy(staged)
    student.set_stage(stage)
    wanted = {
        None: set(ROLES),
        ("backbone",): {"backbone.stem", "backbone.body"},
        ("backbone.stem", "head.*"): {"backbone.stem", "head.class", "head.box", "head.proposal"},
        ("*.cross_attention",): {"decoder.cross_attention"},
        ("*",): set(ROLES),
        (): set(),
    }[None if stage is None else tuple(stage)]
    modes = {name: quantizer.mode for name, quantizer in student.quantizers.items()}
    for name, mode in modes.items():
        readers = {site.role for site in student.plan.sites.values() if site.quantizer == name}
        assert mode == ("on" if readers & wanted else "off")
    aligned = {alignment.mode for alignment in student.query_alignments.values()}
    assert aligned == {"on" if "decoder.cross_attention" in wanted else "off"}
    assert student.quantized_roles == (None if stage is None else tuple(stage))


def test_a_quantizer_that_two_roles_share_is_on_for_either(staged: Student) -> None:
    student = copy.deepcopy(staged)
    readers: dict[str, set[str]] = {}
    for site in student.plan.sites.values():
        if site.quantizer:
            readers.setdefault(site.quantizer, set()).add(site.role)
    name, roles = next((name, roles) for name, roles in readers.items() if len(roles) > 1)
    for role in roles:
        student.set_stage([role])
        assert student.quantizers[name].mode == "on"
    student.set_stage([role for role in ROLES if role not in roles])
    assert student.quantizers[name].mode == "off"


def test_switched_off_is_the_real_valued_model(toy: Specimen) -> None:
    student = calibrated(toy, align=ALIGN).eval()
    pixels, _ = images(2, 20, 28)
    expected = toy.eager()(pixels)["logits"]
    assert not torch.allclose(student(pixels)["logits"], expected, atol=1e-3)
    student.switch_off()
    torch.testing.assert_close(student(pixels)["logits"], expected, rtol=0, atol=1e-10)
    student.set_stage(None)
    assert not torch.allclose(student(pixels)["logits"], expected, atol=1e-3)


def test_taps_are_what_hooks_see(toy: Specimen) -> None:
    targets = [*TARGETS, {"at": "decoder.layer.output", "layers": "all"}]
    student = specimen_off(toy, targets)
    model, pixels = toy.eager(), images(3, 14, 22)[0]
    seen: dict[str, Tensor] = {}
    model.get_submodule("layers.1.cross_attention.out_proj").register_forward_hook(
        lambda _, args, out: seen.update({"decoder.cross_attention.output.1": args[0]})
    )
    for layer in (0, 1):
        model.get_submodule(f"layers.{layer}").register_forward_hook(
            lambda _, args, out, layer=layer: seen.update({f"decoder.layer.output.{layer}": out})
        )
    outputs = model(pixels)
    mine, taps = student.with_taps(pixels)
    torch.testing.assert_close(mine["logits"], outputs["logits"], rtol=0, atol=1e-10)
    assert set(taps) == set(seen) == {tap.name for tap in student.plan.taps}
    for name, value in seen.items():
        torch.testing.assert_close(taps[name], value, rtol=0, atol=1e-10)


def specimen_off(specimen: Specimen, targets: list[dict[str, object]]) -> Student:
    student = specimen.student(a_recipe(W4A4, targets=targets)).eval()
    student.switch_off()
    return student


def test_parameters_of_the_backbone(specimen: Specimen) -> None:
    student = specimen.student(a_recipe(W4A4))
    own = {name for name, _ in student.named_parameters() if student.is_backbone(name)}
    (prefix,) = student.plan.backbone
    assert own == {name for name, _ in specimen.model.named_parameters() if name.startswith(f"{prefix}.")}
    assert len(own) > 10
    assert not student.is_backbone(f"{prefix}2.weight")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (InputSpec(size=(640, 480)), (640, 480)),
        (InputSpec(shortest=800, longest=1333), (800, 1067)),
        (InputSpec(shortest=800, longest=900), (800, 900)),
        (InputSpec(), (800, 1067)),
    ],
)
def test_the_size_at_which_costs_are_counted(spec: InputSpec, expected: tuple[int, int]) -> None:
    assert plan_size(spec) == expected


@pytest.mark.parametrize("name", ["toy", "demo"])
def test_torch_compile_takes_a_student_whole(name: str, request: pytest.FixtureRequest) -> None:
    student = calibrated(request.getfixturevalue(name), align=ALIGN, targets=TARGETS).eval()
    compiled = torch.compile(student, backend="eager", fullgraph=True)
    try:
        with torch.no_grad():
            for size in ((2, 24, 32), (3, 16, 40)):
                pixels, _ = images(*size)
                assert torch.equal(compiled(pixels)["logits"], student(pixels)["logits"])
    finally:
        torch.compiler.reset()


def test_a_plan_of_ones_own(toy: Specimen) -> None:
    recipe = a_recipe(W4A4, align=ALIGN)
    spec = recipe.quantize.weight
    assert spec is not None
    plan = make_plan(toy.original, recipe, specs={"class_head.weight": replace(spec, bits=8), "box_head.weight": None})
    student = make_student(toy.original, recipe, plan)
    assert student.plan is plan
    assert student.quantizers["class_head.weight"].spec.bits == 8
    assert "box_head.weight" not in student.quantizers
    with pytest.raises(PlanError, match="the plan was made of another recipe or model"):
        make_student(toy.original, a_recipe(W4A4), plan)


def test_a_structure_is_analysed_once(toy: Specimen) -> None:
    original = toy.original
    assert original.structure() is original.structure({})
    assert replace(original, label_map=None).structure() is original.structure()
    other = original.structure({"head.class": "box_head"})
    assert other.roles.of["box_head"] == "head.class"
    assert original.structure().roles.of["box_head"] == "head.box"


def test_copies_are_made_again_with_the_same_gradients(specimen: Specimen, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a whole student: every operation that reads a quantizer's result, against copies that are kept."""
    monkeypatch.setattr(recompute, "SMALLEST", 0)
    student = calibrated(specimen).train()
    again = Origin.again
    made: list[Tensor] = []

    def counted(origin: Origin) -> Tensor:
        made.append(origin.x)
        return again(origin)

    monkeypatch.setattr(Origin, "again", counted)

    def gradients() -> list[Tensor]:
        student.zero_grad()
        torch.manual_seed(0)
        batch = specimen.batch((2, 1))
        inputs = student.family.training_inputs(batch.pixel_values, batch.pixel_mask, batch.labels)
        outputs, extras, _ = student.run(inputs, mode="train")
        student.family.loss(outputs, extras, batch.labels)[0].backward()
        return [value.grad for value in student.parameters() if value.grad is not None]

    packed = gradients()
    assert len(made) >= len(student.quantizers) / 2
    made.clear()
    monkeypatch.setattr(recompute, "SMALLEST", 10**9)
    kept = gradients()
    assert not made
    assert all(torch.equal(a, b) for a, b in zip(packed, kept, strict=True))
