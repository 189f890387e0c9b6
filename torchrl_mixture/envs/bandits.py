"""The papers' bandits: one state, one action, one reward."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchrl_mixture.envs.bandit_rewards import (
    BOX,
    RandomRewards,
    bimodal_reward,
    continuous_bandit_reward,
)
from torchrl_mixture.envs.base import TensorEnv

_CURVE_POINTS = 2001


class Bandit(TensorEnv):
    r"""A task of one step: act, be paid, and end in a terminal state.

    The observation is the number 1; ours, as the papers leave open what is observed where there
    is nothing to see. The state says which bandit is played, for those that come in families.

    To bring one of your own, implement :meth:`reward`.

    Arguments:
        low: the least action.
        high: the greatest action.
        options: ``batch_size``, ``device`` and ``dtype``, as for :class:`TensorEnv`.

    Raises:
        ValueError: at a step, if the action's shape is wrong or it is not finite.

    Example:
        >>> class Parabola(Bandit):
        ...     def reward(self, state, action):
        ...         return 1 - action.square()
        >>> Parabola(-1.0, 1.0).rollout(9)["next", "terminated"].shape
        torch.Size([1, 1])
    """

    def __init__(self, low: float, high: float, **options: Any) -> None:
        super().__init__(
            low=[low],
            high=[high],
            observation_low=[1.0],
            observation_high=[1.0],
            max_steps=None,
            **options,
        )

    @abstractmethod
    def reward(self, state: Tensor, action: Tensor) -> Tensor:
        """Give the reward of an action.

        Arguments:
            state: ``[*B, 1]``.
            action: ``[*B]``.

        Returns:
            ``[*B]``.
        """

    def initial_state(self, shape: Sequence[int]) -> Tensor:
        return torch.zeros(*shape, 1, device=self.device, dtype=self.dtype)

    def transition(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        reward = self.reward(state, action.squeeze(-1))
        return state, reward, torch.ones_like(reward, dtype=torch.bool)

    def observe(self, state: Tensor) -> Tensor:
        return torch.ones_like(state)

    def draw(self, axes: Any, state: Tensor) -> None:
        unit = torch.linspace(0, 1, _CURVE_POINTS, device=self.device, dtype=self.dtype)
        action = self.low + (self.high - self.low) * unit
        reward = self.reward(state.to(self.device).expand(_CURVE_POINTS, -1), action)
        axes.plot(action.cpu(), reward.detach().cpu())
        axes.set_xlabel("action")
        axes.set_ylabel("reward")


class BimodalBandit(Bandit):
    r"""The bandit with two equal modes, at -1 and 1.

    .. math::
        r(a) = \frac{\mathcal N(a; -1, 0.5^2) + \mathcal N(a; 1, 0.5^2)}{\max_b (\ldots)}

    The paper's actions are any real number. Ours: a box, as squashed policies need one.

    Arguments:
        bound: actions lie in [-bound, bound]; 3 by default, where the reward is below 0.001.
        options: ``batch_size``, ``device`` and ``dtype``, as for :class:`TensorEnv`.

    Raises:
        ValueError: if ``bound`` is not positive and finite; at a step, if the action's shape is
            wrong or it is not finite.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), section 3.3
        and appendix C.

    Example:
        >>> env = BimodalBandit()
        >>> env.step(env.reset().set("action", torch.zeros(1)))["next", "reward"]
        tensor([0.2706])
    """

    def __init__(self, bound: float = 3.0, **options: Any) -> None:
        if not 0 < bound < torch.inf:
            raise ValueError(f"bound must be positive and finite, got {bound}.")
        super().__init__(-bound, bound, **options)

    def reward(self, state: Tensor, action: Tensor) -> Tensor:
        return bimodal_reward(action)


class RandomMultimodalBandit(Bandit):
    r"""Bandits with many modes, drawn at random.

    .. math::
        r_n(a) = \frac{1}{c_n} \sum_{i=1}^{30} \mathcal N(a; m_{ni}, s_{ni}^2), \qquad
        m_{ni} \sim U[-3, 3], \quad s_{ni} \sim U[0.1, 1]

    A family has as many bandits as are asked for: bandit :math:`n` of a seed is always the same.
    Ours: actions in [-3, 3] and the greatest reward 1, both of which the paper leaves open.

    Arguments:
        bandits: which of the family: one number, which all copies play, or as many as the last
            axis of the batch is long, one for each; the paper's 100 by default.
        seed: of the family; that of the environment changes nothing.
        batch_size: shape ``[*B]`` of the copies; by default as long as ``bandits``.
        options: ``device`` and ``dtype``, as for :class:`TensorEnv`.

    Raises:
        ValueError: if a bandit's number is negative or the batch does not fit the bandits; at a
            step, if the action's shape is wrong or it is not finite.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), section 5.3.

    Example:
        >>> RandomMultimodalBandit().batch_size
        torch.Size([100])
        >>> RandomMultimodalBandit(7, batch_size=[32]).rollout(9).batch_size
        torch.Size([32, 1])
    """

    means: Tensor
    stds: Tensor
    scale: Tensor

    def __init__(
        self,
        bandits: int | Sequence[int] = range(100),
        *,
        seed: int = 0,
        batch_size: Sequence[int] | None = None,
        **options: Any,
    ) -> None:
        numbers = torch.tensor(bandits, dtype=torch.int64, device="cpu")
        if numbers.numel() == 0 or numbers.min() < 0:
            raise ValueError(f"bandits must be numbers from 0 on, got {bandits}.")
        self._numbers = numbers.tolist()
        batch_size = numbers.shape if batch_size is None else torch.Size(batch_size)
        if numbers.ndim and batch_size[-1:] != numbers.shape:
            raise ValueError(
                f"batch_size must end with the number of bandits, {len(numbers)}, "
                f"got {list(batch_size)}."
            )
        super().__init__(-BOX, BOX, batch_size=batch_size, **options)
        family = RandomRewards.draw(int(numbers.max()) + 1, seed, self.dtype)
        for name in ("means", "stds", "scale"):
            values = getattr(family, name).to(self.device)
            self.register_buffer(name, values, persistent=False)

    def initial_state(self, shape: Sequence[int]) -> Tensor:
        numbers = torch.tensor(self._numbers, device=self.device, dtype=self.dtype)
        return numbers.unsqueeze(-1).expand(*shape, 1).clone()

    def reward(self, state: Tensor, action: Tensor) -> Tensor:
        number = state[..., 0].long()
        rewards = RandomRewards(self.means[number], self.stds[number], self.scale[number])
        return rewards(action)


class ContinuousBandit(Bandit):
    r"""The bandit with a narrow global mode on the left and a wide local one on the right.

    .. math::
        r(a) = \max\left(0,\, 1.1 - 18 (2a + 1.2)^2\right)
             + \max\left(0,\, 0.5 - 0.125 (2a - 1.75)^2\right) [a < 0.875]

    The area under the local mode is the larger, 0.333 to 0.181, so that a policy that spreads its
    actions is led there. Actions in [-1, 1]. Ours: the constant observation.

    Arguments:
        options: ``batch_size``, ``device`` and ``dtype``, as for :class:`TensorEnv`.

    Raises:
        ValueError: at a step, if the action's shape is wrong or it is not finite.

    Source:
        Huang et al. (2023), "Reparameterized Policy Learning for Multimodal Trajectory
        Optimization", figure 4, by the authors' code; used by Dey and Sharon (2025), figure 1.

    Example:
        >>> env = ContinuousBandit()
        >>> env.step(env.reset().set("action", torch.tensor([-0.6])))["next", "reward"]
        tensor([1.1000])
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(-1.0, 1.0, **options)

    def reward(self, state: Tensor, action: Tensor) -> Tensor:
        return continuous_bandit_reward(action)
