"""Curves: means over spans, few points however long, and two halves that are one."""

from lift123.pipelines.core.curve import MOST, Curve, joined, rows


def drawn(first: int, last: int, value) -> dict:
    curve = Curve()
    for index in range(first, last + 1):
        curve.add(index, {"rgb": value(index)} if index % 2 else {"prior": -1.0}, {"CLIP score": 0.3} if index == 4 else {})
    return curve.to_json()


def test_a_short_curve_has_every_iteration():
    curve = drawn(1, 4, float)
    assert curve == {"every": 1, "steps": [1, 2, 3, 4], "losses": {"rgb": [1.0, None, 3.0, None],
                     "prior": [None, -1.0, None, -1.0]}, "scores": {"CLIP score": [[4, 0.3]]}}


def test_a_long_curve_has_means_of_spans():
    curve = drawn(1, 3 * MOST, float)
    assert curve["every"] == 4 and len(curve["steps"]) == 3 * MOST // 4 and curve["steps"][-1] == 3 * MOST
    assert curve["losses"]["rgb"][:2] == [2.0, 6.0], "(1 + 3) / 2 and (5 + 7) / 2; the turns without the term do not count"
    assert set(curve["losses"]["prior"]) == {-1.0}


def test_what_is_not_finite_leaves_a_gap():
    curve = Curve()
    for index, value in enumerate((1.0, float("nan"), float("inf")), 1):
        curve.add(index, {"rgb": value}, {"CLIP score": value})
    assert curve.to_json()["losses"] == {"rgb": [1.0, None, None]} and curve.to_json()["scores"] == {"CLIP score": [[1, 1.0]]}


def test_a_stage_that_went_on_has_one_curve():
    whole = drawn(1, 10, float)
    assert joined(drawn(1, 6, float), drawn(7, 10, float)) == whole
    assert joined(None, whole) == whole and joined(whole, whole) == whole, "begun anew: not twice"


def test_the_table_has_a_row_per_point_and_a_column_per_name():
    head, table = rows({"one": drawn(1, 3, float), "two": {"every": 2, "steps": [2], "losses": {"mask": [0.5]},
                                                           "scores": {"CLIP score": [[1, 0.2]]}}})
    assert head == ["stage", "step", "rgb", "prior", "mask", "CLIP score"]
    assert table == [["one", 1, 1.0, None, None, None], ["one", 2, None, -1.0, None, None], ["one", 3, 3.0, None, None, None],
                     ["two", 1, None, None, None, 0.2], ["two", 2, None, None, 0.5, None]]
