"""Which goals policies go to, and what their critics say of the actions on the way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torchrl.objectives import SACLoss

from torchrl_mixture.envs import MultiGoal
from torchrl_mixture.modules.ensemble import EnsembleCall

__all__ = [
    "CONTOUR_STATES",
    "Paths",
    "action_grid",
    "action_values",
    "distinct_goals",
    "frequent_goals",
    "goal_counts",
    "goal_of_policy",
    "play_paths",
]

CONTOUR_STATES = ((-2.5, 0.0), (0.0, 0.0), (2.5, 2.5))


class Paths(NamedTuple):
    """Where episodes went: positions ``[N, T+1, 2]`` and the goals they ended in ``[N]``."""

    positions: Tensor
    goals: Tensor


@torch.no_grad()
def play_paths(env: MultiGoal, policy: TensorDictModuleBase) -> Paths:
    """Play one episode in each copy of the task, and keep where it went.

    Arguments:
        env: the task, of batch shape ``[N]`` and with a limit of steps; it is reset first.
        policy: maps observations to actions, under the caller's exploration type.

    Returns:
        the positions ``[N, T+1, 2]``, first the start, NaN after an episode's end, with ``T`` the
        length of the longest; and the goal each episode ended in, -1 for none, int64 ``[N]``.

    Raises:
        ValueError: if the task is a single copy, or has no limit of steps.

    Example:
        >>> from tensordict.nn import TensorDictModule
        >>> east = torch.tensor([1.0, 0.0])
        >>> policy = TensorDictModule(east.expand_as, ["observation"], ["action"])
        >>> env = MultiGoal(batch_size=[3], init_sigma=0.0)
        >>> positions, goals = play_paths(env, policy)
        >>> positions[0, :, 0].tolist(), goals.tolist()
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [0, 0, 0])
    """
    if len(env.batch_size) != 1 or env.max_steps is None:
        raise ValueError(
            "env must have a batch shape [N] and a limit of steps, got the batch shape "
            f"{list(env.batch_size)} and max_steps={env.max_steps}."
        )
    tensordict = env.reset()
    positions = [tensordict["observation"]]
    goals = torch.full(env.batch_size, -1, device=env.device)
    running = torch.ones_like(goals, dtype=torch.bool)
    while running.any():
        stepped, tensordict = env.step_and_maybe_reset(policy(tensordict))
        position = stepped["next", "observation"]
        positions.append(position.where(running.unsqueeze(-1), torch.nan))
        goals = torch.where(running, env.goal_of(position), goals)
        running = running & ~stepped["next", "done"].squeeze(-1)
    return Paths(torch.stack(positions, 1), goals)


def goal_counts(goals: Tensor, num_goals: int) -> Tensor:
    """Count the episodes that ended in each goal.

    Arguments:
        goals: the goal of each episode, -1 for none, int64 ``[N]``.
        num_goals: the number of goals ``G``.

    Returns:
        the counts of goals 0 to ``G-1``, then of none, int64 ``[G+1]``.

    Example:
        >>> goal_counts(torch.tensor([2, 2, -1, 0]), num_goals=3)
        tensor([1, 0, 2, 1])
    """
    return torch.bincount(goals + 1, minlength=num_goals + 1).roll(-1)


def goal_of_policy(goals: Tensor) -> int:
    """Tell the goal that more of a policy's episodes ended in than in any other.

    Arguments:
        goals: the goal of each episode, -1 for none, int64 ``[N]``.

    Returns:
        the goal, or -1 where none is the most frequent end. Of equally frequent ends it is the
        lowest: none before any goal, then the goal of the lower index.

    Example:
        >>> goal_of_policy(torch.tensor([0, 2, 2, -1]))
        2
        >>> goal_of_policy(torch.tensor([0, -1]))
        -1
    """
    ends, counts = goals.unique(return_counts=True)  # sorted
    return int(ends[counts.argmax()])


def distinct_goals(policies: Iterable[Tensor]) -> list[int]:
    """Tell the goals of several policies, each once.

    Arguments:
        policies: for each policy the goal of each episode, int64 ``[N]``.

    Returns:
        the goals, sorted, see :func:`goal_of_policy`; a policy without one adds none.

    Example:
        >>> distinct_goals(torch.tensor([[3, 3, 1], [0, 0, 0], [-1, -1, 2], [3, 3, 3]]))
        [0, 3]
    """
    return sorted({goal_of_policy(goals) for goals in policies} - {-1})


def frequent_goals(goals: Tensor, share: float = 0.1) -> list[int]:
    """Tell the goals that receive some share of one policy's episodes at least.

    Arguments:
        goals: the goal of each episode, -1 for none, int64 ``[N]``.
        share: of all episodes, those without a goal among them; ours.

    Returns:
        the goals, sorted.

    Example:
        >>> frequent_goals(torch.tensor([0] * 10 + [3] * 9 + [1]))
        [0, 3]
    """
    ends, counts = goals.unique(return_counts=True)
    frequent = ends[counts / len(goals) >= share]
    return frequent[frequent >= 0].tolist()


def action_grid(size: int = 41) -> Tensor:
    """Give the actions of a square lattice that covers the task's box.

    Arguments:
        size: ``G``, the actions along each side.

    Returns:
        ``[G, G, 2]``; the first action changes along the second axis, as Matplotlib draws it.

    Example:
        >>> action_grid(3)[0].tolist()
        [[-1.0, -1.0], [0.0, -1.0], [1.0, -1.0]]
    """
    side = torch.linspace(-1, 1, size)
    return torch.stack(torch.meshgrid(side, side, indexing="xy"), -1)


@torch.no_grad()
def action_values(
    loss: SACLoss, states: Tensor, actions: Tensor, latent: Tensor | None = None
) -> Tensor:
    r"""Score actions by the least of a loss's critics.

    .. math::
        \min_e Q_e(s_i, a_j) \quad \text{or} \quad \min_e Q_e(s_i, a_j, z)

    The difference of the two is Theorem 2's :math:`S_z` where both have been learned with the same
    temperature, which is the discriminator's coefficient too, and the same discount; in units of
    the reward, it is the temperature times that of the paper, whose formulas have none.

    Arguments:
        loss: with the critics.
        states: :math:`s`, ``[S, O]``.
        actions: :math:`a`, such as :func:`action_grid`, ``[*B, A]``.
        latent: :math:`z`, one-hot ``[Z]``, where the critics read it.

    Returns:
        ``[S, *B]``.

    Source:
        Cohen et al. (2019), theorem 2 and figure 1e, f.

    Example:
        >>> from torchrl.modules import MLP, ValueOperator
        >>> from torchrl_mixture.modules import mixture_actor
        >>> from torchrl_mixture.objectives import MixtureSACLoss
        >>> env = MultiGoal()
        >>> actor = mixture_actor(env.action_spec, 2, observation_spec=env.observation_spec)
        >>> critic = ValueOperator(MLP(4, 1), in_keys=["observation", "action"])
        >>> loss = MixtureSACLoss(actor, critic)
        >>> action_values(loss, torch.tensor(CONTOUR_STATES), action_grid(5)).shape
        torch.Size([3, 5, 5])
    """
    shape = (len(states), *actions.shape[:-1])
    state = states.reshape(len(states), *[1] * (actions.ndim - 1), -1).expand(*shape, -1)
    inputs = TensorDict({"observation": state, "action": actions.expand(*shape, -1)}, shape)
    if latent is not None:
        inputs["latent"] = latent.expand(*shape, -1)
    critics = EnsembleCall(loss.qvalue_network)
    values = critics(inputs, loss.qvalue_network_params)["state_action_value"]
    return values.squeeze(-1).amin(0)
