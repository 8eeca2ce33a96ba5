"""What a terminal would obey, hide or be flooded by is never printed as it is."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrecipe.cli.console import TerminalConsole, complain, say, warn
from qrecipe.plain_text import LONGEST, bounded, printable, short

ANY = st.text(st.characters())  # half characters and unassigned ones too
NASTY = "a\x1b[31m\r\nb\u202e\ud800\u2028\udcff\ue000\u0378\x7f"


def test_what_is_escaped_and_what_is_not() -> None:
    assert printable(NASTY) == r"a\x1b[31m\r\nb\u202e\ud800\u2028\udcff\ue000\u0378\x7f"
    assert printable("a\n\tb", keep="\n") == "a\n\\tb"
    for text in ("", "plain", "日本語\u3000タ", "naïve café", "🦉", "a b"):
        assert printable(text) == text


@given(ANY)
def test_what_is_printable_can_be_printed_anywhere(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert printable(shown) == shown
    assert "\n" not in shown
    assert "\x1b" not in shown


@given(st.one_of(ANY, st.builds(lambda part, times: part * times, ANY, st.integers(1, 500))), st.integers(4, 80))
def test_short_keeps_the_beginning(text: str, limit: int) -> None:
    shown = short(text, limit)
    assert len(shown) <= limit
    assert shown == printable(text) or (shown.endswith("...") and printable(text).startswith(shown[:-3]))
    assert len(short(text)) <= LONGEST


def test_short_does_not_walk_through_all_of_it() -> None:
    assert short("x" * 10_000_000, 10) == "xxxxxxx..."


def test_everything_that_is_said_goes_through_it(capsys: pytest.CaptureFixture[str]) -> None:
    file = io.StringIO()
    say(TerminalConsole(file=file), f"one\n{NASTY}")
    complain([NASTY])
    warn([NASTY])
    for text in (file.getvalue(), capsys.readouterr().err):
        text.encode()
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert r"\x1b[31m" in text


def test_what_nobody_reads_is_left_out() -> None:
    """Of a word, and of a line of many words; a path of any length that a system takes is whole."""
    path = "/a" * 200
    assert bounded(f"{path}: missing") == f"{path}: missing"
    assert bounded(f"no {'x' * 5000} here\nsecond") == f"no {'x' * LONGEST}...{'x' * LONGEST} here\nsecond"
    long = bounded("begin " + "word " * 1000 + "end (remedy)")
    assert long.startswith("begin word ")
    assert long.endswith("word end (remedy)")
    assert len(long) < 2100
