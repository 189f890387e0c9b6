"""How the states that a policy visits are divided between its components."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torchrl.envs import EnvBase
from torchrl.envs.utils import ExplorationType, set_exploration_type

from torchrl_mixture import functional as F
from torchrl_mixture.analysis.figures import new_figure
from torchrl_mixture.modules import GatedPolicy
from torchrl_mixture.studies.multi_goal_figures import LATENT_COLORS

__all__ = ["Split", "describe_split", "play_split", "plot_split"]

NUM_DRAWS = 128
COLORS = (*LATENT_COLORS, "#F0E442", "#000000")


class Split(NamedTuple):
    """Visited states, observations ``[N, D]``, and of each the weights of components ``[N, K]``.

    ``gate`` is the mean of 128 gates, each of new draws, ``prior`` the mean over 128 actions of
    the policy.
    """

    observation: Tensor
    gate: Tensor
    prior: Tensor


@torch.no_grad()
def play_split(env: EnvBase, policy: GatedPolicy, prior: TensorDictModuleBase) -> Split:
    """Play an episode of sampled actions in each copy of a task, and weigh the components.

    Arguments:
        env: the task, of batch shape ``[N]``; it is reset first.
        policy: the policy.
        prior: the prior, such as :class:`~torchrl_mixture.modules.PriorNetwork`.

    Returns:
        the states of the episodes, each once, and the weights there.

    Example:
        >>> from torchrl_mixture.envs import MultiGoal
        >>> from torchrl_mixture.modules import ComponentCritic, PriorNetwork, mixture_actor
        >>> env = MultiGoal(batch_size=[5])
        >>> known = {"observation_spec": env.observation_spec}
        >>> actor = mixture_actor(env.action_spec, 4, learn_weights=False, **known)
        >>> critic = ComponentCritic(env.action_spec, 1, **known)
        >>> params = TensorDict.from_modules(critic, critic, as_module=True)
        >>> policy = GatedPolicy(actor, critic, params, alpha=0.2)
        >>> split = play_split(env, policy, PriorNetwork(4, env.action_spec, **known))
        >>> split.gate.shape[-1], split.prior.shape[-1]
        (4, 4)
    """
    tensordict, visited = env.reset(), []
    running = torch.ones(env.batch_size, dtype=torch.bool, device=env.device)
    while running.any():
        with set_exploration_type(ExplorationType.RANDOM):
            stepped, tensordict = env.step_and_maybe_reset(policy(tensordict))
        visited.append(stepped.exclude("next")[running])
        running = running & ~stepped["next", "done"].squeeze(-1)
    states = TensorDict.cat(visited)
    gate = weights = torch.zeros((), device=env.device)
    with set_exploration_type(ExplorationType.RANDOM):
        for _ in range(NUM_DRAWS):
            gate = gate + policy.get_dist(states).weights / NUM_DRAWS
            acted = policy(states.select(*policy.in_keys))
            logits = prior(acted.select(*prior.in_keys)).get("prior_logits")
            weights = weights + logits.softmax(-1) / NUM_DRAWS
    return Split(states.get("observation"), gate, weights)


def describe_split(weights: Tensor) -> dict[str, float]:
    r"""Tell how much the components divide the states.

    .. math::
        \exp H(\bar w), \qquad H(\bar w) - \frac1N \sum_n H(w_n), \qquad
        \bar w = \frac1N \sum_n w_n

    Of weights that are means over :math:`n` draws, as those of a :class:`Split`, the information
    is too high by their noise: by :math:`(K - 1) / (2 n)` where every draw gives all weight to
    one component, and by less, the more equal its weights are.

    Arguments:
        weights: :math:`w`, ``[N, K]``.

    Returns:
        ``effective_components``, from 1 to :math:`K`; ``information`` of component and state, in
        nats, from 0 to :math:`\log K`; ``share_<k>``, the share of the states in which component
        :math:`k` is the heaviest.

    Example:
        >>> describe_split(torch.eye(2))
        {'effective_components': 2.0, 'information': 0.693..., 'share_0': 0.5, 'share_1': 0.5}
    """
    log_weights = weights.log()
    information, *_ = F.weighted_information(log_weights, torch.ones_like(weights[:, 0]))
    heaviest = torch.bincount(weights.argmax(-1), minlength=weights.shape[-1]) / len(weights)
    return {
        "effective_components": F.effective_components(log_weights).item(),
        "information": information.clamp(min=0).item(),
        **{f"share_{index}": share.item() for index, share in enumerate(heaviest)},
    }


def plot_split(
    points: Tensor, labels: tuple[str, str], panels: Mapping[str, Tensor], path: str | Path
) -> Path:
    """Draw states in a plane, in the colour of their heaviest component.

    A state is the paler, the closer its heaviest weight is to that of equal components.

    Arguments:
        points: where the states are drawn, ``[N, 2]``.
        labels: what the two axes are.
        panels: by title, weights ``[N, K]``.
        path: the figure's file; its ending chooses the format.

    Returns:
        ``path``.

    Raises:
        ModuleNotFoundError: if Matplotlib is not installed.

    Example:
        >>> weights = torch.tensor([[0.9, 0.1], [0.3, 0.7]])
        >>> plane = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
        >>> path = getfixture("tmp_path") / "split.png"
        >>> plot_split(plane, ("x", "y"), {"gate": weights}, path).name
        'split.png'
    """
    figure = new_figure(4.4 * len(panels), 4.2)
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for panel, (title, weights) in zip(axes, panels.items(), strict=True):
        _draw_split(panel, points, weights)
        panel.set(title=title, xlabel=labels[0])
    axes[0].set_ylabel(labels[1])
    axes[-1].legend(title="component", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=150)
    return Path(path)


def _draw_split(axes: Any, points: Tensor, weights: Tensor) -> None:
    largest, heaviest = weights.max(-1)
    least = 1 / weights.shape[-1]
    certainty = (largest - least) / max(1 - least, 1e-9)
    for component in range(weights.shape[-1]):
        color, mine = COLORS[component % len(COLORS)], heaviest == component
        axes.scatter(math.nan, math.nan, s=20, c=color, label=str(component))
        if mine.any():
            opacity = 0.25 + 0.75 * certainty[mine].clamp(0, 1)
            axes.scatter(*points[mine].mT, s=6, c=color, alpha=opacity, linewidths=0)
