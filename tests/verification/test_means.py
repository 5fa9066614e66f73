"""Means, errors and paired comparisons against scipy and against simulated experiments with known answers."""

import math

import numpy as np
import pytest
from lift123.verification.means import paired, standard_error, student_cdf, student_quantile, summary
from scipy import stats


def table(rng, objects, seeds, spread=1.0, noise=0.3, shift=0.0):
    """{(object, seed): figure} with an effect of the object and one of the seed."""
    level = rng.normal(shift, spread, objects)
    return {(o, s): level[o] + rng.normal(0, noise) for o in range(objects) for s in range(seeds)}


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 19, 60])
def test_student_is_scipys(freedom):
    for t in (-7.5, -1.0, 0.0, 0.3, 2.0, 12.0):
        assert student_cdf(t, freedom) == pytest.approx(stats.t.cdf(t, freedom), abs=1e-12)
    for p in (0.01, 0.5, 0.9, 0.975, 0.999):
        assert student_quantile(p, freedom) == pytest.approx(stats.t.ppf(p, freedom), rel=1e-8, abs=1e-9)


def test_standard_error_is_scipys_and_absent_for_one():
    values = [0.3, 1.2, -0.7, 0.4, 2.2]
    assert standard_error(values) == pytest.approx(stats.sem(values))
    assert math.isnan(standard_error([1.0]))


def test_summary_of_one_seed_is_mean_and_sem():
    figures = table(np.random.default_rng(0), 7, 1)
    got, values = summary(figures), list(figures.values())
    assert (got.mean, got.over_objects) == (pytest.approx(np.mean(values)), pytest.approx(stats.sem(values)))
    assert math.isnan(got.over_seeds) and (got.objects, got.runs) == (7, 7)


def test_unequal_numbers_of_seeds_weigh_objects_equally():
    got = summary({("a", 0): 0.0, ("a", 1): 0.0, ("a", 2): 0.0, ("b", 0): 1.0})
    assert got.mean == 0.5 and (got.objects, got.runs) == (2, 4)


def test_both_errors_are_the_spread_of_the_mean_over_repeated_experiments():
    """Over many repetitions: new objects and seeds move the mean by over_objects, new seeds alone by over_seeds."""
    rng = np.random.default_rng(1)
    level = rng.normal(0, 1, 6)
    fixed = [summary({(o, s): level[o] + rng.normal(0, 0.5) for o in range(6) for s in range(3)}) for _ in range(1500)]
    assert np.std([f.mean for f in fixed]) == pytest.approx(np.sqrt(np.mean([f.over_seeds**2 for f in fixed])), rel=0.06)
    fresh = [summary(table(rng, 6, 3, 1.0, 0.5)) for _ in range(1500)]
    assert np.std([f.mean for f in fresh]) == pytest.approx(np.sqrt(np.mean([f.over_objects**2 for f in fresh])), rel=0.06)


def test_paired_is_scipys_paired_test_over_object_means():
    rng = np.random.default_rng(2)
    a, b = table(rng, 8, 2, shift=0.4), table(rng, 8, 2)
    got = paired(a, b)
    means = [[np.mean([f[o, s] for s in range(2)]) for o in range(8)] for f in (a, b)]
    test = stats.ttest_rel(*means)
    interval = test.confidence_interval(0.95)
    assert (got.low, got.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert got.difference.mean / got.difference.over_objects == pytest.approx(test.statistic)
    assert got.wins == sum(x > y for x, y in zip(*means, strict=True))
    assert got.sign() == (0 if test.pvalue > 0.05 else np.sign(test.statistic))


def test_paired_takes_shared_runs_only_and_sees_what_unpaired_means_hide():
    rng = np.random.default_rng(3)
    b = table(rng, 5, 1, spread=10.0)
    a = {key: value + 0.1 + rng.normal(0, 0.01) for key, value in b.items()} | {("extra", 0): 1e6}
    got = paired(a, b)
    assert got.difference.objects == 5 and got.sign() == 1 and got.wins == 5
    assert paired(b, a).sign() == -1 and summary(b).over_objects > 10 * got.difference.over_objects
    alone = paired({("x", 0): 1.0}, {("x", 0): 0.0})
    assert alone.difference.mean == 1 and alone.sign() == 0, "one object proves nothing"
    with pytest.raises(ValueError):
        paired({("x", 0): 1.0}, {("y", 0): 1.0})
    with pytest.raises(ValueError):
        summary({("x", 0): math.nan})


def test_nominal_coverage():
    """The 95 % interval of a difference holds the truth in about 95 % of experiments."""
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(800):
        got = paired(table(rng, 4, 2, 0.3, 0.5, shift=0.2), table(rng, 4, 2, 0.3, 0.5))
        held += got.low <= 0.2 <= got.high
    assert held / 800 == pytest.approx(0.95, abs=0.025)
