"""Visited states and the weights of components in them, against episodes stepped here."""

import math
import sys

import numpy as np
import pytest
import torch
from gate_cases import mean_weights
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from rollout_cases import staggered
from scipy import stats
from tensordict import TensorDict
from torchrl.envs.utils import ExplorationType, exploration_type, set_exploration_type

from torchrl_mixture.envs import MultiGoal
from torchrl_mixture.modules import ComponentCritic, GatedPolicy, PriorNetwork, mixture_actor
from torchrl_mixture.studies import describe_split, play_split, plot_split

COLORS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000"]
ALPHA, TEMPERATURE = 0.4, 0.7
PALEST = 0.25  # of equal components


def parts(env, size=3, acting="mixture"):
    """A policy and a prior whose components differ."""
    known = {"observation_spec": env.observation_spec, "num_cells": (8,)}
    actor = mixture_actor(env.action_spec, size, learn_weights=False, loc_spread=0.5, **known)
    critics = [ComponentCritic(env.action_spec, 1, **known) for _ in range(2)]
    params = TensorDict.from_modules(*critics, as_module=True)
    prior = PriorNetwork(size, env.action_spec, **known)
    for parameter in prior.parameters():
        parameter.data.mul_(4)
    settings = {"alpha": ALPHA, "gate_temperature": TEMPERATURE, "acting": acting}
    return GatedPolicy(actor, critics[0], params, **settings), prior


def played(env, policy, prior, seed=5):
    env.set_seed(seed)
    torch.manual_seed(seed)
    return play_split(env, policy, prior)


def lengths(copies, seed):
    """Those of episodes of the same seed under actions that are drawn at random."""
    env = staggered(copies)
    env.set_seed(seed)
    done = env.rollout(12, break_when_any_done=False)["next", "done"].squeeze(-1)
    return (done.int().argmax(-1) + 1).tolist()


@pytest.mark.parametrize("copies", [1, 6])
@pytest.mark.parametrize("seed", [0, 5])
def test_each_state_of_the_episodes_is_counted_once(copies, seed):
    """Step for step, the states of the copies that have not ended."""
    env = staggered(copies)
    split = played(env, *parts(env), seed)
    expected = lengths(copies, seed)
    assert len(split.observation) == sum(expected)
    assert copies == 1 or len(set(expected)) > 1
    steps = split.observation[:, -1].int().tolist()
    assert sorted(steps) == sorted(step for length in expected for step in range(length))
    assert len(split.gate) == len(split.prior) == sum(expected)
    assert steps == sorted(steps)


def by_hand(env, policy, prior, seed=5):
    """The states, actions and gates of the same episodes, and the prior's weights."""
    env.set_seed(seed)
    torch.manual_seed(seed)
    now, ended, rows = env.reset(), torch.zeros(env.batch_size, dtype=torch.bool), []
    while not ended.all():
        with set_exploration_type(ExplorationType.RANDOM), torch.no_grad():
            now = env.step(policy(now))
        alive = [copy for copy in range(len(ended)) if not ended[copy]]
        rows += [(now["observation"][copy], now["action"][copy]) for copy in alive]
        ended |= now["next", "done"].squeeze(-1)
        now = now["next"].exclude("reward")
    states, actions = map(torch.stack, zip(*rows, strict=True))
    data = TensorDict({"observation": states}, [len(states)])
    return states, *mean_weights(policy, prior, data, 128, ALPHA, TEMPERATURE)


@pytest.mark.parametrize("acting", ["mixture", "convex"])
def test_weights_are_those_of_gate_and_prior(acting):
    env = MultiGoal(batch_size=[4], max_steps=7)
    policy, prior = parts(env, acting=acting)
    split = played(env, policy, prior)
    states, gate, weights = by_hand(env, policy, prior)
    assert split.observation.equal(states) and len(states) == 28
    torch.testing.assert_close(split.gate, gate, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(split.prior, weights, rtol=1e-4, atol=1e-5)
    assert gate.std(0).min() > 1e-3 and weights.std(0).min() > 1e-3
    assert not split.gate.requires_grad and not split.prior.requires_grad


def test_the_callers_exploration_is_put_back():
    env = MultiGoal(batch_size=[2], max_steps=3)
    with set_exploration_type(ExplorationType.MEAN):
        found = [played(env, *parts(env)).observation for _ in range(2)]
        assert exploration_type() == ExplorationType.MEAN
    assert not found[0].equal(found[1])  # other networks, and so other actions


def test_actions_are_sampled_whatever_the_caller_does():
    env = MultiGoal(batch_size=[3], max_steps=4)
    policy, prior = parts(env)
    free = played(env, policy, prior)
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        assert played(env, policy, prior).observation.equal(free.observation)
    assert not played(env, policy, prior, seed=6).observation.equal(free.observation)


WEIGHTS = [[0.9, 0.1, 0.0], [0.25, 0.7, 0.05], [0.2, 0.75, 0.05], [0.45, 0.35, 0.2]]


def test_description_of_weights_by_hand():
    found = describe_split(torch.tensor(WEIGHTS, dtype=torch.float64))
    mean = np.mean(WEIGHTS, 0)  # 0.45, 0.475, 0.075
    conditional = np.mean([stats.entropy(row) for row in WEIGHTS])
    expected = {
        "effective_components": math.exp(stats.entropy(mean)),
        "information": stats.entropy(mean) - conditional,
        "share_0": 0.5,
        "share_1": 0.5,
        "share_2": 0.0,
    }
    assert list(found) == list(expected) and found == pytest.approx(expected)


def test_descriptions_of_extremes():
    """States that are told apart, that are not, and a component that does all."""
    third = {f"share_{k}": pytest.approx(1 / 3) for k in range(3)}
    apart = describe_split(torch.eye(3))
    assert apart == {
        "effective_components": pytest.approx(3),
        "information": pytest.approx(math.log(3)),
        **third,
    }
    same = describe_split(torch.tensor([[0.2, 0.5, 0.3]] * 6))
    assert same["information"] == pytest.approx(0, abs=1e-6)
    assert (same["share_0"], same["share_1"], same["share_2"]) == (0, 1, 0)
    alone = describe_split(torch.tensor([[1.0, 0.0]] * 6))
    assert alone == pytest.approx(
        {"effective_components": 1, "information": 0, "share_0": 1, "share_1": 0}, abs=1e-6
    )
    one = describe_split(torch.ones(4, 1))
    assert one == pytest.approx({"effective_components": 1, "information": 0, "share_0": 1})


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures, save = [], Figure.savefig

    def record(self, *args, **kwargs):
        figures.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", record)
    return figures


def dots(panel):
    """By colour, the points and their opacity; marks of the legend are nowhere."""
    found = {}
    for collection in panel.collections:
        places = np.ma.getdata(collection.get_offsets())
        faces = np.broadcast_to(collection.get_facecolor(), (len(places), 4))
        for place, face in zip(places.round(5).tolist(), faces, strict=True):
            if not np.isnan(place).any():
                of_color = found.setdefault(to_hex(face), {})
                assert tuple(place) not in of_color
                of_color[tuple(place)] = face[3]
    return found


@pytest.mark.parametrize("size", [1, 3, 8])
def test_each_state_is_drawn_once_in_its_components_colour(drawn, tmp_path, size):
    points = torch.rand(50, 2, dtype=torch.float64)
    panels = {name: torch.rand(50, size).pow(3) for name in ("gate", "prior")}
    panels = {name: weights / weights.sum(-1, keepdim=True) for name, weights in panels.items()}
    path = plot_split(points, ("left", "up"), panels, tmp_path / "split.png")
    assert path.read_bytes().startswith(b"\x89PNG") and "matplotlib.pyplot" not in sys.modules
    axes = drawn[0].axes
    assert [panel.get_title() for panel in axes] == ["gate", "prior"]
    assert [panel.get_xlabel() for panel in axes] == ["left", "left"]
    assert [panel.get_ylabel() for panel in axes] == ["up", ""]
    for panel, weights in zip(axes, panels.values(), strict=True):
        found = dots(panel)
        assert sum(map(len, found.values())) == 50
        for place, row in zip(points.tolist(), weights.tolist(), strict=True):
            color = COLORS[max(range(size), key=row.__getitem__)]
            opacity = found[color][tuple(np.round(place, 5))]
            certainty = (max(row) - 1 / size) / (1 - 1 / size) if size > 1 else 0
            assert opacity == pytest.approx(PALEST + (1 - PALEST) * certainty, abs=1e-5)
    legend = axes[-1].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == list(map(str, range(size)))
    assert legend.get_title().get_text() == "component" and axes[0].get_legend() is None
    marks = [to_hex(mark.get_facecolor()[0]) for mark in legend.legend_handles]
    assert marks == COLORS[:size]


def test_components_without_states_are_in_the_legend(drawn, tmp_path):
    weights = torch.tensor([[0.1, 0.8, 0.1], [0.0, 1.0, 0.0]])
    points = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    plot_split(points, ("x", "y"), {"gate": weights}, tmp_path / "split.pdf")
    (panel,) = drawn[0].axes
    opacity = {(0.0, 1.0): PALEST + (1 - PALEST) * 0.7, (2.0, 3.0): 1.0}
    assert dots(panel) == {COLORS[1]: pytest.approx(opacity)}
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["0", "1", "2"]


def test_colours_of_many_components_begin_again(drawn, tmp_path):
    plot_split(torch.rand(10, 2), ("x", "y"), {"gate": torch.eye(10)}, tmp_path / "a.png")
    handles = drawn[0].axes[0].get_legend().legend_handles
    assert [to_hex(mark.get_facecolor()[0]) for mark in handles] == [*COLORS, *COLORS[:2]]


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match="Matplotlib is missing, pip install"):
        plot_split(torch.rand(2, 2), ("x", "y"), {"gate": torch.eye(2)}, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
