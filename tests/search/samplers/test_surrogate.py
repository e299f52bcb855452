"""The Gaussian process: its gradient, exact interpolation, what it learns of noise and relevance."""

from __future__ import annotations

import numpy as np
import pytest

from search.samplers.surrogate import Layout, Loss, Posterior, Prior, fit

LAYOUT = Layout(
    np.array([0, 1, 2, 2, 2, 3]),
    np.array([True, True, False, False, False, True]),
    np.array([False, False, False, False, False, True]),
    num_parts=4,
)
"""Two ordered decisions, one of three options, one cost."""


def inputs(count: int, seed: int = 0) -> np.ndarray:
    """(count, 6) random rows."""
    rng = np.random.default_rng(seed)
    return np.hstack((rng.random((count, 2)), np.eye(3)[rng.integers(3, size=count)], rng.random((count, 1))))


def target(x: np.ndarray) -> np.ndarray:
    """Of one ordered decision, the options, their interaction, and the cost; the other decision does nothing."""
    return 2 * (x[:, 0] - 0.6) ** 2 + 0.5 * x[:, 2] + x[:, 0] * x[:, 3] - 1.5 * x[:, 5]


def standardised(y: np.ndarray) -> np.ndarray:
    return (y - y.mean()) / y.std()


def test_the_gradient_of_the_loss_is_that_of_finite_differences() -> None:
    x = inputs(15)
    loss = Loss(LAYOUT, x, standardised(target(x)), np.linspace(0, 0.1, 15), Prior(4))
    theta = Prior(4).mean + np.random.default_rng(1).normal(0, 0.4, 10)
    steps = np.eye(10) * 1e-5
    numeric = [(loss(theta + step)[0] - loss(theta - step)[0]) / 2e-5 for step in steps]
    assert loss(theta)[1] == pytest.approx(np.array(numeric), rel=1e-4, abs=1e-5)


def test_it_predicts_what_it_was_not_shown() -> None:
    x, new = inputs(40), inputs(200, seed=1)
    y, std = target(x), target(x).std()
    posterior = Posterior(LAYOUT, fit(LAYOUT, x, standardised(y), np.zeros(40)), x, standardised(y), np.zeros(40))
    mean, spread = posterior.predict(new)
    error = mean - (target(new) - y.mean()) / std
    assert np.sqrt((error**2).mean()) < 0.1
    assert (np.abs(error) < 2 * spread).mean() > 0.5


def test_it_finds_out_which_decision_does_nothing_and_how_large_the_noise_is() -> None:
    x, rng = inputs(150), np.random.default_rng(2)
    clean = standardised(target(x))
    found = fit(LAYOUT, x, clean + rng.normal(0, 0.3, 150), np.zeros(150))
    assert found.relevance[1] < 0.3 * found.relevance[0]
    assert 0.2 < np.sqrt(found.noise) < 0.4


def test_an_observation_with_known_noise_says_less() -> None:
    x = inputs(20)
    y = standardised(target(x))
    given = fit(LAYOUT, x, y, np.zeros(20))
    noisy = np.zeros(20)
    noisy[7] = 4.0
    _, sure = Posterior(LAYOUT, given, x, y, np.zeros(20)).predict(x[7:8])
    _, unsure = Posterior(LAYOUT, given, x, y, noisy).predict(x[7:8])
    assert unsure[0] > 1.5 * sure[0]


def test_believing_leaves_means_where_they_are_and_takes_uncertainty_away() -> None:
    x, new, others = inputs(20), inputs(3, seed=3), inputs(30, seed=4)
    y = standardised(target(x))
    posterior = Posterior(LAYOUT, fit(LAYOUT, x, y, np.zeros(20)), x, y, np.zeros(20))
    before, after = posterior.predict(others), posterior.believe(new).predict(others)
    assert after[0] == pytest.approx(before[0], abs=1e-6)
    assert (after[1] <= before[1] + 1e-9).all()
    at_new = posterior.predict(new)[1], posterior.believe(new).predict(new)[1]
    assert (at_new[1] < 0.7 * at_new[0]).all()
