"""Each mistake a user can make, and the exact place and word it is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipe.examples import MINIMAL, problems, write

#: What each case adds after MINIMAL (two lines, so it begins on line 3), its place, and a word of its answer.
CASES = {
    "duplicate key": ("seed: 1\nseed: 2\n", "4:1: seed: duplicate key", "first on line 3"),
    "tab": ("train:\n\tbatch_size: 2\n", "4:1: a tab in the indentation", "spaces"),
    "tab of spaces": ("train:\n  \tbatch_size: 2\n", "4:3: a tab in the indentation", "spaces"),
    "tab of a key": ("train:\n-\tbatch_size: 2\n", "4:2: a tab where YAML has a space", "write a space"),
    "unclosed list": ("seed: [1\n", "4:1: not valid YAML", "expected ',' or ']'"),
    "second document": ("---\nseed: 1\n", "3:1: not valid YAML", "remove the ---"),
    "unknown alias": ("seed: *nope\n", "3:7: not valid YAML", "undefined alias"),
    "senseless escape": ('name: "\\UFFFFFFFF"\n', "3:", "not valid YAML"),
    "half a character": ('name: "\\ud800"\n', "3:7: name: ", "cannot be read as !!str"),
    "control character": ("name: a\x01b\n", "3:8: character U+0001 is not allowed", ""),
    "tag": ("seed: !!python/object:os.system 1\n", "3:7: seed: ", "cannot be read as !!python/object"),
    "tag of a mapping": ("train: !mine {}\n", "3:8: train: the tag !mine has no meaning", "remove"),
    "bad tagged number": ("seed: !!int x\n", "3:7: seed: ", "cannot be read as a whole number"),
    "endless number": (f"seed: {'9' * 100}\n", "3:7: seed: ", "cannot be read as a whole number"),
    "merge key": ("train: {<<: {batch_size: 2}}\n", "3:9: train: << is not part of recipes", "extend"),
    "key that is a number": ("train: {4: 5}\n", '3:9: train: the key "4" is not text', "quotes"),
    "key that is a list": ("train: {[a]: 5}\n", "3:9: train: a key that is not text", ""),
    "alias that holds itself": ("train: &a {x: *a}\n", "3:8: an alias that holds itself", ""),
    "deep nesting": (f"seed: {'[' * 60}{']' * 60}\n", "3:", "nested more than 40 levels"),
    "unknown key": ("quantise: {}\n", "3:1: quantise: unknown key", 'did you mean "quantize"?'),
    "unknown key, nothing near": (
        "train:\n  zzzz: 1\n",
        "4:3: train.zzzz: unknown key",
        "train has accumulate, batch_size",
    ),
    "unknown key in a rule": (
        "quantize:\n  rules:\n    - {match: a, keep: float}\n    - match: b\n      wieght: float\n",
        "7:7: quantize.rules[1].wieght: unknown key",
        'did you mean "weight"?',
    ),
    "text for a number": (
        "quantize:\n  weight: {bits: 4bit, quantizer: lsq, per: channel}\n",
        '4:18: quantize.weight.bits: expected a whole number from 2 to 8, found "4bit"',
        "",
    ),
    "truth value for a number": (
        "quantize:\n  weight: {bits: true, quantizer: lsq, per: channel}\n",
        "4:18: quantize.weight.bits: expected a whole number from 2 to 8, found true",
        "",
    ),
    "float for a whole number": ("seed: 1.0\n", "3:7: seed: expected a whole number", "found 1.0"),
    "one bit": (
        "quantize:\n  weight: {bits: 1, quantizer: lsq, per: channel}\n",
        "4:18: quantize.weight.bits: must be at least 2; found 1",
        "from 2 to 8",
    ),
    "nine bits": (
        "quantize:\n  weight: {bits: 9, quantizer: lsq, per: channel}\n",
        "4:18: quantize.weight.bits: must be at most 8; found 9",
        "from 2 to 8",
    ),
    "nine bits in a rule": (
        "quantize:\n  rules: [{match: a, weight: {bits: 9}}]\n",
        "4:37: quantize.rules[0].weight.bits: must be at most 8; found 9",
        "",
    ),
    "yes for text": ("name: yes\n", "3:7: name: expected text, found true", "write them in quotes"),
    "yes for a name": ("data: {format: yes}\n", "3:16: data.format: must be coco or synthetic; found true", "quotes"),
    "not finite": ("train: {clip_norm: .inf}\n", "3:20: train.clip_norm: expected a number above 0", "found .inf"),
    "not a number": ("train: {clip_norm: .nan}\n", "3:20: train.clip_norm: expected a number above 0", "found .nan"),
    "empty section": ("train:\n", "3:7: train: expected a mapping, found nothing", ""),
    "list for a mapping": ("train: [1]\n", "3:8: train: expected a mapping, found a list", ""),
    "empty rule list item": ("quantize: {rules: [null]}\n", "3:20: quantize.rules[0]: expected a mapping", ""),
    "tau of one": (
        "distill: {targets: [{at: a, match: {tau: 1}}]}\n",
        "3:42: distill.targets[0].match.tau: must be less than 1; found 1",
        "at least 0 and below 1",
    ),
    "tau for all": (
        "distill: {targets: [{at: a, match: {kind: all, tau: 0.5}}]}\n",
        "3:53: distill.targets[0].match.tau: tau is only for kind: foreground",
        "",
    ),
    "unknown loss": ("distill: {targets: [{at: a, loss: l3}]}\n", "3:35: distill.targets[0].loss: must be l2", '"l2"?'),
    "missing keys": ("distill: {align: [{per: head}]}\n", "3:19: distill.align[0].at: missing", "What is aligned"),
    "missing bits": (
        "quantize:\n  weight: {quantizer: lsq, per: channel}\n",
        "4:11: quantize.weight.bits: missing",
        "from 2 to 8",
    ),
    "unknown quantizer": (
        "quantize:\n  weight: {bits: 4, quantizer: lqs, per: channel}\n",
        '4:32: quantize.weight.quantizer: must be lsq, lsq+, minmax, mse, pact or dorefa; found "lqs"',
        'did you mean "lsq"?',
    ),
    "unknown initialiser": (
        "quantize:\n  weight: {bits: 4, quantizer: lsq, per: channel, init: maxmin}\n",
        "4:57: quantize.weight.init: must be lsq, lsq+, minmax, mse, output, percentile or null",
        'did you mean "minmax"?',
    ),
    "channel for activations": (
        "quantize:\n  activation: {bits: 4, quantizer: lsq+, per: channel}\n",
        "4:47: quantize.activation.per: per: channel is only for weights",
        "for activation: tensor",
    ),
    "head for weights": (
        "quantize:\n  weight: {bits: 4, quantizer: lsq, per: head}\n",
        "4:42: quantize.weight.per: per: head is only for attention",
        "for weight: tensor or channel",
    ),
    "head in a rule": (
        "quantize:\n  rules: [{match: a, activation: {per: head}}]\n",
        "4:40: quantize.rules[0].activation.per: per: head is only for attention",
        "",
    ),
    "offset of lsq": (
        "quantize:\n  activation: {bits: 4, quantizer: lsq, per: tensor, offset: integer}\n",
        "4:62: quantize.activation.offset: lsq is symmetric and has no offset",
        "offset: none",
    ),
    "nearly float": (
        "quantize:\n  rules: [{match: a, weight: flot}]\n",
        '4:30: quantize.rules[0].weight: must be float or a mapping; found "flot"',
        'did you mean "float"?',
    ),
    "empty override": (
        "quantize:\n  rules: [{match: a, weight: {}}]\n",
        "4:30: quantize.rules[0].weight: ",
        "found none",
    ),
    "rule that sets nothing": (
        "quantize:\n  rules: [{match: a}]\n",
        "4:11: quantize.rules[0]: the rule sets nothing",
        "",
    ),
    "rule of two minds": (
        "quantize:\n  rules: [{match: a, keep: float, weight: {bits: 8}}]\n",
        "4:43: quantize.rules[0].weight: keep: float leaves everything real-valued",
        "",
    ),
    "rule without a pattern": (
        "quantize:\n  rules: [{match: [], keep: float}]\n",
        "4:19: quantize.rules[0].match: ",
        "at least 1 item,",
    ),
    "epochs and stages": (
        "train: {epochs: 1, stages: []}\n",
        "3:17: train.epochs: epochs and stages exclude each other",
        "",
    ),
    "no epochs in a stage": (
        "train: {stages: [{name: a, epochs: 0}]}\n",
        "3:36: train.stages[0].epochs: must be at least 1",
        "",
    ),
    "denoising without auxiliary losses": (
        "train: {loss: {auxiliary: false, denoising: true}}\n",
        "3:45: train.loss.denoising: denoising is one of the auxiliary losses",
        "auxiliary: true",
    ),
    "unknown schedule": ("train: {schedule: {name: cosin}}\n", "3:26: train.schedule.name: must be", '"cosine"?'),
    "step without drops": (
        "train: {schedule: {name: step}}\n",
        "3:19: train.schedule: a step schedule without",
        "drop_at",
    ),
    "drops without step": (
        "train: {schedule: {name: cosine, drop_at: [3]}}\n",
        "3:43: train.schedule.drop_at: drop_at is only for a step schedule",
        "",
    ),
    "same drop twice": (
        "train: {schedule: {name: step, drop_at: [3, 3]}}\n",
        "3:41: train.schedule.drop_at: has an item twice",
        "",
    ),
    "one beta": ("train: {optimizer: {betas: [0.9]}}\n", "3:28: train.optimizer.betas: expected 2 items, found 1", ""),
    "coco without splits": ("data: {format: coco}\n", "3:7: data.train: format: coco needs data.train", "COCO json"),
    "splits without coco": (
        "data: {val: {images: a, annotations: b}}\n",
        "3:13: data.val: a split is given, but data is synthetic",
        "data.format: coco",
    ),
    "unset variable": (
        "data:\n  format: coco\n  train: {images: $QRECIPE_UNSET/a, annotations: b}\n"
        "  val: {images: a, annotations: b}\n",
        "5:19: data.train.images: the environment variable QRECIPE_UNSET is not set",
        "export QRECIPE_UNSET=...",
    ),
    "slash in the name": ("name: a/b\n", '3:7: name: "a/b" is not of the right form', "No slash"),
    "negative seed": ("seed: -1\n", "3:7: seed: must be at least 0; found -1", ""),
    "extends of a number": ("extends: 3\n", "3:10: extends: expected a recipe file, found 3", ""),
    "extends of nothing": ("extends: [a.yaml]\n", "3:11: extends[0]: a.yaml: no such file", "there is recipe.yaml"),
    "extends of a folder": ("extends: .\n", "3:10: extends: ", "is a folder"),
    "extends of itself": ("extends: recipe.yaml\n", "3:10: extends: recipe.yaml: extends itself", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_mistake_is_answered_at_its_place(case: str, tmp_path: Path) -> None:
    text, place, hint = CASES[case]
    found = problems(write(tmp_path, MINIMAL + text))
    matching = [line for line in found if line.startswith(f"recipe.yaml:{place}") and hint in line]
    assert matching, "\n".join(found)
