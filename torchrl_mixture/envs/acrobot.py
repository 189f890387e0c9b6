"""The acrobot with a continuous torque."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchrl_mixture.envs.base import TensorEnv
from torchrl_mixture.envs.pendulum import wrap_angle

TIME_STEP = 0.2  # s
MAX_SPEEDS = (4 * math.pi, 9 * math.pi)
GOAL_HEIGHT = 1.0  # over the first joint, in lengths of a link


def _derivative(state: Tensor, torque: Tensor) -> Tensor:
    """Give the velocities and accelerations of the joints, ``[*B, 4]``."""
    first, second, first_speed, second_speed = state.unbind(-1)
    cos, sin = second.cos(), second.sin()
    # What gravity and the inertia of the links do; both have length, mass and inertia 1.
    d1, d2 = 3.5 + cos, 1.25 + 0.5 * cos
    phi2 = 4.9 * (first + second).sin()
    phi1 = 14.7 * first.sin() + phi2 - (0.5 * second_speed + first_speed) * second_speed * sin
    push = torque - 0.5 * first_speed.square() * sin
    second_rate = (push + d2 / d1 * phi1 - phi2) / (1.25 - d2.square() / d1)
    first_rate = -(d2 * second_rate + phi1) / d1
    return torch.stack((first_speed, second_speed, first_rate, second_rate), -1)


def _runge_kutta(state: Tensor, torque: Tensor) -> Tensor:
    """Go one time step on, by the classic method of order 4, ``[*B, 4]``."""
    k1 = _derivative(state, torque)
    k2 = _derivative(state + 0.5 * TIME_STEP * k1, torque)
    k3 = _derivative(state + 0.5 * TIME_STEP * k2, torque)
    k4 = _derivative(state + TIME_STEP * k3, torque)
    return state + TIME_STEP / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


class Acrobot(TensorEnv):
    r"""Two links that hang from a joint, to be swung up by a torque between them.

    .. math::
        d_1 &= 3.5 + \cos\theta_2, \qquad d_2 = 1.25 + 0.5 \cos\theta_2, \qquad
        \phi_2 = 4.9 \sin(\theta_1 + \theta_2) \\
        \phi_1 &= 14.7 \sin\theta_1 + \phi_2
            - (0.5\, \omega_2 + \omega_1)\, \omega_2 \sin\theta_2 \\
        \dot\omega_2 &= \frac{u + \frac{d_2}{d_1} \phi_1 - 0.5\, \omega_1^2 \sin\theta_2 - \phi_2}
            {1.25 - d_2^2 / d_1}, \qquad
        \dot\omega_1 = -\frac{d_2 \dot\omega_2 + \phi_1}{d_1}

    A step is one of the Runge-Kutta method of order 4 over 0.2 s, with a constant torque :math:`u`
    in [-1, 1]. After it, :math:`\omega_1` is clipped to :math:`\pm 4\pi` and :math:`\omega_2` to
    :math:`\pm 9\pi`. With the height :math:`h = -\cos\theta'_1 - \cos(\theta'_1 + \theta'_2)` of
    the free end,

    .. math::
        r = \begin{cases}
            h - 1 & \text{if shaped} \\
            [h > 1] - 1 & \text{otherwise}
        \end{cases}

    :math:`\theta_1` is the angle of the first link from hanging and :math:`\theta_2` that of the
    second from the first, in [-π, π], counter-clockwise. The observation is
    :math:`(\theta_1, \theta_2, \omega_1, \omega_2)`. Every episode starts from zeros, hanging at
    rest, where it stays without a torque; it ends where :math:`h > 1`. Ours: it ends there in the
    shaped task too, and that task pays for the state that an action leads to, not for the one
    before, both of which the paper leaves open.

    Arguments:
        shaped: whether the reward is the height.
        max_steps: steps after which an episode is truncated; ``None`` for no limit.
        options: ``batch_size``, ``device`` and ``dtype``, as for :class:`TensorEnv`.

    Raises:
        ValueError: if ``max_steps`` is less than 1; at a step, if the action's shape is wrong or
            it is not finite.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), appendix D.2;
        the released code of Neumann et al. (2022); the equations are those of Sutton and Barto's
        book.

    Example:
        >>> env = Acrobot(batch_size=[3])
        >>> env.transition(torch.zeros(3, 4), torch.tensor([[-1.0], [0.0], [1.0]]))[0]
        tensor([[ 0.0133, -0.0343,  0.1287, -0.3345],
                [ 0.0000,  0.0000,  0.0000,  0.0000],
                [-0.0133,  0.0343, -0.1287,  0.3345]])
    """

    def __init__(self, shaped: bool = False, max_steps: int | None = 1000, **options: Any) -> None:
        self.shaped = shaped
        bounds = [math.pi, math.pi, *MAX_SPEEDS]
        super().__init__(
            low=[-1.0],
            high=[1.0],
            observation_low=[-bound for bound in bounds],
            observation_high=bounds,
            max_steps=max_steps,
            **options,
        )

    def initial_state(self, shape: Sequence[int]) -> Tensor:
        return torch.zeros(*shape, 4, device=self.device, dtype=self.dtype)

    def transition(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        after = _runge_kutta(state, action.squeeze(-1))
        first, second = wrap_angle(after[..., :2]).unbind(-1)
        speeds = (
            after[..., 2 + joint].clamp(-bound, bound) for joint, bound in enumerate(MAX_SPEEDS)
        )
        height = -first.cos() - (first + second).cos()
        reached = height > GOAL_HEIGHT
        reward = height - GOAL_HEIGHT if self.shaped else reached.to(state.dtype) - 1
        return torch.stack((first, second, *speeds), -1), reward, reached

    def draw(self, axes: Any, state: Tensor) -> None:
        first, second = state[:2].tolist()
        x, y = [0.0], [0.0]
        for angle in (first, first + second):
            x.append(x[-1] + math.sin(angle))
            y.append(y[-1] - math.cos(angle))
        axes.axhspan(GOAL_HEIGHT, 2.3, color="tab:green", alpha=0.15, linewidth=0)
        axes.axhline(GOAL_HEIGHT, color="tab:green")
        axes.plot(x, y, color="tab:red", linewidth=9, solid_capstyle="round")
        axes.plot(x[:2], y[:2], "o", color="black")
        axes.set(xlim=(-2.3, 2.3), ylim=(-2.3, 2.3), xticks=[], yticks=[], aspect="equal")
