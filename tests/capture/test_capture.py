"""A capture equals its model in both modes, follows train() and eval(), and leaves the model alone."""

from __future__ import annotations

import copy
import gc
import linecache
import sys

import pytest
import torch
from torch import Tensor, nn

from qrecipe.capture import capture
from qrecipe.errors import CaptureError
from qrecipe.graph.graph_model import GraphModel
from qrecipe.graph.program import MODES
from qrecipe.termination import Terminated
from tests.specimens import Specimen
from tests.toys import call, captured_toy, picture, running


def test_outputs_gradients_and_buffers_are_the_models_at_other_sizes(specimen: Specimen) -> None:
    found = specimen.agreements
    assert [(agreement.mode, agreement.shape[0]) for agreement in found] == [
        ("train", 1),
        ("train", 3),
        ("eval", 1),
        ("eval", 3),
    ]
    assert max(agreement.worst for agreement in found) < 1e-12


def test_outputs_have_the_models_own_type(specimen: Specimen) -> None:
    inputs = specimen.inputs(2, 64, 96)
    graph = running(specimen.captured)
    theirs, _ = specimen.family.forward(specimen.eager(), inputs)
    mine, extras, taps = graph.eval().run(inputs)
    assert type(mine) is type(theirs)
    assert list(mine) == list(theirs)
    assert torch.equal(mine["logits"], theirs["logits"])
    assert extras == taps == {}


def test_state_dict_is_the_models(specimen: Specimen) -> None:
    mine, theirs = running(specimen.captured).state_dict(), specimen.model.state_dict()
    assert list(mine) == list(theirs)
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_no_guard_or_assertion_is_left(specimen: Specimen) -> None:
    for program in specimen.captured.programs.values():
        targets = {str(node.target) for node in program.graph.nodes}
        assert not [name for name in targets if "assert" in name or "guard" in name or "_check" in name]
        assert not any("item" in name or "_is_all_true" in name for name in targets if name.startswith("aten"))
        program.lint(specimen.captured.root)


def test_a_graph_knows_the_module_of_each_of_its_nodes(specimen: Specimen) -> None:
    known = {name for name, _ in specimen.model.named_modules(remove_duplicate=False)}
    for program in specimen.captured.programs.values():
        own = {node.meta["module"] for node in program.graph.nodes if node.op in ("call_function", "call_module")}
        assert own <= known
        assert len(own) > 10


def test_a_copy_is_independent(demo: Specimen) -> None:
    before = [str(node) for node in demo.captured.programs["eval"].graph.nodes]
    copied = demo.captured.copy()
    with torch.no_grad():
        next(copied.root.parameters()).add_(1)
    copied.programs["eval"].graph.erase_node(copied.programs["eval"].output)
    assert [str(node) for node in demo.captured.programs["eval"].graph.nodes] == before
    assert not torch.equal(next(copied.root.parameters()), next(demo.captured.root.parameters()))


class Plain(nn.Module):
    """Convolution, BatchNorm with settings of its own, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4, eps=1e-3, momentum=0.3)
        self.dropout = nn.Dropout(0.4)

    def forward(self, pixel_values: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.norm(self.conv(pixel_values)))
        return out


class Branchless(nn.Module):
    def forward(self, pixel_values: Tensor) -> Tensor:
        return pixel_values * 2


class Branching(Plain):
    def forward(self, pixel_values: Tensor) -> Tensor:
        return pixel_values if pixel_values.sum() > 3 else pixel_values * 2


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", [Plain, Branching])
def test_the_model_is_left_as_it_was(kind: type[nn.Module], training: bool) -> None:
    model = kind().double().train(training)
    model.norm.eval()  # a user's own mixture of modes
    before, attributes = copy.deepcopy(model.state_dict()), set(vars(model))
    space = vars(sys.modules[kind.__module__])
    names = dict(space)
    state = torch.get_rng_state()
    try:
        capture(model, call, picture())
        failed = False
    except CaptureError:
        failed = True
    assert failed is (kind is Branching)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert (model.training, model.norm.training) == (training, False)
    assert set(vars(model)) == attributes
    assert space.keys() == names.keys()
    assert all(space[name] is names[name] for name in names)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_branch_on_values_is_a_capture_error_with_torchs_reason() -> None:
    with pytest.raises(CaptureError, match="Branching cannot be captured: a branch on a tensor's value") as caught:
        capture(Branching().double(), call, picture())
    assert "GuardOnDataDependentSymNode: Could not guard" in str(caught.value)


@pytest.mark.parametrize("name", ["constants", "dropouts", "fake_quantizers", "alignments"])
def test_a_part_under_a_name_that_is_needed_is_refused(name: str) -> None:
    model = Plain()
    model.add_module(name, nn.Identity())
    with pytest.raises(CaptureError, match=f"parts named {name}"):
        capture(model.double(), call, picture())


def test_a_part_named_like_a_method_is_refused() -> None:
    model = Plain().double()
    model.register_parameter("run", nn.Parameter(torch.zeros(1)))
    with pytest.raises(CaptureError, match="own parts run "):
        running(capture(model, call, picture()))


@pytest.fixture(scope="module")
def plain() -> GraphModel:
    return running(captured_toy(Plain()))


def test_dropout_follows_train_and_eval(plain: GraphModel) -> None:
    graph, inputs = copy.deepcopy(plain), picture(4, 20, 20)
    share = (graph.train().run(inputs).outputs == 0).double().mean()
    assert 0.3 < share < 0.5
    assert (graph.eval().run(inputs).outputs != 0).all()
    # The training graph of a model in eval mode drops nothing either: calibration runs it so.
    assert (graph.eval().run(inputs, mode="train").outputs != 0).all()


def test_batch_norm_keeps_its_settings_and_counts_in_training_only(plain: GraphModel) -> None:
    graph, model = copy.deepcopy(plain), Plain().double()
    model.load_state_dict(graph.state_dict())
    for module in (graph, model):
        module.get_submodule("dropout" if module is model else "dropouts.0").p = 0.0
    inputs = picture(3, 10, 12)
    assert torch.allclose(graph.train().run(inputs).outputs, model.train()(**inputs), atol=1e-12)
    norm = graph.get_submodule("norm")
    assert int(norm.num_batches_tracked) == 1
    assert torch.equal(norm.running_mean, model.norm.running_mean)
    assert torch.equal(norm.running_var, model.norm.running_var)
    seen = norm.running_var.clone()
    assert torch.allclose(graph.eval().run(inputs).outputs, model.eval()(**inputs), atol=1e-12)
    assert int(norm.num_batches_tracked) == 1
    assert torch.equal(norm.running_var, seen)


def test_deepcopies_run_on_their_own_weights(plain: GraphModel) -> None:
    copied = copy.deepcopy(plain).eval()
    inputs = picture()
    expected = plain.eval().run(inputs).outputs
    with torch.no_grad():
        copied.get_submodule("conv").bias.add_(1)
    assert torch.equal(plain.run(inputs).outputs, expected)
    assert not torch.equal(copied.run(inputs).outputs, expected)


def test_errors_inside_a_graph_show_its_line(plain: GraphModel) -> None:
    with pytest.raises(RuntimeError) as caught:
        plain.eval().run({"pixel_values": torch.zeros(1, 5, 8, 8, dtype=torch.float64)})
    frames = [entry for entry in caught.traceback if "<qrecipe eval" in str(entry.path)]
    assert frames
    assert "conv2d" in str(frames[-1].statement)


class Constant(Plain):
    """Holds a tensor that is neither parameter nor buffer, and tied parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = torch.tensor([[0.5]], dtype=torch.float64)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, pixel_values: Tensor) -> Tensor:
        mean = self.conv(pixel_values).mean((2, 3))
        out: Tensor = self.second(self.first(mean)) + self.shift + torch.tensor([1.0, 2.0, 3.0, 4.0])
        return out


def test_constants_are_kept_outside_the_state_dict_and_tied_parameters_stay_tied() -> None:
    model = Constant().double()
    graph = running(capture(model, call, picture())).eval()
    inputs = picture(3, 9, 11)
    assert torch.allclose(graph.run(inputs).outputs, model.eval()(**inputs), atol=1e-12)
    assert list(graph.state_dict()) == list(model.state_dict())
    assert graph.get_submodule("first").weight is graph.get_submodule("second").weight
    assert {buffer.device for buffer in graph.get_submodule("constants").buffers()} == {torch.device("cpu")}
    assert MODES == ("train", "eval")


def test_two_graphs_are_told_apart_in_tracebacks_and_forgotten_with_them(plain: GraphModel) -> None:
    known = {name for name in linecache.cache if name.startswith("<qrecipe")}
    other = running(captured_toy(Branchless()))
    added = {name for name in linecache.cache if name.startswith("<qrecipe")} - known
    assert len(added) == 2
    assert not any("conv2d" in line for name in added for line in linecache.getlines(name))
    del other
    gc.collect()
    assert not added & linecache.cache.keys()


class HearsASignal(nn.Module):
    """A signal comes while it runs."""

    def forward(self, pixel_values: Tensor) -> Tensor:
        raise Terminated(15)


@pytest.mark.parametrize("training", [True, False])
def test_a_signal_is_no_failure_of_the_model(training: bool) -> None:
    """Else a run that is asked to end would go on with a graph of another mode."""
    with pytest.raises(Terminated):
        capture(HearsASignal().train(training), call, picture())
