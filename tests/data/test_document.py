"""Every field of a COCO json that anything reads, of every type that exporters write."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest

from qrecipe.data.document import Annotation, Category, Document, ImageEntry, read_document
from qrecipe.data.fields import ABSENT, FIELDS, shown
from qrecipe.data.problems import Problems
from qrecipe.errors import DataError

SOUND: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
    "annotations": [
        {"id": 5, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0},
        {"id": 6, "image_id": 1, "category_id": 3, "bbox": [5, 6, 7, 8], "area": 9.5, "iscrowd": 1},
    ],
    "categories": [{"id": 3, "name": "cat"}],
}
READ = Document(
    Path(),
    (ImageEntry(1, "a.png", 64, 48),),
    (Annotation(5, 1, 3, (1, 2, 3, 4), 12, False), Annotation(6, 1, 3, (5, 6, 7, 8), 9.5, True)),
    (Category(3, "cat"),),
)


def changed(kind: str, place: int, field: str, value: object) -> dict[str, Any]:
    document = copy.deepcopy(SOUND)
    if value is ABSENT:
        del document[kind][place][field]
    else:
        document[kind][place][field] = value
    return document


def check(folder: Path, document: object) -> tuple[Document | None, str]:
    """What was read, and what was wrong: one of the two."""
    path = folder / "a.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    problems = Problems()
    try:
        found = read_document(path, problems)
        problems.raise_any(path)
    except DataError as error:
        return None, error.what
    return Document(Path(), found.images, found.annotations, found.categories), ""


def test_a_sound_one(tmp_path: Path) -> None:
    assert check(tmp_path, SOUND) == (READ, "")


def test_whole_floats_are_whole_numbers(tmp_path: Path) -> None:
    floats = json.loads(json.dumps(SOUND), parse_int=float)
    assert json.dumps(floats).count(".0") == 21
    assert check(tmp_path, floats) == (READ, "")


@pytest.mark.parametrize("value", [0, 0.0, -0.0, False, None, ABSENT])
def test_no_crowd(tmp_path: Path, value: object) -> None:
    assert check(tmp_path, changed("annotations", 0, "iscrowd", value)) == (READ, "")


@pytest.mark.parametrize("value", [1, 1.0, True])
def test_a_crowd(tmp_path: Path, value: object) -> None:
    assert check(tmp_path, changed("annotations", 1, "iscrowd", value)) == (READ, "")


@pytest.mark.parametrize("value", [None, ABSENT])
def test_without_an_area_the_box_has_its_own(tmp_path: Path, value: object) -> None:
    found, _ = check(tmp_path, changed("annotations", 1, "area", value))
    assert found is not None
    assert found.annotations[1].area == 56


WRONG: dict[tuple[str, str], tuple[object, ...]] = {
    ("annotations", "iscrowd"): ("0", "1", "false", "", 2, -1, 0.5, math.nan, [0], {}),
    ("annotations", "area"): ("12", -1, math.nan, math.inf, 1e11, True, [], {"a": 1}),
    ("annotations", "bbox"): (
        *(None, ABSENT, "1,2,3,4", {}, [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, "4"], [1, 2, 3, None]),
        *([1, 2, math.nan, 4], [True, 2, 3, 4], [1, 2, 1e6, 4], [1, 2, 3, -1e6], [1e5]),
    ),
    ("annotations", "id"): (None, ABSENT, "5", 5.5, True, [5], 1 << 63, -(1 << 63) - 1, 1e300),
    ("annotations", "image_id"): (None, ABSENT, "1", 1.5, False, math.inf, 1 << 64),
    ("annotations", "category_id"): (None, ABSENT, "3", {"id": 3}, math.nan),
    ("images", "id"): (None, ABSENT, "1", 1.5, True),
    ("images", "width"): (None, ABSENT, "64", 0, -64, 64.5, math.nan, True),
    ("images", "height"): (None, ABSENT, "48", 0, 1e30),
    ("images", "file_name"): (None, ABSENT, 1, ["a.png"], True),
    ("categories", "id"): (None, ABSENT, "3", 3.5),
    ("categories", "name"): (None, ABSENT, 1, 1.0, ["cat"], "\ud800"),
}


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [(*place, value) for place, values in WRONG.items() for value in values],
    ids=lambda part: "absent" if part is ABSENT else repr(part)[:20],
)
def test_what_is_wrong_is_named_alone(tmp_path: Path, kind: str, field: str, value: object) -> None:
    """The field, the value as the json has it, and nothing of what follows from it."""
    _, what = check(tmp_path, changed(kind, 0, field, value))
    first = SOUND[kind][0]["id"]
    label = f"{kind}[0]" if field == "id" else str(first)
    written = "absent" if value is ABSENT else "{...}" if isinstance(value, dict) and value else json.dumps(value)
    expected = f"{kind} whose {field} {FIELDS[kind][field][1]}: 1 ({label}: {written})"
    assert what == f"the data cannot be used:\n  {expected}"


def test_every_field_is_tried() -> None:
    assert set(WRONG) == {(kind, field) for kind, fields in FIELDS.items() for field in fields}


@pytest.mark.parametrize(("kind", "one"), [("images", "image"), ("categories", "category")])
def test_of_an_unknown_owner(tmp_path: Path, kind: str, one: str) -> None:
    document = changed("annotations", 0, f"{one}_id", 9)
    _, what = check(tmp_path, document)
    assert what.endswith(f"\n  annotations of an unknown {one}: 1 (5: {one}_id 9)")
    # As long as an id cannot be read, that one may be meant.
    document[kind].append({**document[kind][0], "id": "9"})
    _, what = check(tmp_path, document)
    assert what.splitlines()[1:] == [f'  {kind} whose id is not a whole number of 64 bits: 1 ({kind}[1]: "9")']


def test_ids_that_are_used_twice(tmp_path: Path) -> None:
    document = {kind: [*entries, entries[0]] for kind, entries in SOUND.items()}
    _, what = check(tmp_path, document)
    assert what.splitlines()[1:] == [f"  {one} ids used twice: 1 ({key})" for one, key in TWICE]


TWICE = (("image", 1), ("category", 3), ("annotation", 5))


def test_a_key_that_is_given_twice(tmp_path: Path) -> None:
    text = json.dumps(SOUND)
    _, what = check(tmp_path, text.replace('"width": 64', '"width": 64, "width": 32'))
    assert what.splitlines()[1:] == ["  images with a key given twice: 1 (1: width)"]
    assert check(tmp_path, text.replace('"width": 64', '"x": 64, "x": 32, "width": 64')) == (READ, "")  # read by nobody
    _, what = check(tmp_path, text.replace('"images"', '"images": [], "images"'))
    assert what == "the json is not COCO's: images given twice"


@pytest.mark.parametrize("kind", list(SOUND))
@pytest.mark.parametrize(
    ("entries", "what"),
    [
        (ABSENT, "{} is absent, not a list of objects"),
        (None, "{} is null, not a list of objects"),
        ({"1": {}}, "{} is {{...}}, not a list of objects"),
        ("x", '{} is "x", not a list of objects'),
        ([{}, 5], "{}[1] is 5, not an object"),
        ([[]], "{}[0] is [], not an object"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, kind: str, entries: object, what: str) -> None:
    document = {key: value for key, value in SOUND.items() if key != kind or entries is not ABSENT}
    if entries is not ABSENT:
        document[kind] = entries
    assert check(tmp_path, document) == (None, f"the json is not COCO's: {what.format(kind)}")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": {"b": []}}, "{...}"),
        ([1, [2, 3], {"a": 1}, "x"], '[1, [...], {...}, "x"]'),
        (list(range(20)), "[0, 1, 2, 3, 4, 5, 6, 7, ...]"),
        ("a\nb\x1b", r'"a\nb\u001b"'),
        ("\u202e", r'"\u202e"'),
        ("x" * 5000, '"' + "x" * 56 + "..."),
        (["x" * 5000], '["' + "x" * 55 + "..."),
        (True, "true"),
        (1.5, "1.5"),
    ],
)
def test_values_are_shown_short_and_on_one_line(value: object, text: str) -> None:
    assert shown(value) == text
