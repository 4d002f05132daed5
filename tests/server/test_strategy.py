"""Strategies: what the papers say, in a few lines each; liars; keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from builders import study_table
from sent_updates import PATIENTS, SHAPES, N, drawn, release, start, table

from experiments.simulate.in_process import _identity
from server import strategy as strategies
from server.strategy import StrategyBroken
from tasks.strategy import STRATEGIES, StrategySpec
from tasks.study import Study

ROUNDS = 4


@pytest.fixture(autouse=True)
def _in_a_run():
    """Flower makes no message outside a run."""
    with _identity(run_id=1, node_id=1):
        yield


def flat(weights) -> np.ndarray:
    return np.concatenate([np.ravel(weights[name]).astype(float) for name in sorted(weights)])


# What the papers say, on vectors: x is where the round began, ys what came, p the shares


class ByHand:
    """A strategy in a few lines: m and v are its memory."""

    def __init__(self, step: Callable[..., np.ndarray]) -> None:
        self.step, self.m, self.v, self.t = step, 0.0, 0.0, 0

    def __call__(self, x: np.ndarray, ys: np.ndarray) -> np.ndarray:
        self.t += 1
        return self.step(self, x, ys, np.array(PATIENTS) / sum(PATIENTS))


def mean(of, x, ys, p):
    return p @ ys


def half_way(of, x, ys, p):
    return x + 0.5 * (p @ ys - x)


def momentum(of, x, ys, p):
    of.v = 0.8 * of.v + (p @ ys - x)
    return x + 0.7 * of.v


def adam(of, x, ys, p):
    d = p @ ys - x
    of.m, of.v = 0.6 * of.m + 0.4 * d, 0.9 * of.v + 0.1 * d**2
    # Flower counts one round more than there were.
    rate = 0.3 * np.sqrt(1 - 0.9 ** (of.t + 1)) / (1 - 0.6 ** (of.t + 1))
    return x + rate * of.m / (np.sqrt(of.v) + 0.02)


def yogi(of, x, ys, p):
    d = p @ ys - x
    of.m = 0.6 * of.m + 0.4 * d
    of.v = of.v - 0.1 * d**2 * np.sign(of.v - d**2)
    return x + 0.3 * of.m / (np.sqrt(of.v) + 0.02)


def adagrad(of, x, ys, p):
    d = p @ ys - x
    of.v = of.v + d**2
    return x + 0.3 * d / (np.sqrt(of.v) + 0.02)


def median(of, x, ys, p):
    return np.sort(ys, axis=0)[N // 2]


def trimmed(of, x, ys, p):
    return np.sort(ys, axis=0)[2:-2].mean(axis=0)


def scores(ys: np.ndarray, malicious: int) -> np.ndarray:
    distances = ((ys[:, None] - ys[None]) ** 2).sum(-1)
    return np.sort(distances, axis=1)[:, 1 : N - malicious - 1].sum(1)


def krum(of, x, ys, p):
    return ys[np.argmin(scores(ys, 2))]


def best(number: int):
    def select(of, x, ys, p):
        chosen = np.argsort(scores(ys, 2))[:number]
        return p[chosen] @ ys[chosen] / p[chosen].sum()

    return select


MOMENTS = {"server_learning_rate": 0.3, "tau": 0.02}
LAWS = {
    "fedavg": (table("fedavg"), mean),
    "fedavg, half way": (table("fedavg", server_learning_rate=0.5), half_way),
    "fedavgm": (table("fedavgm", server_learning_rate=0.7, momentum=0.8), momentum),
    "fedprox": (table("fedprox", proximal_mu=3), mean),
    "fedadam": (table("fedadam", **MOMENTS, beta_1=0.6, beta_2=0.9), adam),
    "fedyogi": (table("fedyogi", **MOMENTS, beta_1=0.6, beta_2=0.9), yogi),
    "fedadagrad": (table("fedadagrad", **MOMENTS), adagrad),
    "fedmedian": (table("fedmedian"), median),
    "fedtrimmedavg": (table("fedtrimmedavg", trimmed_share=0.3), trimmed),
    "krum": (table("krum", malicious_sites=2, minimum_sites=7), krum),
    "multikrum": (table("multikrum", malicious_sites=2, minimum_sites=7), best(5)),
    "multikrum, three": (
        table("multikrum", malicious_sites=2, minimum_sites=7, sites_to_select=3), best(3)
    ),
}  # fmt: skip
every_law = pytest.mark.parametrize(("spec", "step"), LAWS.values(), ids=LAWS)


def followed(
    spec: StrategySpec, *, order: Sequence[int] = range(N)
) -> tuple[list[tuple[dict, dict, list]], dict[str, np.ndarray]]:
    """Some rounds: the weights before and after each, and what came; and the state left."""
    weights, state, rounds = start(), {}, []
    for number in range(1, ROUNDS + 1):
        came = drawn(number, weights)
        releases = [release(site, came[site], PATIENTS[site]) for site in order]
        after, state = strategies.aggregate(
            spec, releases, round=number, weights=weights, state=state
        )
        rounds.append((weights, after, came))
        weights = after
    return rounds, state


def test_every_kind_of_ours_has_a_law():
    assert {spec.kind for spec, _ in LAWS.values()} == set(STRATEGIES._ours)


@every_law
def test_a_strategy_does_what_its_paper_says(spec, step):
    by_hand = ByHand(step)
    for before, after, came in followed(spec)[0]:
        expected = by_hand(flat(before), np.stack([flat(update) for update in came]))
        np.testing.assert_allclose(flat(after), expected, rtol=2e-6, atol=1e-7)
        assert {name: value.shape for name, value in after.items()} == SHAPES
        assert {value.dtype for value in after.values()} == {np.dtype(np.float32)}


@every_law
def test_the_order_in_which_updates_came_changes_no_bit(spec, step):
    (one, state), (other, its_state) = followed(spec), followed(spec, order=[4, 0, 6, 2, 5, 1, 3])
    for name in SHAPES:
        assert one[-1][1][name].tobytes() == other[-1][1][name].tobytes()
    # In double precision, where a sum in another order shows.
    assert {name: value.tobytes() for name, value in state.items()} == {
        name: value.tobytes() for name, value in its_state.items()
    }
    assert bool(state) is (spec.kind in {"fedavgm", *QUIET})


def test_the_average_is_the_exact_one_rounded_once():
    """In single precision the sum of these would be off."""
    values = np.float32([1e4, 1e-3, -1e4, 3e-3, 1.1, 7e3, -7e3])
    came = [release(n, {"a": [v]}, 2) for n, v in enumerate(values)]
    weights = {"a": np.zeros(1, np.float32)}
    after, _ = strategies.aggregate(table("fedavg"), came, round=1, weights=weights, state={})
    assert after["a"][0] == np.float32(np.sum(values.astype(float)) / N)


@pytest.mark.parametrize("power", [0, 1, 2, 0.5])
def test_sites_weigh_by_a_power_of_their_declared_patients(power: float):
    values, patients = [1.0, 5.0, -2.0], [100, 300, 50]
    came = [release(n, {"a": [values[n]]}, patients[n]) for n in range(3)]
    weights = {"a": np.zeros(1, np.float32)}
    spec = table("fedavg", weight_power=power)
    after, _ = strategies.aggregate(spec, came, round=1, weights=weights, state={})
    shares = np.array(patients, float) ** power
    assert after["a"][0] == pytest.approx(np.average(values, weights=shares), rel=1e-6)
    assert spec.averages is (power == 1)


@pytest.mark.parametrize("last", [1, 3, 5])
def test_the_final_weights_are_the_mean_of_the_last_rounds(last: int):
    """Summed in double precision: the mean of 1 and 1 + 2^-23 is rounded once."""
    spec, state = table("fedavg", mean_of_last=last), {}
    came = [{"a": np.float32([n, 1 + n * 2.0**-23])} for n in (3, 1, 4, 1, 5)]
    for number, weights in enumerate(came, 1):
        after, state = strategies.final_mean(spec, weights, round=number, rounds=5, state=state)
        if number < 5:
            assert after is weights
    expected = np.mean([w["a"].astype(float) for w in came[-last:]], axis=0).astype(np.float32)
    assert after["a"].tobytes() == expected.tobytes()
    assert after["a"].dtype == np.float32
    assert state == {}


def test_krum_sees_small_distances_between_large_weights():
    """In single precision the squares of these weights would swallow their differences."""
    offsets = [0.5, 0.501, 0.502, 0.503, 9, -9, 18]
    came = [release(n, {"a": 3000 + np.float32([v, -v])}, 2) for n, v in enumerate(offsets)]
    weights = {"a": np.zeros(2, np.float32)}
    spec = table("krum", malicious_sites=2, minimum_sites=7)
    after, _ = strategies.aggregate(spec, came, round=1, weights=weights, state={})
    assert abs(float(after["a"][0]) - 3000.5) < 0.01


# Liars


def loss(weights: dict[str, np.ndarray], data: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    return float(np.mean([np.mean((x @ weights["w"] - y) ** 2) for x, y in data]))


def learned(spec: StrategySpec, lie: Callable[..., tuple[np.ndarray, int]] | None) -> float:
    """The honest sites' loss after ten rounds of least squares at seven, over that at the start."""
    random = np.random.default_rng(1)
    truth, data = random.normal(size=4), []
    for _ in range(N):
        x = random.normal(size=(40, 4))
        data.append((x, x @ (truth + random.normal(size=4) * 0.05) + random.normal(size=40) * 0.1))
    weights, state = {"w": np.zeros(4, np.float32)}, {}
    begun = loss(weights, data[1:])
    for number in range(1, 11):
        came = []
        for site, (x, y) in enumerate(data):
            w = weights["w"].astype(float)
            for _ in range(5):
                w -= 0.1 * x.T @ (x @ w - y) / len(y)
            patients = 40
            if lie is not None and site == 0:
                w, patients = lie(weights["w"], w)
            came.append(release(site, {"w": w}, patients))
        try:
            weights, state = strategies.aggregate(
                spec, came, round=number, weights=weights, state=state
            )
        except StrategyBroken:
            return np.inf
    return loss(weights, data[1:]) / begun


LIES = {
    "flipped, as if of many": lambda before, after: (before - (after - before), 400),
    "flipped and enlarged": lambda before, after: (before - 20 * (after - before), 40),
    "a hundred times": lambda before, after: (before + 100 * (after - before), 40),
    "rubbish": lambda before, after: (np.float32([1e3, -1e3, 1e3, -1e3]), 40),
}
ROBUST = ["fedmedian", "fedtrimmedavg", "krum", "multikrum"]
QUIET = ["fedadam", "fedyogi", "fedadagrad"]


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_one_liar_ruins_the_mean_and_not_the_robust(lie):
    assert learned(table("fedavg"), lie) > 1  # worse than untrained
    for kind in ROBUST:
        assert learned(table(kind), lie) < 0.03, kind


@pytest.mark.parametrize("kind", [*STRATEGIES._ours])
def test_without_a_liar_all_learn(kind):
    keys = {"server_learning_rate": 0.3} if kind in QUIET else {}
    assert learned(table(kind, **keys), None) < (0.03 if kind in ROBUST else 0.3)


# Keys


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"kind": "fedavg", "sites_per_round": 1}, "sites_per_round must not be below"),
        ({"kind": "fedavg", "server_learning_rate": 0}, "server_learning_rate"),
        ({"kind": "fedavgm", "momentum": 1}, "momentum"),
        ({"kind": "fedprox", "proximal_mu": 0}, "proximal_mu"),
        ({"kind": "fedadam", "beta_2": 1}, "beta_2"),
        ({"kind": "fedyogi", "tau": 0}, "tau"),
        ({"kind": "fedmedian", "minimum_sites": 2}, "minimum_sites"),
        ({"kind": "fedtrimmedavg", "trimmed_share": 0.5}, "trimmed_share"),
        ({"kind": "fedtrimmedavg", "minimum_sites": 4}, "at least one site"),
        ({"kind": "krum", "malicious_sites": 2}, "twice malicious_sites plus three"),
        ({"kind": "multikrum", "minimum_sites": 4}, "twice malicious_sites plus three"),
        ({"kind": "multikrum", "sites_to_select": 5}, "leave out as many sites as may lie"),
    ],
    ids=str,
)
def test_keys_that_make_no_sense_are_refused(keys, said):
    with pytest.raises(ValueError, match=said):
        STRATEGIES.parse(keys)


def test_a_proximal_term_that_overshoots_is_refused():
    with pytest.raises(ValueError, match=r"proximal_mu times optimizer\.learning_rate"):
        Study.parse_table(study_table(strategy={"kind": "fedprox", "proximal_mu": 2.1}), where="x")
    Study.parse_table(study_table(strategy={"kind": "fedprox", "proximal_mu": 2.0}), where="x")


def test_weights_that_run_away_are_named_and_not_sent_out():
    spec = table("fedavg", server_learning_rate=1e7)
    came = [release(n, update, 2) for n, update in enumerate(drawn(1, start()))]
    with pytest.raises(StrategyBroken, match=r"'fedavg' made weights beyond 1e\+06 in [abc]; take"):
        strategies.aggregate(spec, came, round=1, weights=start(), state={})
