"""The student: a captured detector with fake quantizers, alignment and taps, that is called like the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, final

from torch import Tensor, nn

from ..data.labels import LabelMap
from ..detection.prediction import Prediction
from ..distill import QueryAlignment
from ..graph.flow import within
from ..graph.graph_model import GraphModel
from ..graph.program import GraphMode, Program
from ..models.families import Family
from ..passes import PassReport
from ..planning import Plan
from ..quantizers import BiasCorrection, Quantizer
from ..recipe.definition import InputSpec, Recipe
from ..structure.roles import role_matches
from ..vocabulary import ALIGNMENTS, CORRECTIONS, FAKE_QUANTIZERS
from .checkpointing import function_maker
from .deployable import Deployable


@final
class Student(GraphModel):
    """What ``qrecipe.compile`` returns. Its state_dict has the model's own keys, and those of what was added.

    recipe, plan: what it was made from. family: how its outputs read. input: how images are prepared for it.
    label_map: COCO categories to classes, where the data is known.
    fewest_bits: what no quantizer has fewer bits than while a stage runs; None is the plan's own bits.
    quantized_roles: what the stage in force quantizes; None is everything. reports: what each pass did.
    """

    # Declared, so that a model with a part of one of these names is refused with a clear error.
    recipe: Recipe
    plan: Plan
    family: Family
    input: InputSpec
    label_map: LabelMap | None
    quantized_roles: tuple[str, ...] | None
    fewest_bits: int | None
    reports: tuple[PassReport, ...]

    def __init__(
        self,
        root: nn.Module,
        programs: Mapping[GraphMode, Program],
        recipe: Recipe,
        plan: Plan,
        family: Family,
        image_input: InputSpec,
        label_map: LabelMap | None,
        reports: tuple[PassReport, ...],
    ) -> None:
        super().__init__(root, programs, function_maker(checkpointing=recipe.train.checkpointing))
        self.recipe = recipe
        self.plan = plan
        self.family = family
        self.input = image_input
        self.label_map = label_map
        self.quantized_roles = self.fewest_bits = None
        self.reports = reports

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor | None = None) -> Any:
        """The model's own output type. pixel_values: (batch, 3, height, width); pixel_mask: (batch, height, width)."""
        return self.run(self.family.inputs(pixel_values, pixel_mask)).outputs

    def with_taps(self, pixel_values: Tensor, pixel_mask: Tensor | None = None) -> tuple[Any, dict[str, Tensor]]:
        """The model's own output, and the tapped values by name (``decoder.cross_attention.output.5``)."""
        ran = self.run(self.family.inputs(pixel_values, pixel_mask), taps=True)
        return ran.outputs, ran.taps

    def predict(self, pixel_values: Tensor, pixel_mask: Tensor | None = None) -> Prediction:
        """Logits (batch, queries, classes) and boxes (batch, queries, 4), cxcywh in 0..1."""
        ran = self.run(self.family.inputs(pixel_values, pixel_mask))
        return self.family.read(ran.outputs, ran.extras)

    def export(self, path: Path | str, **options: Any) -> Any:
        """Write it as a file for other runtimes, as ``qrecipe.export`` does, whose options these are.

        It is compared with the file where its recipe names data, unless ``check`` says otherwise.
        """
        options.setdefault("check", self.label_map is not None)
        return import_module(__name__.partition(".")[0]).export(self, path, **options)  # a name of the root, looked up

    def deployable(self) -> Deployable:
        """The evaluation graph without taps, over this student: what an export lowers."""
        program = self.programs["eval"].untapped.copy()
        names = tuple(str(node.target) for node in program.graph.nodes if node.op == "placeholder")
        return Deployable(self, program.graph, program.out_spec, names)

    @property
    def quantizers(self) -> dict[str, Quantizer]:
        """Fake quantizers by name."""
        return {
            name.removeprefix(f"{FAKE_QUANTIZERS}."): module
            for name, module in self.named_modules()
            if isinstance(module, Quantizer)
        }

    @property
    def query_alignments(self) -> dict[int, QueryAlignment]:
        """Alignments by decoder layer."""
        return {planned.layer: self._alignment(planned.name) for planned in self.plan.alignments}

    @property
    def bias_corrections(self) -> dict[str, BiasCorrection]:
        """Corrections of biases by their weight's quantizer's name."""
        found = {}
        for planned in self.plan.corrections:
            module = self.get_submodule(f"{CORRECTIONS}.{planned.site}")
            assert isinstance(module, BiasCorrection)
            found[planned.site] = module
        return found

    def _alignment(self, name: str) -> QueryAlignment:
        module = self.get_submodule(f"{ALIGNMENTS}.{name}")
        assert isinstance(module, QueryAlignment)
        return module

    def set_stage(self, quantize: Sequence[str] | None) -> None:
        """Quantize only the sites whose role matches one of the patterns; None quantizes all of them.

        A quantizer that several sites share is on where one of them matches; a corrected bias goes with its weight.
        Alignment belongs to the decoder's cross-attention: it is off while that stays real-valued.
        """
        self.quantized_roles = None if quantize is None else tuple(quantize)
        chosen = {site.quantizer for site in self.plan.sites.values() if self._quantized(site.role)}
        for name, quantizer in self.quantizers.items():
            quantizer.set_mode("on" if name in chosen else "off")
        for name, correction in self.bias_corrections.items():
            correction.on = name in chosen
        for alignment in self.query_alignments.values():
            alignment.mode = "on" if self._quantized("decoder.cross_attention") else "off"

    def set_bits(self, fewest: int | None) -> list[str]:
        """Give every quantizer the plan's bits, but no fewer than these; ranges stay. Returns which have others now.

        ``calibrate.change_bits`` finds their ranges anew.
        """
        planned, changed = self.plan.quantizers, []
        for name, quantizer in self.quantizers.items():
            spec = planned[name].spec
            assert spec is not None
            bits = max(spec.bits, fewest or 0)
            if bits != quantizer.grid.bits:
                quantizer.set_bits(bits)
                changed.append(name)
        self.fewest_bits = fewest
        return changed

    def _quantized(self, role: str) -> bool:
        return self.quantized_roles is None or any(role_matches(pattern, role) for pattern in self.quantized_roles)

    def switch_off(self) -> None:
        """Run real-valued: quantizers, alignments, corrections do nothing. ``set_stage(None)`` switches back."""
        self.set_stage(())

    def is_backbone(self, parameter: str) -> bool:
        """Whether a parameter belongs to the backbone (for its learning rate)."""
        return any(within(parameter, path) for path in self.plan.backbone)
