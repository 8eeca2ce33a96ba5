"""Which class of a head stands for which category."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrecipe.errors import ModelError
from qrecipe.models.loading.label_mapping import classes_needed, map_labels, names_of_classes, unnamed

PETS = [(3, "cat"), (1, "Dog"), (7, "bird")]
PLACEHOLDERS = {index: f"LABEL_{index}" for index in range(91)}


@pytest.mark.parametrize(
    ("categories", "classes", "id2label", "mode", "expected"),
    [
        # By name, whatever the order and the case; spare classes are left alone.
        (PETS, 4, {0: "cat ", 1: "N/A", 2: "BIRD", 3: "dog"}, "auto", {3: 0, 7: 2, 1: 3}),
        (PETS, 4, {0: "cat", 1: "fish", 2: "bird", 3: "dog"}, "auto", {3: 0, 7: 2, 1: 3}),
        # Names before counts.
        (PETS, 3, {0: "bird", 1: "cat", 2: "dog"}, "auto", {7: 0, 3: 1, 1: 2}),
        # A name that is missing, and the others where the order has them: contiguous, in ascending order of ids.
        (PETS, 3, {0: "dog", 1: "cat", 2: "fish"}, "auto", {1: 0, 3: 1, 7: 2}),
        # What stands between words makes no difference.
        ([(1, "hot-dog"), (2, "traffic light")], 2, {0: "Traffic_Light", 1: "hotdog"}, "auto", {1: 1, 2: 0}),
        # Names that differ by nothing else are told apart by it.
        ([(1, "hot dog"), (2, "hotdog")], 2, {0: "hotdog", 1: "hot dog"}, "auto", {1: 1, 2: 0}),
        # Digits are names, and none of the data's.
        (PETS, 3, {0: "1", 1: "2", 2: "3"}, "auto", {1: 0, 3: 1, 7: 2}),
        (PETS, 3, None, "auto", {1: 0, 3: 1, 7: 2}),
        # Placeholders are no names: the published DETR's ids.
        (PETS, 8, PLACEHOLDERS, "auto", {1: 1, 3: 3, 7: 7}),
        ([(1, "person"), (90, "toothbrush")], 91, PLACEHOLDERS, "auto", {1: 1, 90: 90}),
        # A category called like a placeholder, at another place than its own, is a name.
        ([(1, "LABEL_1"), (2, "LABEL_0")], 3, {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}, "auto", {1: 1, 2: 2}),
        # A name that two classes or two categories share says nothing.
        (PETS, 4, {0: "cat", 1: "cat", 2: "bird", 3: "dog"}, "auto", None),
        ([(1, "cat"), (2, "Cat")], 2, {0: "cat", 1: "dog"}, "auto", {1: 0, 2: 1}),
        # Several N/A classes are no obstacle.
        (PETS, 5, {0: "N/A", 1: "N/A", 2: "cat", 3: "dog", 4: "bird"}, "auto", {3: 2, 1: 3, 7: 4}),
        (PETS, 5, None, "auto", None),
        (PETS, 80, PLACEHOLDERS, "auto", None),
        (PETS, 2, None, "auto", None),
        (PETS, 80, {0: "cat", 1: "dog", 2: "bird"}, "contiguous", {1: 0, 3: 1, 7: 2}),
        (PETS, 2, None, "contiguous", None),
        (PETS, 8, None, "category_id", {1: 1, 3: 3, 7: 7}),
        (PETS, 91, None, "category_id", {1: 1, 3: 3, 7: 7}),
        (PETS, 7, None, "category_id", None),
        ([], 5, None, "auto", None),
    ],
)
def test_table(
    categories: list[tuple[int, str]], classes: int, id2label: Any, mode: Any, expected: dict[int, int] | None
) -> None:
    mapped = map_labels(categories, classes, id2label, mode)
    if expected is None:
        assert mapped is None
        return
    assert mapped is not None
    label_map = mapped.label_map
    assert label_map.category_to_class == expected
    assert label_map.names == dict(categories)
    assert label_map.classes == classes


@given(st.dictionaries(st.integers(0, 200), st.text("abc", min_size=1, max_size=3), min_size=1, max_size=12))
def test_a_head_made_for_the_data_maps_in_every_mode(categories: dict[int, str]) -> None:
    pairs = list(categories.items())
    for mode in ("contiguous", "category_id"):
        mapped = map_labels(pairs, classes_needed(pairs, mode), names_of_classes(pairs, mode), mode)  # type: ignore[arg-type]
        assert mapped is not None
        assert len(names_of_classes(pairs, mode)) == classes_needed(pairs, mode)  # type: ignore[arg-type]
        for category, index in mapped.label_map.category_to_class.items():
            assert names_of_classes(pairs, mode)[index] == categories[category]  # type: ignore[arg-type]
    assert map_labels(pairs, classes_needed(pairs, "auto"), None, "auto") is not None


SHAPES = {0: "circle", 1: "square", 2: "triangle"}


def message(names: list[str], id2label: dict[int, str] | None, mode: Any = "auto") -> str | None:
    """What is said of categories with ids from 1."""
    mapped = map_labels(list(enumerate(names, start=1)), len(names), id2label, mode)
    assert mapped is not None
    return mapped.message()


def test_names_in_another_order_need_no_word() -> None:
    assert message(["triangle", "Circle", "square"], SHAPES) is None


def test_classes_taken_by_order_are_said_with_their_pairs() -> None:
    said = message(["cat", "dog", "bird"], SHAPES)
    assert said is not None
    assert "no category is named as a class of the head: classes are taken in the order of the category ids" in said
    assert '"cat" (id 1) is class 0 "circle", "dog" (id 2) is class 1 "square", "bird" (id 3) is class 2' in said
    assert "model.labels: contiguous says that this is meant" in said
    nameless = message(["cat", "dog", "bird"], {index: f"LABEL_{index}" for index in range(3)})
    assert nameless is not None
    assert "the classes of the head have no names" in nameless
    assert '"dog" (id 2) is class 1,' in nameless
    assert message(["cat", "dog", "bird"], SHAPES, "contiguous") is None


def test_known_names_where_the_order_has_them_vouch_for_the_others() -> None:
    said = message(["circle", "square", "triangles"], SHAPES)
    assert said is not None
    assert "2 of 3 categories are named as classes of the head; the others are taken in the order" in said
    assert '"triangles" (id 3) is class 2 "triangle"' in said
    assert '"circle"' not in said


@pytest.mark.parametrize(
    ("names", "meant"), [(["triangles", "circle", "square"], "triangle"), (["Cirle", "triangle", "square"], "circle")]
)
def test_classes_that_a_spelling_permutes_are_an_error_with_the_pairs(names: list[str], meant: str) -> None:
    with pytest.raises(ModelError) as caught:
        message(names, SHAPES)
    assert f'not "{names[0]}" (did you mean "{meant}"?)' in caught.value.what
    assert '"square" (id 3) is class 1 "square" by name, class 2 "triangle" by order' in caught.value.what
    assert "set model.labels: contiguous if the order is right" in str(caught.value.remedy)
    assert message(names, SHAPES, "contiguous") is None


def test_ids_that_names_contradict_are_an_error_too() -> None:
    with pytest.raises(
        ModelError, match=r'"square" \(id 1\) is class 0 "square" by name, class 1 "circle" by id'
    ) as caught:
        map_labels([(1, "square"), (3, "cat")], 4, {0: "square", 1: "circle", 2: "dot", 3: "line"})
    assert "model.labels: category_id" in str(caught.value.remedy)


def test_which_names_a_head_lacks() -> None:
    categories = [(1, "person"), (2, "trafic light"), (3, "zebra")]
    assert (
        unnamed(categories, {0: "person", 1: "traffic light"})
        == (
            '2 of 3 categories are named as classes of it; not so "trafic light" (did you mean "traffic light"?)'
        ).replace("2 of 3", "1 of 3")
        + ', "zebra"'
    )
    assert unnamed(categories, {0: "cat"}) == ""


@given(st.permutations(["a", "b", "c", "d"]), st.lists(st.sampled_from("abcdxyz"), min_size=4, max_size=4, unique=True))
def test_no_known_name_is_ever_given_another_class(data: list[str], head: list[str]) -> None:
    categories = list(enumerate(data, start=1))
    try:
        mapped = map_labels(categories, 4, dict(enumerate(head)))
    except ModelError:
        mapped = None
    known = {key: head.index(name) for key, name in categories if name in head}
    ordered = {key: key - 1 for key, _ in categories}
    agree = all(ordered[key] == index for key, index in known.items())
    assert (mapped is None) == (len(known) < 4 and not agree)
    if mapped is not None:
        assert mapped.label_map.category_to_class == ordered | known
        assert (mapped.message() is None) == (len(known) == 4)
