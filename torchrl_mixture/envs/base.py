"""What the tensor environments have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Bounded, Composite, Unbounded
from torchrl.envs import EnvBase

PICTURE_INCHES, PICTURE_DPI = 4.8, 100  # 480 pixels, as Gymnasium draws its MuJoCo tasks


class TensorEnv(EnvBase):
    r"""Copies of one task in one tensor, stepped together.

    A task implements four functions of tensors, so that it can be stepped without a TensorDict
    too: :meth:`initial_state`, :meth:`transition`, :meth:`observe` and :meth:`draw`.

    .. math::
        s_0 \sim \rho, \qquad (s', r, d) = f\left(s, \operatorname{clip}(a)\right)

    An action outside its box is clipped, as in the papers' environments. Initial states come from
    a generator of the environment's own, on the CPU, so that a seed gives the same ones on every
    device; until it is seeded, it depends on PyTorch's global seed.

    The state is differentiable in the actions, where the task is: roll out under
    ``torch.no_grad`` unless that is wanted. Low precision is not supported: some tasks need
    float32 or float64.

    Arguments:
        low: the least action, ``[A]``.
        high: the greatest action, ``[A]``.
        observation_low: the least observation, ``[O]``; minus infinity for no bound.
        observation_high: the greatest observation, ``[O]``.
        max_steps: steps after which an episode is truncated; ``None`` for no limit.
        batch_size: shape ``[*B]`` of the copies; ``()`` for one.
        device: where the tensors are; the default device by default.
        dtype: their type; PyTorch's default by default.

    Raises:
        ValueError: if ``max_steps`` is less than 1; at a step, if the action's shape is wrong or
            it is not finite.

    Example:
        >>> from torchrl_mixture.envs import Pendulum
        >>> env = Pendulum(batch_size=[1_000])
        >>> env.rollout(5)["next", "reward"].shape
        torch.Size([1000, 5, 1])
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 30}

    state: Tensor
    elapsed: Tensor

    def __init__(
        self,
        *,
        low: Sequence[float],
        high: Sequence[float],
        observation_low: Sequence[float],
        observation_high: Sequence[float],
        max_steps: int | None,
        batch_size: Sequence[int] = (),
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if max_steps is not None and max_steps < 1:
            raise ValueError(f"max_steps must be None or at least 1, got {max_steps}.")
        device = torch.get_default_device() if device is None else torch.device(device)
        super().__init__(device=device, batch_size=torch.Size(batch_size))
        self.dtype = dtype or torch.get_default_dtype()
        self.max_steps = max_steps
        options: dict[str, Any] = {"dtype": self.dtype, "device": device}
        self.action_spec = self._box(low, high, **options)
        self.observation_spec = Composite(
            observation=self._box(observation_low, observation_high, **options),
            shape=self.batch_size,
            device=device,
        )
        self.reward_spec = Unbounded((*self.batch_size, 1), **options)
        end = Binary(1, shape=(*self.batch_size, 1), dtype=torch.bool, device=device)
        ends = {key: end.clone() for key in ("done", "terminated", "truncated")}
        self.done_spec = Composite(ends, shape=self.batch_size, device=device)
        self.register_buffer("low", torch.tensor(low, **options), persistent=False)
        self.register_buffer("high", torch.tensor(high, **options), persistent=False)
        self._generator = torch.Generator().manual_seed(
            int(torch.randint(2**62, (), device="cpu"))
        )
        self.register_buffer("state", self.initial_state(self.batch_size), persistent=False)
        elapsed = torch.zeros(self.batch_size, dtype=torch.int64, device=device)
        self.register_buffer("elapsed", elapsed, persistent=False)

    def _box(self, low: Sequence[float], high: Sequence[float], **options: Any) -> Bounded:
        sides = (torch.tensor(side, **options) for side in (low, high))
        return Bounded(*(side.expand(*self.batch_size, -1).clone() for side in sides), **options)

    # What a task implements.

    @abstractmethod
    def initial_state(self, shape: Sequence[int]) -> Tensor:
        """Draw states to begin with.

        Arguments:
            shape: ``[*B]``.

        Returns:
            ``[*B, S]``.
        """

    @abstractmethod
    def transition(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give what follows on an action; a pure function.

        Arguments:
            state: ``[*B, S]``.
            action: inside the box, ``[*B, A]``.

        Returns:
            the next state ``[*B, S]``, the reward ``[*B]`` and whether the episode has reached a
            terminal state ``[*B]``, bool.
        """

    def observe(self, state: Tensor) -> Tensor:
        """Give what is seen of a state; by default all of it.

        Arguments:
            state: ``[*B, S]``.

        Returns:
            ``[*B, O]``.
        """
        return state.clone()  # who writes into an observation must not move the environment

    @abstractmethod
    def draw(self, axes: Any, state: Tensor) -> None:
        """Draw the task in one state.

        Arguments:
            axes: a Matplotlib ``Axes``.
            state: ``[S]``.
        """

    # Random numbers for the initial states.

    @property
    def _random(self) -> dict[str, Any]:
        return {"generator": self._generator, "dtype": torch.float64, "device": "cpu"}

    def uniform(self, low: float, high: float, shape: Sequence[int]) -> Tensor:
        """Draw from a uniform distribution, with the environment's own generator."""
        unit = torch.rand(tuple(shape), **self._random)
        return (low + (high - low) * unit).to(self.device, self.dtype)

    def normal(self, scale: float, shape: Sequence[int]) -> Tensor:
        """Draw from a normal distribution of mean zero, with the environment's own generator."""
        unit = torch.randn(tuple(shape), **self._random)
        return (scale * unit).to(self.device, self.dtype)

    def begin_in(self, state: Tensor) -> TensorDict:
        """Begin an episode in a given state; of a transformed environment, in its ``base_env``.

        Arguments:
            state: ``[*B, S]``.

        Returns:
            what ``reset`` returns.

        Raises:
            ValueError: if the state has another shape.
        """
        if state.shape != self.state.shape:
            raise ValueError(
                f"state must have shape {list(self.state.shape)}, got {list(state.shape)}."
            )
        tensordict = self.reset()
        self.state = state.to(self.device, self.dtype, copy=True)
        return tensordict.set("observation", self.observe(self.state))

    # TorchRL's side.

    def _set_seed(self, seed: int | None) -> None:
        if seed is not None:
            self._generator.manual_seed(seed)

    def _reset(self, tensordict: TensorDictBase | None = None, **_: Any) -> TensorDict:
        state, elapsed = self.initial_state(self.batch_size), torch.zeros_like(self.elapsed)
        chosen = None if tensordict is None else tensordict.get("_reset", None)
        if chosen is not None:
            state = torch.where(chosen, state, self.state)
            elapsed = torch.where(chosen.squeeze(-1), elapsed, self.elapsed)
        self.state, self.elapsed = state, elapsed
        return TensorDict({"observation": self.observe(state)}, self.batch_size, self.device)

    def _check_action(self, action: Tensor) -> None:
        expected = self.action_spec.shape
        if action.shape != expected:
            raise ValueError(f"action must have shape {list(expected)}, got {list(action.shape)}.")
        if not torch.compiler.is_compiling() and not action.isfinite().all():
            raise ValueError(f"action must be finite, got {action[~action.isfinite()][0].item()}.")

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        action = tensordict.get("action")
        self._check_action(action)
        action = action.to(self.dtype).clamp(self.low, self.high)
        self.state, reward, terminated = self.transition(self.state, action)
        self.elapsed = self.elapsed + 1
        terminated = terminated.unsqueeze(-1)
        truncated = torch.zeros_like(terminated)
        if self.max_steps is not None:
            truncated = (self.elapsed >= self.max_steps).unsqueeze(-1)
        ends = {"terminated": terminated, "truncated": truncated, "done": terminated | truncated}
        data = {"observation": self.observe(self.state), "reward": reward.unsqueeze(-1), **ends}
        return TensorDict(data, self.batch_size, self.device)

    def render(self, index: int | tuple[int, ...] = ()) -> np.ndarray:
        """Draw one copy, as it is now, as a picture.

        Arguments:
            index: which one; needed only where there are several.

        Returns:
            ``[480, 480, 3]``, uint8.

        Raises:
            ValueError: if the index does not choose one copy.
            ModuleNotFoundError: if Matplotlib is not installed.
        """
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(PICTURE_INCHES, PICTURE_INCHES), dpi=PICTURE_DPI)
        canvas = FigureCanvasAgg(figure)
        self.plot(figure.add_subplot(), index)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def plot(self, axes: Any, index: int | tuple[int, ...] = ()) -> None:
        """Draw one copy, as it is now, on a Matplotlib axis.

        Arguments:
            axes: a Matplotlib ``Axes``.
            index: which one; needed only where there are several.

        Raises:
            ValueError: if the index does not choose one copy.
        """
        state = self.state[index].detach().cpu()
        if state.ndim != 1:
            raise ValueError(
                f"index must choose one of the copies {list(self.batch_size)}, got {index}."
            )
        self.draw(axes, state)
