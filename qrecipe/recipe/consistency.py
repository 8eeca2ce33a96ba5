"""What a JSON Schema cannot say in a user's words: keys that exclude, need or contradict one another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from ..vocabulary import OPERAND_KINDS, OperandKind
from .definition import SPLITS, KeyPath, dotted
from .distill_checks import check_targets
from .document import Document, LocatedError, shown
from .findings import Finding, each_at, either, given_keys, mapping_at, value_at
from .names import GRANULARITIES, Offset
from .quantizer_table import QUANTIZERS, default_offset, quantizers_of
from .stage_checks import check_stage_bits
from .targets import REAL, TARGETS, Needs

PLURALS: dict[OperandKind, str] = {"weight": "weights", "activation": "activations", "attention": "attention"}

MULTISCALE = (
    "multiscale needs inputs of varying size, but the model's input size is fixed",
    "leave multiscale out, or give model.input shortest and longest instead of size",
)


def consistency_problems(document: Document, wrong: set[KeyPath]) -> list[LocatedError]:
    """Contradictions between keys, leaving out what stands at a path whose own value is wrong already.

    Args:
        document: any mapping; values of wrong types are passed over.
        wrong: paths that have a problem.
    """
    findings = [finding for check in CHECKS for finding in check(document.data)]
    return [
        document.problem(path, what, remedy)
        for path, what, remedy in findings
        if not any(path[:length] in wrong for length in range(1, len(path) + 1))
    ]


def _models(data: Any) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    for name in ("model", "teacher"):
        if isinstance(value_at(data, name), Mapping):
            yield (name,), mapping_at(data, name)


def _check_origin(data: Any) -> Iterator[Finding]:
    for path, model in _models(data):
        origins = given_keys(model, "architecture", "factory")
        if not origins:
            yield path, f"{dotted(path)} has neither architecture nor factory", "give one of the two"
        elif len(origins) == 2:
            yield (
                (*path, "factory"),
                "architecture and factory exclude each other",
                "keep one, or set the other to null",
            )
        elif origins == ["architecture"]:
            for key in ("arguments", "labels_argument"):
                if model.get(key):
                    yield (
                        (*path, key),
                        f"{key} belongs to a factory, and there is none",
                        "give it as config, or remove it",
                    )
        elif model.get("config"):
            remedy = "give the keys as arguments, or remove them"
            yield (*path, "config"), "config belongs to an architecture, and there is none", remedy


def _check_weights(data: Any) -> Iterator[Finding]:
    for path, model in _models(data):
        weights = model.get("weights")
        if not isinstance(weights, Mapping):
            continue
        place = (*path, "weights")
        sources = given_keys(weights, "hub", "folder", "file", "builtin")
        if not sources:
            remedy = "give one of hub, folder, file, builtin; or weights: null for none"
            yield place, f"{dotted(place)} names no source", remedy
        for other in sources[1:]:
            what = f"{sources[0]} and {other} exclude each other"
            yield (*place, other), what, "keep one, or set the other to null"
        if given_keys(weights, "revision") and "hub" not in sources:
            yield (*place, "revision"), "revision belongs to a hub model, and there is none", "give hub, or remove it"


def _check_input(data: Any) -> Iterator[Finding]:
    for path, model in _models(data):
        spec = mapping_at(model, "input")
        place = (*path, "input")
        excluded = {"size": ("shortest", "longest", "within", "multiple"), "within": ("shortest", "longest")}
        for one, others in excluded.items():
            for key in given_keys(spec, *others) if given_keys(spec, one) else ():
                yield (*place, key), f"{one} and {key} exclude each other", "keep one, or set the other to null"
        shortest, longest = spec.get("shortest"), spec.get("longest")
        if isinstance(shortest, int) and isinstance(longest, int) and longest < shortest:
            yield (
                (*place, "longest"),
                f"longest, {shown(longest)}, is less than shortest, {shown(shortest)}",
                "longest bounds shortest",
            )
        match spec.get("grey_range"):
            case [int(black), int(white)] if black >= white:
                what = f"grey_range goes from {shown(black)} to {shown(white)}"
                yield (*place, "grey_range"), what, "give the value that becomes black, then the one that becomes white"


def _check_quantizers(data: Any) -> Iterator[Finding]:
    for operand in OPERAND_KINDS:
        yield from _quantizer(operand, ("quantize", operand), mapping_at(data, "quantize", operand))
        for path, rule in each_at(data, "quantize", "rules"):
            yield from _quantizer(operand, (*path, operand), mapping_at(rule, operand))


def _quantizer(operand: OperandKind, path: KeyPath, keys: Mapping[str, Any]) -> Iterator[Finding]:
    per, kind, offset = keys.get("per"), keys.get("quantizer"), keys.get("offset")
    if isinstance(per, str) and per not in GRANULARITIES[operand]:
        reason = {"channel": "per: channel is only for weights", "head": "per: head is only for attention"}.get(
            per, per
        )
        yield (*path, "per"), reason, f"for {operand}: {either(GRANULARITIES[operand])}"
    if not isinstance(kind, str) or kind not in QUANTIZERS:
        return
    allowed = QUANTIZERS[kind].offsets.get(operand)
    scale = keys.get("scale")
    if isinstance(scale, str) and scale not in QUANTIZERS[kind].scales and allowed is not None:
        able = [name for name in quantizers_of(operand) if scale in QUANTIZERS[name].scales]
        remedy = f"take {either(able)}, or remove it" if able else "remove it"
        yield (*path, "scale"), f"{kind} has no scale: {scale}", remedy
    if allowed is None:
        takes = " and ".join(PLURALS[one] for one in QUANTIZERS[kind].offsets)
        remedy = f"for {operand} take {either(quantizers_of(operand))}"
        yield (*path, "quantizer"), f"{kind} is only for {takes}", remedy
    elif isinstance(offset, str) and offset not in allowed:
        what = "is symmetric and has no offset" if allowed == ("none",) else f"has offset: {either(allowed)}"
        others = quantizers_of(operand, cast("Offset", offset))
        remedy = f"set offset: {default_offset(operand, kind)}" + (f", or take {', '.join(others)}" if others else "")
        yield (*path, "offset"), f"{kind} {what}", remedy


def _check_target(data: Any) -> Iterator[Finding]:
    """What the runtime that is meant cannot compute in integers, wherever a quantizer says it."""
    name = value_at(data, "target")
    if not isinstance(name, str) or name not in TARGETS:
        return
    for operand in OPERAND_KINDS:
        places = [("quantize", operand), *((*path, operand) for path, _ in each_at(data, "quantize", "rules"))]
        for path in places:
            yield from _unfit(name, TARGETS[name], operand, path, mapping_at(data, *path))


def _unfit(name: str, needs: Needs, operand: OperandKind, path: KeyPath, keys: Mapping[str, Any]) -> Iterator[Finding]:
    able: dict[str, Sequence[str]] = {"per": needs.per.get(operand, ()), "offset": needs.offset.get(operand, ())}
    kind = keys.get("quantizer")
    given = dict(keys)
    if isinstance(kind, str) and kind in QUANTIZERS and operand in QUANTIZERS[kind].offsets:
        given.setdefault("offset", default_offset(operand, kind))
    for key, allowed in able.items():
        value = given.get(key)
        if allowed and isinstance(value, str) and value not in allowed:
            why = needs.reasons.get((key, operand), REAL)
            place = (*path, key) if key in keys else path
            yield (
                place,
                f"target: {name} and {key}: {value} contradict each other: {why}",
                f"set {key}: {either(allowed)}",
            )
    least, bits = needs.bits.get(operand, 0), keys.get("bits")
    if isinstance(bits, int) and bits < least:
        why = needs.reasons[("bits", operand)]
        what = f"target: {name} and bits: {bits} contradict each other: {why}"
        yield (*path, "bits"), what, f"set bits: {least}"


def _check_rules(data: Any) -> Iterator[Finding]:
    for path, rule in each_at(data, "quantize", "rules"):
        given = given_keys(rule, *OPERAND_KINDS)
        if rule.get("keep") == "float":
            for operand in given:
                what = f"keep: float leaves everything real-valued, {operand} says otherwise"
                yield (*path, operand), what, "remove one of the two"
        elif not given and rule.get("keep") is None and set(rule) <= {"match", "keep", *OPERAND_KINDS}:
            yield path, "the rule sets nothing", f"give keep: float, or one of {', '.join(OPERAND_KINDS)}"


def _check_train(data: Any) -> Iterator[Finding]:
    train = mapping_at(data, "train")
    if "epochs" in train and "stages" in train:
        yield ("train", "epochs"), "epochs and stages exclude each other", "epochs is short for a single stage"
    if value_at(train, "loss", "denoising") is True and value_at(train, "loss", "auxiliary") is False:
        what = "denoising is one of the auxiliary losses, which are off"
        yield ("train", "loss", "denoising"), what, "set auxiliary: true, or remove it"
    yield from _check_oscillations(data, train)
    yield from check_stage_bits(data)
    schedule = mapping_at(train, "schedule")
    name, drops = schedule.get("name", "constant"), schedule.get("drop_at")
    place = ("train", "schedule")
    if name == "step" and not drops:
        yield place, "a step schedule without drop_at never drops", "give drop_at: [epoch, ...]"
    elif isinstance(name, str) and name != "step" and drops:
        yield (*place, "drop_at"), f"drop_at is only for a step schedule, this one is {name}", "set name: step"


def _check_oscillations(data: Any, train: Mapping[str, Any]) -> Iterator[Finding]:
    """What is done against oscillations of weights, where there are none on a grid of their own."""
    weighted = (mapping_at(data, "quantize"), *(rule for _, rule in each_at(data, "quantize", "rules")))
    kinds = [mapping_at(one, "weight").get("quantizer") for one in weighted if given_keys(one, "weight")]
    for key, verb in (("dampen", "dampen"), ("freeze_oscillating", "freeze")):
        if train.get(key) is not None and not kinds:
            what = f"there are no quantized weights to {verb}"
            yield ("train", key), what, "give quantize.weight, or remove it"
        elif train.get(key) is not None and kinds[0] == "dorefa" and set(kinds) <= {"dorefa", None}:
            yield ("train", key), "dorefa bends weights before it rounds them", "take another quantizer, or remove it"


def _check_data(data: Any) -> Iterator[Finding]:
    section = mapping_at(data, "data")
    if section.get("format") == "coco":
        for split in ("train", "val"):
            if section.get(split) is None:
                remedy = "give images, a folder, and annotations, a COCO json"
                yield ("data", split), f"format: coco needs data.{split}", remedy
    elif "format" not in section:  # a synthetic set that is asked for may stand beside splits that are not read
        for split in given_keys(section, *SPLITS):
            what = "a split is given, but data is synthetic where no format is"
            yield ("data", split), what, "set data.format: coco"


def _check_transforms(data: Any) -> Iterator[Finding]:
    """What a recipe without a size of its own shows only once its model is built: data/transforms.py."""
    train = mapping_at(data, "train")
    trains = train.get("epochs") or train.get("stages")
    fixed = given_keys(mapping_at(data, "model", "input"), "size")
    if trains and fixed and value_at(data, "data", "transforms", "multiscale"):
        yield ("data", "transforms", "multiscale"), MULTISCALE[0], MULTISCALE[1]


CHECKS: tuple[Callable[[Any], Iterator[Finding]], ...] = (
    _check_origin,
    _check_weights,
    _check_input,
    _check_quantizers,
    _check_target,
    _check_rules,
    check_targets,
    _check_train,
    _check_data,
    _check_transforms,
)
