"""Roles by module, what a recipe overrides, and how outputs are told apart."""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from fnmatch import fnmatchcase
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from qrecipe.errors import PlanError
from qrecipe.graph.captured import Captured
from qrecipe.structure import Structure, analyse
from qrecipe.structure.operands import PASSIVE
from qrecipe.structure.operations import find_operations
from qrecipe.structure.outputs import leaf_names
from qrecipe.structure.roles import Roles, role_matches
from qrecipe.vocabulary import ROLES
from tests.specimens import Specimen
from tests.toys import ToyDetector, captured_toy

# Module globs in order; the first that matches says which role each weighted layer and attention must have.
EXPECTED = {
    "demo": {
        "backbone.stem.conv": "backbone.stem",
        "backbone.*": "backbone.body",
        "encoder.0.self_attention*": "encoder.attention",
        "encoder.0.ffn.*": "encoder.feed_forward",
        "proposal_norm.0": "encoder.feed_forward",
        "proposal_*": "head.proposal",
        "query_position.*": "decoder.position",
        "decoder.?.self_attention*": "decoder.self_attention",
        "decoder.?.cross_attention*": "decoder.cross_attention",
        "decoder.?.ffn.*": "decoder.feed_forward",
        "class_heads.*": "head.class",
        "box_heads.*": "head.box",
    },
    "detr": {
        "model.backbone.model.embedder.*": "backbone.stem",
        "model.backbone.*": "backbone.body",
        "model.input_projection": "encoder.convolution",
        "model.encoder.layers.0.self_attn*": "encoder.attention",
        "model.encoder.layers.0.mlp.*": "encoder.feed_forward",
        "model.decoder.layers.?.self_attn*": "decoder.self_attention",
        "model.decoder.layers.?.encoder_attn*": "decoder.cross_attention",
        "model.decoder.layers.?.mlp.*": "decoder.feed_forward",
        "class_labels_classifier": "head.class",
        "bbox_predictor.*": "head.box",
    },
    "deimv2": {
        "model.conv_encoder.model.embedder.stem1.convolution": "backbone.stem",
        "model.conv_encoder.*": "backbone.body",
        "model.encoder.*": "encoder.convolution",
        "model.enc_output.0": "encoder.feed_forward",
        "model.enc_score_head": "head.proposal",
        "model.enc_bbox_head.*": "head.proposal",
        "model.decoder.query_pos_head.*": "decoder.position",
        "model.decoder.layers.?.self_attn*": "decoder.self_attention",
        "model.decoder.layers.?.encoder_attn*": "decoder.cross_attention",
        "model.decoder.layers.?.mlp.*": "decoder.feed_forward",
        "model.decoder.class_embed.*": "head.class",
        "model.decoder.lqe_layers.*": "head.class",
        "model.decoder.bbox_embed.*": "head.box",
        "model.decoder.pre_bbox_head.*": "head.box",
    },
}
PLACES = {
    "demo": ("backbone", ("decoder.{}", "decoder.{}.cross_attention")),
    "detr": ("model.backbone", ("model.decoder.layers.{}", "model.decoder.layers.{}.encoder_attn")),
    "deimv2": ("model.conv_encoder", ("model.decoder.layers.{}", "model.decoder.layers.{}.encoder_attn")),
}


def discovered(captured: Captured, overrides: dict[str, str] | None = None) -> tuple[Roles, Structure]:
    structure = analyse(captured, overrides)
    return structure.roles, structure


@pytest.mark.parametrize("name", list(EXPECTED))
def test_roles_of_the_detectors(name: str, request: pytest.FixtureRequest) -> None:
    specimen: Specimen = request.getfixturevalue(name)
    found = find_operations(specimen.captured)
    roles = analyse(specimen.captured).roles
    unused = set(EXPECTED[name])
    for operation in (*found["train"], *found["eval"]):
        if operation.operator in PASSIVE:
            continue
        glob = next(glob for glob in EXPECTED[name] if fnmatchcase(operation.module, glob))
        unused.discard(glob)
        assert roles.of[operation.name] == EXPECTED[name][glob], operation.name
    assert not unused
    assert set(roles.of.values()) <= set(ROLES)
    backbone, (layer, cross) = PLACES[name]
    assert roles.backbone == (backbone,)
    assert roles.layers == tuple(layer.format(index) for index in range(2))
    assert roles.cross_attention == tuple(cross.format(index) for index in range(2))


@pytest.mark.parametrize("eager", [False, True])
def test_roles_of_a_toy(eager: bool) -> None:
    roles, structure = discovered(captured_toy(ToyDetector(columns=4, eager=eager)))
    assert roles.cross_attention == ("layers.0.cross_attention", "layers.1.cross_attention")
    # Four class columns, as of three classes and no object, make no box head.
    assert {roles.of["class_head"], roles.of["class_head@1"]} == {"head.class"}
    assert {roles.of["box_head"], roles.of["box_head@1"]} == {"head.box"}
    assert set(structure.programs["eval"].queries) == {0, 1}


def test_overrides_win(demo: Specimen) -> None:
    roles, structure = discovered(
        demo.captured,
        {
            "backbone": "backbone.stage?",
            "decoder.cross_attention": "decoder.*.self_attention",
            "head.box": "class_heads*",
        },
    )
    assert roles.cross_attention == ("decoder.0.self_attention", "decoder.1.self_attention")
    assert roles.layers == ("decoder.0", "decoder.1")
    assert roles.of["decoder.1.self_attention.k_proj"] == "decoder.cross_attention"
    assert roles.of["class_heads.1"] == "head.box"
    stages = [name for name, _ in demo.model.backbone.named_children() if name.startswith("stage")]
    assert roles.backbone == tuple(f"backbone.{name}" for name in stages)
    assert len(stages) > 1
    assert roles.of["backbone.stem.conv"] == "encoder.convolution"
    # The taps follow: the key now is one of the queries', not of the image's tokens.
    key = structure.programs["eval"].taps["decoder.cross_attention.key", 0]
    assert key.shape[2] == 6


def test_an_override_of_nested_modules_takes_the_outermost(demo: Specimen) -> None:
    roles, _ = discovered(demo.captured, {"decoder.cross_attention": "decoder.*cross_attention*"})
    assert "decoder.0.cross_attention" in roles.cross_attention
    assert not any(path.endswith("q_proj") for path in roles.cross_attention)


def test_an_override_that_matches_nothing_names_what_is_near(demo: Specimen) -> None:
    with pytest.raises(PlanError, match=r"model.roles.head.class: no module matches 'class_head'.*class_heads"):
        discovered(demo.captured, {"head.class": "class_head"})


def test_an_override_of_no_role_is_refused(demo: Specimen) -> None:
    with pytest.raises(PlanError, match=r"there is no role 'head.clas' \(did you mean \"head.class\"\?\)"):
        discovered(demo.captured, {"head.clas": "class_heads.*"})


class OneHead(ToyDetector):
    """Its class head also chooses the queries, and positions are computed for each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Linear(4, 8)

    def forward(self, pixel_values: torch.Tensor) -> dict[str, Any]:
        tokens = self.backbone(pixel_values).flatten(2).transpose(1, 2)
        chosen = self.class_head(tokens).amax(-1).topk(4, dim=1).indices[..., None]
        states = tokens.gather(1, chosen.expand(-1, -1, 8))
        boxes = self.box_head(states).sigmoid()
        for layer in self.layers:
            states = layer(states + self.place(boxes), tokens)
        return {"logits": self.class_head(states), "pred_boxes": self.box_head(states).sigmoid()}


def test_a_layer_that_is_called_before_and_behind_the_decoder_has_one_role() -> None:
    roles, _ = discovered(captured_toy(OneHead()))
    assert {roles.of["class_head"], roles.of["class_head@1"]} == {"head.class"}
    assert {roles.of["box_head"], roles.of["box_head@1"]} == {"head.box"}
    assert {roles.of["place"], roles.of["place@1"]} == {"decoder.position"}


class Heads(nn.Module):
    """Attention-free, with a stem alone: nothing is found that is not there."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self.head(self.stem(pixel_values).flatten(2).mT)
        return tokens, tokens.sigmoid()


def test_a_model_without_a_decoder() -> None:
    roles, structure = discovered(captured_toy(Heads()))
    assert roles.layers == roles.cross_attention == ()
    assert roles.of == {"stem": "backbone.stem", "head": "head.box"}
    assert not structure.programs["train"].taps
    assert not structure.programs["train"].queries


@pytest.mark.parametrize(
    ("pattern", "role", "expected"),
    [
        ("backbone", "backbone.stem", True),
        ("backbone.stem", "backbone.stem", True),
        ("backbone.*", "backbone.body", True),
        ("*", "head.box", True),
        ("head", "head.box", True),
        ("*.feed_forward", "encoder.feed_forward", True),
        ("back", "backbone.stem", False),
        ("stem", "backbone.stem", False),
        ("decoder.self", "decoder.self_attention", False),
    ],
)
def test_role_patterns(pattern: str, role: str, expected: bool) -> None:
    assert role_matches(pattern, role) is expected


@dataclasses.dataclass
class Found:
    logits: Any
    pred_boxes: Any
    auxiliary: Any = None


Pair = namedtuple("Pair", ["pred_logits", "boxes"])
torch.export.register_dataclass(Found)


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        ({"logits": 1, "aux": [{"pred_boxes": 2}, 3]}, ["logits", "pred_boxes", "aux"]),
        ((1, 2), ["logits", "boxes"]),
        (((1, 2), {}), ["logits", "boxes"]),
        (({"x": 1}, {"y": 2}), ["x", "y"]),
        (Found(1, 2), ["logits", "pred_boxes"]),
        (Found(1, 2, [(3, 4)]), ["logits", "pred_boxes", "logits", "boxes"]),
        (Pair(1, 2), ["pred_logits", "boxes"]),
        ([1, 2], ["", ""]),
    ],
)
def test_names_of_outputs(outputs: Any, names: list[str]) -> None:
    assert leaf_names(pytree.tree_flatten(outputs)[1]) == names


class Picking(nn.Module):
    """An encoder that keeps the tokens which its attention looks at most, and learned tokens beside the image's."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.own = nn.Embedding(3, 8)
        self.q, self.k, self.v, self.mix = (nn.Linear(8, 8) for _ in range(4))
        self.classes, self.boxes = nn.Linear(8, 2), nn.Linear(8, 4)

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        tokens = self.patches(pixel_values).flatten(2).transpose(1, 2)
        learned = self.mix(self.own(torch.arange(3)).expand(tokens.shape[0], -1, -1))
        tokens = torch.cat((tokens, learned), 1)
        shares = (self.q(tokens) @ self.k(tokens).transpose(1, 2) * 8**-0.5).softmax(-1)
        tokens = shares @ self.v(tokens)
        best = shares.mean(1).topk(5).indices
        chosen = tokens.gather(1, best[..., None].expand(-1, -1, 8))
        return {"logits": self.classes(chosen), "pred_boxes": self.boxes(chosen).sigmoid()}


def test_attention_that_chooses_is_no_head_and_learned_tokens_are_no_text() -> None:
    captured = captured_toy(Picking())
    found = analyse(captured).roles.of
    assert found["matmul"] == found["matmul@1"] == "encoder.attention"
    assert not any(role in ("encoder.text", "decoder.text_attention") for role in found.values())


def test_a_proposal_head_that_is_called_again_stays_one() -> None:
    class Detector(nn.Module):
        """Scores all tokens, and behind the decoder the chosen ones again, for the proposals' own loss (as DINO)."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.cross_attn = nn.Conv2d(3, 8, 8, 8), nn.MultiheadAttention(8, 2, batch_first=True)
            self.proposal, self.classes, self.boxes = nn.Linear(8, 3), nn.Linear(8, 3), nn.Linear(8, 4)

        def forward(self, pixel_values: Tensor) -> dict[str, Any]:
            tokens = self.conv(pixel_values).flatten(2).transpose(1, 2)
            top = self.proposal(tokens).amax(-1).topk(4, 1).indices[..., None]
            chosen = tokens.gather(1, top.expand(-1, -1, 8))
            x = chosen.detach() + self.cross_attn(chosen.detach(), tokens, tokens)[0]
            boxes = self.boxes(x).sigmoid()
            again = {"logits": self.proposal(chosen), "pred_boxes": boxes}
            return {"logits": self.classes(x), "pred_boxes": boxes, "auxiliary_outputs": [again]}

    structure = analyse(captured_toy(Detector()))
    roles = {site.address.role for site in structure.sites.values() if site.address.module == "proposal"}
    assert roles == {"head.proposal"}
