"""The pendulum, as Gymnasium has it and with its angle as the observation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchrl_mixture.envs.base import TensorEnv

TIME_STEP = 0.05  # s
MAX_TORQUE = 2.0
MAX_SPEED = 8.0
CONE = 0.25  # rad to either side


def wrap_angle(angle: Tensor) -> Tensor:
    """Bring angles to [-π, π]; neither end is left by rounding, in any floating-point type."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


def _accelerate(state: Tensor, action: Tensor) -> Tensor:
    """Give the velocity after a time step, not clipped, ``[*B]``."""
    angle, velocity = state.unbind(-1)
    return velocity + (15 * angle.sin() + 3 * action.squeeze(-1)) * TIME_STEP


def _draw(axes: Any, angle: float, cone: float | None) -> None:
    from matplotlib.patches import Wedge

    if cone is None:
        axes.plot((0, 0), (0, 1.3), ":", color="tab:green", linewidth=2)
    else:
        sides = (90 + side * math.degrees(cone) for side in (-1, 1))
        axes.add_patch(Wedge((0, 0), 1.3, *sides, color="tab:green", alpha=0.3, linewidth=0))
    tip = (-math.sin(angle), math.cos(angle))
    rod = {"color": "tab:red", "linewidth": 9, "solid_capstyle": "round"}
    axes.plot(*zip((0, 0), tip, strict=True), **rod)
    axes.plot(0, 0, "o", color="black")
    axes.set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), xticks=[], yticks=[], aspect="equal")


class Pendulum(TensorEnv):
    r"""A pendulum to be swung up and held upright, as Gymnasium has it.

    .. math::
        \omega' = \operatorname{clip}\left(\omega + (15 \sin\theta + 3 u) \Delta,\, -8,\, 8\right),
        \qquad \theta' = \theta + \omega' \Delta, \qquad \Delta = 0.05

    .. math::
        r = \begin{cases}
            -\theta^2 - 0.1\, \omega^2 - 0.001\, u^2 & \text{if shaped} \\
            [\lvert\theta\rvert < 0.25] & \text{otherwise}
        \end{cases}

    :math:`\theta` is the angle from the upright position in [-π, π], counter-clockwise; the torque
    :math:`u` is in [-2, 2]. The observation is :math:`(\cos\theta, \sin\theta, \omega)`. The start
    is :math:`\theta \sim U[-\pi, \pi]`, :math:`\omega \sim U[-1, 1]`; no state is terminal.

    The paper leaves open which angle the unshaped reward is of. Ours: as in Gymnasium's reward,
    which it replaces, that from which the action is taken. The next one would pay the same a step
    earlier: without an entropy term the same policies would be optimal.

    Arguments:
        shaped: whether the reward is Gymnasium's.
        max_steps: steps after which an episode is truncated; ``None`` for no limit.
        options: ``batch_size``, ``device`` and ``dtype``, as for :class:`TensorEnv`.

    Raises:
        ValueError: if ``max_steps`` is less than 1; at a step, if the action's shape is wrong or
            it is not finite.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), appendix D.2;
        Gymnasium's Pendulum-v1.

    Example:
        >>> env = Pendulum(batch_size=[3])
        >>> state = torch.tensor([[0.0, 0.0], [0.3, 0.0], [-0.2, 1.0]])  # angle, velocity
        >>> env.transition(state, torch.zeros(3, 1))[1]
        tensor([1., 0., 1.])
    """

    def __init__(self, shaped: bool = False, max_steps: int | None = 200, **options: Any) -> None:
        self.shaped = shaped
        super().__init__(
            low=[-MAX_TORQUE],
            high=[MAX_TORQUE],
            observation_low=[-1.0, -1.0, -MAX_SPEED],
            observation_high=[1.0, 1.0, MAX_SPEED],
            max_steps=max_steps,
            **options,
        )

    def initial_state(self, shape: Sequence[int]) -> Tensor:
        angle = self.uniform(-math.pi, math.pi, shape)
        return torch.stack((angle, self.uniform(-1.0, 1.0, shape)), -1)

    def transition(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        angle, velocity = wrap_angle(state[..., 0]), state[..., 1]
        if self.shaped:
            effort = 0.001 * action.squeeze(-1).square()
            reward = -(angle.square() + 0.1 * velocity.square() + effort)
        else:
            reward = (angle.abs() < CONE).to(state.dtype)
        velocity = _accelerate(state, action).clamp(-MAX_SPEED, MAX_SPEED)
        angle = wrap_angle(angle + velocity * TIME_STEP)
        after = torch.stack((angle, velocity), -1)
        return after, reward, torch.zeros_like(angle, dtype=torch.bool)

    def observe(self, state: Tensor) -> Tensor:
        angle, velocity = state.unbind(-1)
        return torch.stack((angle.cos(), angle.sin(), velocity), -1)

    def draw(self, axes: Any, state: Tensor) -> None:
        _draw(axes, float(state[0]), None if self.shaped else CONE)


class AnglePendulum(TensorEnv):
    r"""A pendulum that starts hanging, observed by its angle, which jumps at the bottom.

    .. math::
        \omega' = \omega + (15 \sin\theta + 3 u) \Delta, \qquad
        \theta' = \theta + \omega' \Delta, \qquad
        r = \cos\theta', \qquad \Delta = 0.05

    :math:`\theta` is the angle from the upright position in [-π, π], counter-clockwise; the torque
    :math:`u` is in [-2, 2]. Unlike in :class:`Pendulum`, the velocity is clipped to [-8, 8] after
    the angle has moved by it. The observation is :math:`(\theta, \omega)`. Every episode starts
    from :math:`(-\pi, 0)`; no state is terminal.

    Arguments:
        max_steps: steps after which an episode is truncated; ``None`` for no limit.
        options: ``batch_size``, ``device`` and ``dtype``, as for :class:`TensorEnv`.

    Raises:
        ValueError: if ``max_steps`` is less than 1; at a step, if the action's shape is wrong or
            it is not finite.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), appendix E.6,
        where it is Pendulum-v2; the released code of Neumann et al. (2022).

    Example:
        >>> AnglePendulum(batch_size=[2]).reset()["observation"]
        tensor([[-3.1416,  0.0000],
                [-3.1416,  0.0000]])
    """

    def __init__(self, max_steps: int | None = 1000, **options: Any) -> None:
        super().__init__(
            low=[-MAX_TORQUE],
            high=[MAX_TORQUE],
            observation_low=[-math.pi, -MAX_SPEED],
            observation_high=[math.pi, MAX_SPEED],
            max_steps=max_steps,
            **options,
        )

    def initial_state(self, shape: Sequence[int]) -> Tensor:
        start = torch.tensor((-math.pi, 0.0), device=self.device, dtype=self.dtype)
        return start.expand(*shape, 2).clone()

    def transition(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        velocity = _accelerate(state, action)
        angle = wrap_angle(state[..., 0] + velocity * TIME_STEP)
        after = torch.stack((angle, velocity.clamp(-MAX_SPEED, MAX_SPEED)), -1)
        return after, angle.cos(), torch.zeros_like(angle, dtype=torch.bool)

    def draw(self, axes: Any, state: Tensor) -> None:
        _draw(axes, float(state[0]), None)
