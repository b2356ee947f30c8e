"""HTML made of escaped text and closed tags, and numbers as pages show them."""

import pytest

from t2icli.evaluation.report.markup import escape, number, rounded, tag


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (26.1234, "26.12"),
        (123.456, "123.46"),
        (12345.678, "12,345.7"),
        (4.3612, "4.361"),
        (0.01, "0.0100"),
        (-0.5, "−0.5000"),
        (-1.6e-5, "−1.6e−05"),
        (0.0, "0.0000"),
        (0, "0"),
        (40_504, "40,504"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_are_short_and_carry_their_exact_value(value, text):
    assert rounded(value) == text
    assert number(value) == f'<data value="{value}">{text}</data>'


def test_markup_escapes_all_but_its_own():
    assert tag("p", "<b>", tag("b", "&"), class_="x", aria_label='"') == (
        '<p class="x" aria-label="&quot;">&lt;b&gt;<b>&amp;</b></p>'
    )
    assert tag("img", alt="") == '<img alt="">'
    assert escape("a\tb\nc\x7f") == "a\tb\nc\ufffd"
    assert number(None) == "–"
    assert number("<10") == "&lt;10"
