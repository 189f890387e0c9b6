"""A mixture SAC update with nothing but PyTorch: what the arithmetic alone costs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

LOG_2PI = math.log(2 * math.pi)
BIAS = math.log(math.expm1(0.99))  # of TorchRL's biased softplus, 1 at 0 and at least 0.01


def mlp(inputs: int, outputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, outputs),
    )  # fmt: skip


class HandWritten:
    """SAC with the half-reparameterised gradient and one sample for the baseline."""

    def __init__(self, num_components: int, observation: int, action: int, width: int) -> None:
        self.K, self.A = num_components, action
        self.actor = mlp(observation, num_components * (2 * action + 1), width)
        self.critics = nn.ModuleList(mlp(observation + action, 1, width) for _ in range(2))
        self.targets = nn.ModuleList(mlp(observation + action, 1, width) for _ in range(2))
        self.targets.load_state_dict(self.critics.state_dict())
        self.log_alpha = nn.Parameter(torch.zeros(()))
        self.learned = [*self.actor.parameters(), *self.critics.parameters(), self.log_alpha]
        self.optimizer = torch.optim.Adam(self.learned, 3e-4, fused=True)
        self.sources = [parameter.detach() for parameter in self.critics.parameters()]
        self.moving = [parameter.detach() for parameter in self.targets.parameters()]

    def parameters(self, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        K, A = self.K, self.A
        logits, loc, scale = self.actor(observation).split((K, K * A, K * A), -1)
        scale = (functional.softplus(scale + BIAS) + 0.01).clamp_min(1e-4)
        return logits.log_softmax(-1), loc.unflatten(-1, (K, A)), scale.unflatten(-1, (K, A))

    def draw(self, log_weights: Tensor, loc: Tensor, scale: Tensor):
        noise = torch.randn(loc.shape[0], self.A)
        if self.K == 1:
            x = loc[:, 0] + scale[:, 0] * noise
            return None, x.tanh(), self.log_prob(x, log_weights, loc, scale)
        weights = log_weights.detach().exp()
        component = (
            (weights.cumsum(-1) < torch.rand(loc.shape[0], 1)).sum(-1).clamp_max(self.K - 1)
        )
        index = component[:, None, None].expand(-1, 1, self.A)
        x = loc.gather(1, index).squeeze(1) + scale.gather(1, index).squeeze(1) * noise
        return component, x.tanh(), self.log_prob(x, log_weights, loc, scale)

    def log_prob(self, x: Tensor, log_weights: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        z = (x.unsqueeze(1) - loc) / scale
        joint = log_weights - (0.5 * (z.square() + LOG_2PI) + scale.log()).sum(-1)
        slope = 2 * (math.log(2) - x - functional.softplus(-2 * x)).sum(-1)
        return joint.logsumexp(-1) - slope

    @staticmethod
    def q(critics: nn.ModuleList, observation: Tensor, action: Tensor) -> Tensor:
        inputs = torch.cat([observation, action], -1)
        return torch.stack([critic(inputs).squeeze(-1) for critic in critics])

    def least_q(self, observation: Tensor, action: Tensor) -> Tensor:
        return self.q(self.critics, observation, action).amin(0)

    def losses(self, batch: dict[str, Tensor]) -> Tensor:
        observation, alpha = batch["observation"], self.log_alpha.detach().exp()
        with torch.no_grad():
            following = batch["next_observation"]
            _, action, log_prob = self.draw(*self.parameters(following))
            value = self.q(self.targets, following, action).amin(0) - alpha * log_prob
            target = batch["reward"] + 0.99 * batch["alive"] * value
        predicted = self.q(self.critics, observation, batch["action"])
        loss_qvalue = (predicted - target).square().sum(0).mean()

        self.critics.requires_grad_(False)
        policy = self.parameters(observation)
        component, action, log_prob = self.draw(*policy)
        cost = alpha * log_prob - self.least_q(observation, action)
        loss_actor = cost.mean()
        if component is not None:
            with torch.no_grad():
                _, action, other_log_prob = self.draw(*policy)
                baseline = alpha * other_log_prob - self.least_q(observation, action)
            score = policy[0].gather(-1, component.unsqueeze(-1)).squeeze(-1)
            loss_actor = loss_actor + (score * (cost.detach() - baseline)).mean()
        self.critics.requires_grad_(True)
        loss_alpha = -(self.log_alpha * (log_prob.detach() - self.A)).mean()
        return loss_qvalue + loss_actor + loss_alpha

    def update(self, batch: dict[str, Tensor]) -> None:
        self.losses(batch).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        torch._foreach_lerp_(self.moving, self.sources, 0.005)
