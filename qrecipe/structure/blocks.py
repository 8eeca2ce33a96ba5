"""Finds the blocks of a network: residual blocks, encoder and decoder layers, and operations that stand alone.

A block is what a reconstruction optimises at once (Li et al., BRECQ, arXiv 2102.05426, section 3.2): large enough that
errors inside it may compensate each other, small enough that few images do for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import fx

from ..graph.choices import CHOICES
from ..graph.flow import within
from ..graph.shapes import is_float, shape_of
from .operands import OPERATORS, WEIGHTED, reads_features

LARGEST = 24
"""A region with more weighted operations than this is no block but a part of the network that has blocks in it."""
LONGEST = 4
"""Operations of a sequence that is a block."""


@dataclass(frozen=True)
class Block:
    """Consecutive nodes of a graph.

    name: the module's path, or that of its only weighted operation. nodes: in order, those in front of it that belong
    to no block included. weighted: how many operations with weights it has.
    """

    name: str
    nodes: tuple[fx.Node, ...]
    weighted: int


def find_blocks(graph: fx.Graph) -> tuple[Block, ...]:
    """The blocks of a graph in the order in which they run; together they hold every node but inputs and output.

    The last block may have no weighted operation: it is what follows the last one that has. A block ends behind a
    choice among places, as a top-k.
    """
    nodes = [node for node in graph.nodes if node.op in ("call_function", "call_module")]
    labels = _labels(nodes)
    ends = []
    for index, node in enumerate(nodes):
        if (labels[node] and not _goes_on(nodes, labels, index)) or node.target in CHOICES:
            ends.append(index)
    blocks, start = [], 0
    for end in [*ends, len(nodes) - 1]:
        own = tuple(nodes[start : end + 1])
        if own:
            named = Counter(labels[node] for node in own if labels[node])
            name = named.most_common(1)[0][0] if named else _outer(own)
            blocks.append(Block(name, own, sum(is_weighted(node) for node in own)))
        start = end + 1
    return _numbered(blocks)


def up_to_last_weighted(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Those that are reconstructed: behind the last weighted operation nothing is left to learn."""
    last = max((index for index, block in enumerate(blocks) if block.weighted), default=-1)
    return tuple(blocks[: last + 1])


def is_weighted(node: fx.Node) -> bool:
    """Whether a node is a convolution or a linear layer."""
    if node.op != "call_function" or OPERATORS.get(node.target) not in WEIGHTED:
        return False
    return len(shape_of(node.args[1]) or (0, 0)) > 1  # not D-FINE's integral: a product with a vector


def _labels(nodes: Sequence[fx.Node]) -> dict[fx.Node, str]:
    """The block of each node by its module, "" where it belongs to none."""
    modules = {node: str(node.meta.get("module", "")) for node in nodes}
    weighted = [modules[node] for node in nodes if is_weighted(node)]
    residual = {modules[node] for node in nodes if is_residual(node) and modules[node]}
    chosen = {path for path in residual if 1 < sum(within(module, path) for module in weighted) <= LARGEST}
    outermost = {path for path in chosen if not any(path != other and within(path, other) for other in chosen)}
    alone = {path for path in weighted if not any(within(path, other) for other in outermost)}
    labels = {}
    for node in nodes:
        label = next((path for path in outermost if within(modules[node], path)), "")
        labels[node] = label or (_sequence(modules[node], alone) if is_weighted(node) else "")
    return labels


def _sequence(path: str, alone: set[str]) -> str:
    """The module around a few operations that stand side by side, such as the layers of a box head; else itself."""
    around = path.rpartition(".")[0]
    beside = {other for other in alone if within(other, around)} if around else set()
    if not (1 < len(beside) <= LONGEST and all(other.rpartition(".")[0] == around for other in beside)):
        return path
    while (outer := around.rpartition(".")[0]) and beside == {other for other in alone if within(other, outer)}:
        around = outer  # the module whose code it is, not the list that holds its layers
    return around


def is_residual(node: fx.Node) -> bool:
    """Whether a sum or concatenation joins a value with something that was computed from it: a skip connection.

    A sum of two values that its module computes from a third is one too: the skip is a projection there, as in the
    first block of each stage of a ResNet; so are other parallel branches, as RT-DETR's CSP layers have them.
    """
    operator = OPERATORS.get(node.target) if node.op == "call_function" else None
    if operator not in ("add", "cat") or not reads_features(node):
        return False
    before = {source: _before(source, node) for source in node.all_input_nodes}
    if any(a is not b and a in before[b] for a in before for b in before):
        return True
    if operator != "add" or len(before) != 2 or not all(_is_of(source, node) for source in before):
        return False
    common = [value for value in set.intersection(*before.values()) if value.op != "get_attr"]
    return any(is_float(value) and len(shape_of(value) or ()) == len(shape_of(node) or ()) for value in common)


def _is_of(node: fx.Node, inside: fx.Node) -> bool:
    """Whether a node is of the module of ``inside``; a quantizer is of none, and counts for what it quantizes."""
    path, module = str(inside.meta.get("module", "")), str(node.meta.get("module", ""))
    if not module and node.op == "call_module":
        return all(_is_of(source, inside) for source in node.all_input_nodes)
    return within(module, path)


def _before(node: fx.Node, inside: fx.Node, limit: int = 400) -> set[fx.Node]:
    """What a node is computed from within the module of ``inside``."""
    path = str(inside.meta.get("module", ""))
    found: set[fx.Node] = set()
    pending = [node]
    while pending and len(found) < limit:
        for source in pending.pop().all_input_nodes:
            if source not in found:
                found.add(source)
                if within(str(source.meta.get("module", "")), path):
                    pending.append(source)
    return found


def _goes_on(nodes: Sequence[fx.Node], labels: dict[fx.Node, str], index: int) -> bool:
    """Whether the next labelled node is of the same block and the same call of it."""
    own = labels[nodes[index]]
    for node in nodes[index + 1 :]:
        if labels[node]:
            return labels[node] == own
        if _leaves(node, own):
            return False
    return False


def _leaves(node: fx.Node, path: str) -> bool:
    """Whether a node belongs to another module: a block that is called again begins anew behind it."""
    module = str(node.meta.get("module", ""))
    return bool(module) and not within(module, path) and not within(path, module)


def _outer(nodes: Iterable[fx.Node]) -> str:
    modules = Counter(str(node.meta.get("module", "")) for node in nodes)
    return modules.most_common(1)[0][0] or "(the model itself)"


def _numbered(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Names that occur more than once get a number: ``head@1`` is its second call."""
    seen: Counter[str] = Counter()
    found = []
    for block in blocks:
        again = seen[block.name]
        seen[block.name] += 1
        found.append(Block(f"{block.name}@{again}" if again else block.name, block.nodes, block.weighted))
    return tuple(found)
