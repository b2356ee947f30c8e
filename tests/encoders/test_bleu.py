"""BLEU against values worked out by hand from its definition."""

import math

import pytest

from t2icli.encoders._bleu import bleu


def split(*texts: str) -> list[list[str]]:
    return [text.split() for text in texts]


def test_equal_corpora_have_one() -> None:
    texts = split("a red bus on the street", "the sea is very calm")
    assert bleu(texts, texts) == 1


def test_precisions_by_hand() -> None:
    # runs of 1: 5 of 6; of 2: 4 of 5; of 3: 3 of 4; of 4: 2 of 3. Equal lengths: no penalty.
    value = bleu(split("a red bus on the road"), split("a red bus on the street"))
    assert value == pytest.approx((5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** (1 / 4))


def test_repeated_words_count_no_more_often_than_in_the_reference() -> None:
    # The example of the paper's section 2.1: "the" seven times, of which the reference has two.
    described, reference = split("the the the the the the the"), split("the cat is on the mat")
    assert bleu(described, reference, longest=1) == pytest.approx(2 / 7)
    assert bleu(described, reference) == 0


def test_short_descriptions_are_punished_and_long_ones_are_not() -> None:
    assert bleu(split("a red bus on"), split("a red bus on the street")) == pytest.approx(math.exp(1 - 6 / 4))
    # all four runs of 4 of the reference's words are there; of ours 6/8, 5/7, 4/6, 3/5
    value = bleu(split("a red bus on the street of dreams"), split("a red bus on the street"))
    assert value == pytest.approx((6 / 8 * 5 / 7 * 4 / 6 * 3 / 5) ** (1 / 4))


def test_counts_of_a_corpus_are_added_before_they_are_divided() -> None:
    described = split("a red bus on the street", "a cat")
    references = split("a red bus on the street", "the dog sleeps here")
    # runs of 1: 6 of 8; of 2: 5 of 6; of 3: 4 of 4; of 4: 3 of 3; 8 words for 10.
    expected = math.exp(1 - 10 / 8) * (6 / 8 * 5 / 6) ** (1 / 4)
    assert bleu(described, references) == pytest.approx(expected)


@pytest.mark.parametrize("described", ["", "a", "a red bus", "on street bus the"])
def test_no_shared_run_of_four_is_nothing(described: str) -> None:
    assert bleu(split(described), split("a red bus on the street")) == 0


def test_both_sides_must_be_of_one_length() -> None:
    with pytest.raises(ValueError, match="zip"):
        bleu(split("a"), split("a", "b"))
