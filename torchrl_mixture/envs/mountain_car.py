"""The mountain car with a continuous force."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from torchrl_mixture.envs.base import TensorEnv

LEFT, RIGHT = -1.2, 0.6
MAX_SPEED = 0.07


class Dynamics(NamedTuple):
    """In what the two tasks of Gymnasium differ."""

    power: float
    goal: float


DYNAMICS: Mapping[str, Dynamics] = MappingProxyType(
    {
        "continuous": Dynamics(power=0.0015, goal=0.45),
        "discrete": Dynamics(power=0.001, goal=0.5),
    }
)


class MountainCar(TensorEnv):
    r"""A car in a valley, too weak to drive straight up the hill on the right.

    .. math::
        v' = \operatorname{clip}\left(v + p\, u - 0.0025 \cos 3x,\, -0.07,\, 0.07\right), \qquad
        x' = \operatorname{clip}(x + v',\, -1.2,\, 0.6)

    .. math::
        r = \begin{cases}
            x' - 0.6 & \text{if shaped} \\
            -1 & \text{otherwise}
        \end{cases}

    The wall on the left takes the car's speed. The force :math:`u` is in [-1, 1], the observation
    is :math:`(x, v)`, the start is :math:`x \sim U[-0.6, -0.4]` at rest. The episode ends where
    :math:`x' \ge g` and :math:`v' \ge 0`, and the last step costs 1 as every other does.

    The paper says that it adapts Gym's discrete task to continuous actions as Neumann et al.
    (2022) do, whose released code has the constants :math:`(p, g)` of Gym's continuous task:
    (0.0015, 0.45), the default here. The discrete task's are (0.001, 0.5). Ours: the shaped task
    ends at the goal too, and pays for the state that an action leads to, not for the one before,
    both of which the paper leaves open.

    Arguments:
        shaped: whether the reward is the distance to the right end.
        dynamics: "continuous" or "discrete", whose constants to take.
        max_steps: steps after which an episode is truncated; ``None`` for no limit.
        options: ``batch_size``, ``device`` and ``dtype``, as for :class:`TensorEnv`.

    Raises:
        ValueError: if ``dynamics`` is unknown or ``max_steps`` less than 1; at a step, if the
            action's shape is wrong or it is not finite.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), appendix D.2;
        the released code of Neumann et al. (2022).

    Example:
        >>> env = MountainCar(batch_size=[3])
        >>> state = torch.tensor([[-0.5, 0.0], [-1.19, -0.05], [0.44, 0.05]])
        >>> state, reward, terminated = env.transition(state, torch.ones(3, 1))
        >>> state, terminated
        (tensor([[-0.4987,  0.0013],
                [-1.2000,  0.0000],
                [ 0.4909,  0.0509]]), tensor([False, False,  True]))
    """

    def __init__(
        self,
        shaped: bool = False,
        dynamics: Literal["continuous", "discrete"] = "continuous",
        max_steps: int | None = 1000,
        **options: Any,
    ) -> None:
        if dynamics not in DYNAMICS:
            raise ValueError(f"dynamics must be one of {sorted(DYNAMICS)}, got {dynamics!r}.")
        self.shaped, self.dynamics = shaped, DYNAMICS[dynamics]
        super().__init__(
            low=[-1.0],
            high=[1.0],
            observation_low=[LEFT, -MAX_SPEED],
            observation_high=[RIGHT, MAX_SPEED],
            max_steps=max_steps,
            **options,
        )

    def initial_state(self, shape: Sequence[int]) -> Tensor:
        position = self.uniform(-0.6, -0.4, shape)
        return torch.stack((position, torch.zeros_like(position)), -1)

    def transition(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        position, velocity = state.unbind(-1)
        push = self.dynamics.power * action.squeeze(-1) - 0.0025 * (3 * position).cos()
        velocity = (velocity + push).clamp(-MAX_SPEED, MAX_SPEED)
        position = (position + velocity).clamp(LEFT, RIGHT)
        velocity = torch.where((position <= LEFT) & (velocity < 0), 0.0, velocity)
        reached = (position >= self.dynamics.goal) & (velocity >= 0)
        reward = position - RIGHT if self.shaped else -torch.ones_like(position)
        return torch.stack((position, velocity), -1), reward, reached

    def draw(self, axes: Any, state: Tensor) -> None:
        from matplotlib.patches import Rectangle

        hill = torch.linspace(LEFT, RIGHT, 181, dtype=torch.float64, device="cpu")
        axes.plot(hill, _height(hill), color="black", linewidth=1.5)
        goal, position = self.dynamics.goal, state[0].double()
        axes.axvspan(goal, RIGHT, color="tab:green", alpha=0.15, linewidth=0)
        foot = float(_height(torch.tensor(goal)))
        axes.plot((goal, goal), (foot, foot + 0.2), color="black")
        flag = ((goal, goal + 0.09, goal), (foot + 0.2, foot + 0.165, foot + 0.13))
        axes.fill(*flag, color="tab:green")
        wheels = (float(position), float(_height(position)))
        tilt = math.degrees(math.atan(1.35 * math.cos(3 * wheels[0])))
        corner = (wheels[0] - 0.06, wheels[1] + 0.01)
        axes.add_patch(
            Rectangle(corner, 0.12, 0.06, angle=tilt, rotation_point=wheels, color="tab:red")
        )
        axes.set(xlim=(-1.3, 0.7), ylim=(-0.35, 1.65), xticks=[], yticks=[], aspect="equal")


def _height(position: Tensor) -> Tensor:
    """Give the height of the hill, as it is drawn."""
    return 0.45 * (3 * position).sin() + 0.55
