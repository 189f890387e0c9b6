"""Rewards moved down, with an absorbing state so that ending early does not pay."""

from __future__ import annotations

from typing import Any, Literal, get_args

import gymnasium
import numpy as np

SHIFTS = {"Hopper": -5.0, "Walker2d": -5.0, "HalfCheetah": -15.0, "Ant": -5.0, "Swimmer": -0.5}

Absorbing = Literal["padding", "closed_form"]


class ShiftedReward(gymnasium.Wrapper):
    r"""Add a constant to every reward, up to the time limit also after a terminal state.

    With a negative shift :math:`c` an agent would do well to end the episode. So it stays in an
    absorbing state of reward :math:`0 + c` until the time limit :math:`T`: either for as many
    steps (``"padding"``: the last observation is repeated, actions have no effect, and the episode
    is truncated at :math:`T`), or at once (``"closed_form"``: the episode ends as before, at step
    :math:`t`, and the last reward contains what was to come):

    .. math::
        r_t = r + c + c \sum_{k=1}^{T - t} \gamma^k

    Episodes have the same discounted return in both forms, but a critic learns different things.
    The closed form depends on the step, which is not observed. With padding, a learner bootstraps
    from the absorbing state at the time limit as well, and so learns the value of staying there
    for ever, :math:`c / (1 - \gamma)`, to which SAC adds its entropy bonus; and most of the data
    may be padding. Which of the two was used is not published, nor the reward of the absorbing
    state; 0 before the shift is ours, and padding is the default.

    Arguments:
        env: a Gymnasium environment with a time limit.
        shift: :math:`c`, added to each reward.
        absorbing: how the absorbing state is realised.
        gamma: :math:`\gamma`, the discount of the closed form; padding does not use it.

    Raises:
        ValueError: if ``absorbing`` is unknown, the discount is not in [0, 1] or the environment
            has no time limit.

    Source:
        "Investigating Mixture Policies in Entropy-Regularized Actor-Critic" (2025), appendix E.5.

    Example:
        >>> env = ShiftedReward(gymnasium.make("Pendulum-v1"), shift=-5.0)
        >>> _ = env.reset(seed=0)
        >>> env.step(np.zeros(1, np.float32))[1] < -5
        True
    """

    def __init__(
        self,
        env: gymnasium.Env,
        shift: float,
        absorbing: Absorbing = "padding",
        gamma: float = 0.99,
    ) -> None:
        super().__init__(env)
        if absorbing not in get_args(Absorbing):
            raise ValueError(f"absorbing must be one of {get_args(Absorbing)}, got {absorbing!r}.")
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma must be in [0, 1], got {gamma}.")
        if env.spec is None or env.spec.max_episode_steps is None:
            raise ValueError(f"env must have a time limit, got {env}.")
        self.shift, self.absorbing, self.gamma = shift, absorbing, gamma
        self.max_steps = env.spec.max_episode_steps
        self._steps = 0
        self._absorbed_in: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self._steps, self._absorbed_in = 0, None
        return self.env.reset(seed=seed, options=options)

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        if self._absorbed_in is not None:
            return self._absorbed_in, self.shift, False, self._steps >= self.max_steps, {}
        observation, reward, terminated, truncated, info = self.env.step(action)
        reward = float(reward) + self.shift
        if terminated and self.absorbing == "padding":
            self._absorbed_in, terminated = observation, False
            truncated = self._steps >= self.max_steps
        elif terminated:
            to_come = np.arange(1, self.max_steps - self._steps + 1)
            reward += self.shift * float((self.gamma**to_come).sum())
        return observation, reward, terminated, truncated, info


def shifted_task(
    name: str, render_mode: str | None = None, absorbing: Absorbing = "padding"
) -> ShiftedReward:
    """Make a MuJoCo task with the paper's shift of its rewards.

    Arguments:
        name: Hopper, Walker2d, HalfCheetah, Ant or Swimmer.
        render_mode: as for ``gymnasium.make``.
        absorbing: as for :class:`ShiftedReward`.

    Example:
        >>> shifted_task("Hopper").shift
        -5.0
    """
    env = gymnasium.make(f"{name}-v5", render_mode=render_mode)
    return ShiftedReward(env, SHIFTS[name], absorbing)
