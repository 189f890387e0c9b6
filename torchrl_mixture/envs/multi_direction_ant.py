"""Gymnasium's Ant, rewarded for speed in any direction."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

SURVIVAL = 0.05
CONTROL_COST, CONTACT_COST = 0.5 * 0.01, 0.5 * 0.001


class MultiDirectionAnt(gymnasium.Wrapper):
    r"""An ant that is paid for its speed in the plane, whatever the direction.

    .. math::
        r = \lVert v_{xy} \rVert + 0.05 - 0.005 \lVert a \rVert^2
            - 0.0005 \lVert \operatorname{clip}(f, -1, 1) \rVert^2

    with the velocity :math:`v` of the torso in metres a second, actions :math:`a` in [-1, 1] and
    contact forces :math:`f`. An episode ends where the torso leaves the heights 0.2 to 1.0 m, and
    is cut off after 1,000 steps.

    The coefficients are those of the released code of soft actor-critic. Its body is rllab's
    (125 observations with the position, 0.02 s a step, velocity of the centre of mass); the paper
    cites Gymnasium's predecessor. Ours: the body, time step (0.05 s) and observations (105,
    without the position) of ``Ant-v5``.

    Arguments:
        render_mode: as for ``gymnasium.make``.
        options: further arguments of ``Ant-v5``, such as
            ``exclude_current_positions_from_observation=False``.

    Source:
        Cohen et al. (2019), section 6; Haarnoja et al. (2018), by the authors' code.

    Example:
        >>> env = MultiDirectionAnt()
        >>> env.reset(seed=0)[0].shape
        (105,)
    """

    def __init__(self, render_mode: str | None = None, **options: Any) -> None:
        ant = gymnasium.make(
            "Ant-v5",
            render_mode=render_mode,
            ctrl_cost_weight=CONTROL_COST,
            contact_cost_weight=CONTACT_COST,
            **options,
        )
        super().__init__(ant)

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, _, terminated, truncated, info = self.env.step(action)
        speed = float(np.hypot(info["x_velocity"], info["y_velocity"]))
        # Gymnasium reports both costs with their minus.
        reward = speed + SURVIVAL + info["reward_ctrl"] + info["reward_contact"]
        return observation, float(reward), terminated, truncated, info
