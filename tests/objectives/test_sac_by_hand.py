"""One batch worked out with torch alone: target, critics, actor, temperature, gradients."""

import math

import pytest
import torch
import torch.distributions as D
from tensordict import TensorDict
from torch import nn
from torch.nn import functional
from torch.testing import assert_close
from torchrl.data import Bounded
from torchrl.modules import ValueOperator

from torchrl_mixture.modules import mixture_actor
from torchrl_mixture.objectives import HalfReparam, Likelihood, MixtureSACLoss

pytestmark = pytest.mark.usefixtures("float64")

K, A, SIZE, GAMMA = 3, 2, 6, 0.9
LOW = torch.tensor([-1.0, -2.0], dtype=torch.float64)
HIGH = torch.tensor([1.0, 0.5], dtype=torch.float64)


class ByHand:
    """The same arithmetic, with no part of the library; draws in the library's order."""

    def __init__(self, weight, bias, critics, targets, log_alpha):
        self.weight, self.bias, self.critics, self.targets = weight, bias, critics, targets
        self.alpha, self.log_alpha = log_alpha.exp().detach(), log_alpha
        self.half = (HIGH - LOW) / 2
        self.center = (HIGH + LOW) / 2

    def parameters(self, observation):
        out = observation @ self.weight.T + self.bias
        # TorchRL's biased softplus: 1 at 0, and at least 0.01.
        scale = functional.softplus(out[:, K + K * A :] + math.log(math.expm1(0.99))) + 0.01
        loc = out[:, K : K + K * A]
        return out[:, :K].log_softmax(-1), loc.reshape(-1, K, A), scale.reshape(-1, K, A)

    def log_prob(self, x, parameters):
        log_weights, loc, scale = parameters
        mixture = D.MixtureSameFamily(
            D.Categorical(logits=log_weights), D.Independent(D.Normal(loc, scale), 1)
        )
        slope = self.half * (1 - x.tanh().square())
        return mixture.log_prob(x) - slope.log().sum(-1)

    def squash(self, x):
        return self.center + self.half * x.tanh()

    def draw(self, parameters):
        log_weights, loc, scale = parameters
        uniform = torch.rand(SIZE)
        cumulative = log_weights.detach().exp().cumsum(-1)
        component = (cumulative < (1 - uniform).unsqueeze(-1)).sum(-1)
        rows = torch.arange(SIZE)
        x = loc[rows, component] + scale[rows, component] * torch.randn(SIZE, A)
        return component, x

    def values(self, critics, observation, action):
        inputs = torch.cat([observation, action], -1)
        return torch.stack([(inputs @ weight + bias) for weight, bias in critics])

    def q(self, observation, x):
        frozen = [(weight.detach(), bias.detach()) for weight, bias in self.critics]
        return self.values(frozen, observation, self.squash(x)).amin(0)

    @torch.no_grad()
    def target(self, batch):
        following = batch["next"]
        parameters = self.parameters(following["observation"])
        _, x = self.draw(parameters)
        q = self.values(self.targets, following["observation"], self.squash(x)).amin(0)
        value = q - self.alpha * self.log_prob(x, parameters)
        alive = 1 - following["terminated"].squeeze(-1).double()
        return following["reward"].squeeze(-1) + GAMMA * alive * value

    def cost(self, observation, x, parameters):
        log_prob = self.log_prob(x, parameters)
        return self.alpha * log_prob - self.q(observation, x), log_prob

    def half_reparam(self, observation):
        parameters = self.parameters(observation)
        component, x = self.draw(parameters)
        cost, log_prob = self.cost(observation, x, parameters)
        with torch.no_grad():
            baseline = self.cost(observation, self.draw(parameters)[1], parameters)[0]
        score = parameters[0][torch.arange(SIZE), component]
        advantage = (cost - baseline).detach()
        return cost.detach(), cost + score * advantage, log_prob

    def likelihood(self, observation):
        parameters = self.parameters(observation)
        cost, log_prob = self.cost(observation, self.draw(parameters)[1].detach(), parameters)
        with torch.no_grad():
            draws = [self.draw(parameters)[1]]
            baseline = torch.stack([self.cost(observation, x, parameters)[0] for x in draws])
        return cost.detach(), log_prob * (cost - baseline.mean(0)).detach(), log_prob

    def marginal(self, observation):
        parameters = log_weights, loc, scale = self.parameters(observation)
        x = loc + scale * torch.randn(SIZE, K, A)
        cost, log_prob = 0.0, 0.0
        for k in range(K):
            weight = log_weights[:, k].exp()
            of_component = self.cost(observation, x[:, k], parameters)
            cost, log_prob = cost + weight * of_component[0], log_prob + weight * of_component[1]
        return cost.detach(), cost, log_prob

    def gumbel(self, observation):
        parameters = log_weights, loc, scale = self.parameters(observation)
        x = loc + scale * torch.randn(SIZE, K, A)
        soft = (log_weights - (-torch.rand(SIZE, K).log()).log()).softmax(-1)
        hard = functional.one_hot(soft.argmax(-1), K).double()
        choice = hard + soft - soft.detach()
        mixed = (choice.unsqueeze(-1) * x.tanh()).sum(-2).atanh()
        cost, log_prob = self.cost(observation, mixed, parameters)
        return cost.detach(), cost, log_prob


METHODS = {
    "half": ("half", ByHand.half_reparam),
    "half of one": (HalfReparam(num_baseline_samples=1), ByHand.half_reparam),
    "likelihood": (Likelihood(), ByHand.likelihood),
    "marginal": ("marginal", ByHand.marginal),
    "gumbel": ("gumbel", ByHand.gumbel),
}


def build(estimator):
    actor = mixture_actor(Bounded(LOW, HIGH), K, net=nn.Linear(3, K * (2 * A + 1)))
    critics = [
        ValueOperator(Linear(3 + A, 1), in_keys=["observation", "action"]) for _ in range(2)
    ]
    kwargs = {"alpha_init": 0.4, "loss_function": "l2"}
    loss = MixtureSACLoss(actor, critics, gradient_estimator=estimator, **kwargs)
    loss.make_value_estimator(gamma=GAMMA)
    for target in loss.target_qvalue_network_params.values(True, True):
        target.data.add_(0.3 * torch.randn_like(target))
    return loss


class Linear(nn.Linear):
    def forward(self, *inputs):
        return super().forward(torch.cat(inputs, -1))


def linear(params):
    layer = params["module"]
    return list(zip(layer["weight"][:, 0], layer["bias"][:, 0], strict=True))


def make_batch():
    terminated = torch.tensor([[True], [False], [False], [True], [False], [False]])
    truncated = torch.tensor([[False], [True], [False], [False], [True], [False]])
    following = {
        "observation": torch.randn(SIZE, 3),
        "reward": torch.randn(SIZE, 1),
        "terminated": terminated,
        "done": terminated | truncated,
    }
    action = LOW + (HIGH - LOW) * torch.rand(SIZE, A)
    content = {"observation": torch.randn(SIZE, 3), "action": action, "next": following}
    return TensorDict(content, [SIZE])


@pytest.mark.parametrize("name", METHODS)
def test_one_batch(name):
    estimator, actor_loss = METHODS[name]
    loss, batch = build(estimator), make_batch()
    layer = loss.actor_network_params["module", "0", "module", "0"]
    critics = linear(loss.qvalue_network_params)
    targets = linear(loss.target_qvalue_network_params)
    hand = ByHand(layer["weight"], layer["bias"], critics, targets, loss.log_alpha)

    torch.manual_seed(3)
    target = hand.target(batch)
    values = hand.values(critics, batch["observation"], batch["action"])
    loss_qvalue = (values - target).square().sum(0).mean()
    value, surrogate, log_prob = actor_loss(hand, batch["observation"])
    loss_alpha = -(hand.log_alpha * (log_prob.detach() - A)).mean()

    expected = {"loss_qvalue": loss_qvalue, "loss_actor": value.mean(), "loss_alpha": loss_alpha}
    expected |= {"alpha": hand.alpha, "entropy": -log_prob.detach().mean()}
    (loss_qvalue + surrogate.mean() + loss_alpha).backward()
    gradients = {name: parameter.grad.clone() for name, parameter in loss.named_parameters()}

    loss.zero_grad()
    torch.manual_seed(3)
    output = loss(batch)
    for key, number in expected.items():
        assert_close(output[key], number)
    assert_close(batch["td_error"], (values - target).abs().amax(0))
    sum(output[key] for key in ("loss_actor", "loss_qvalue", "loss_alpha")).backward()
    for name, parameter in loss.named_parameters():
        assert_close(parameter.grad, gradients[name])


@pytest.mark.parametrize("skip_done_states", [False, True])
def test_terminal_states_do_not_bootstrap(skip_done_states):
    loss, batch = build("half"), make_batch()
    loss.skip_done_states = skip_done_states
    batch["next", "done"] = batch["next", "terminated"]
    terminated = batch["next", "terminated"].squeeze(-1)
    batch["next", "observation"][terminated] = 1e6
    target = loss._compute_target_v2(batch)
    assert_close(target[terminated], batch["next", "reward"].squeeze(-1)[terminated])
    assert not target[~terminated].isclose(batch["next", "reward"].squeeze(-1)[~terminated]).any()


def test_truncated_states_do():
    loss, batch = build("half"), make_batch()
    batch["next", "done"] = torch.ones_like(batch["next", "done"])
    batch["next", "terminated"] = torch.zeros_like(batch["next", "done"])
    reward = batch["next", "reward"].squeeze(-1)
    assert not loss._compute_target_v2(batch).isclose(reward).any()


@pytest.mark.parametrize(("given", "expected"), [("auto", -2.0), (-0.7, -0.7)])
def test_target_entropy(given, expected, make_loss, make_batch):
    loss = make_loss(target_entropy=given)
    assert loss.target_entropy == expected
    output = loss(make_batch())
    expected_loss = -loss.log_alpha * (expected - output["entropy"])
    assert_close(output["loss_alpha"], expected_loss)


def test_temperature(make_loss, make_batch, run):
    learned = make_loss(alpha_init=0.3)
    output, gradients = run.step(learned, make_batch())
    assert_close(output["alpha"], torch.tensor(0.3))
    assert_close(gradients["log_alpha"], output["entropy"] - learned.target_entropy)
    fixed = make_loss(alpha_init=0.3, fixed_alpha=True)
    assert "log_alpha" not in dict(fixed.named_parameters())
    assert "log_alpha" not in run.step(fixed, make_batch())[1]
    for limits, alpha in (({"min_alpha": 0.5}, 0.5), ({"max_alpha": 0.2}, 0.2)):
        limited = make_loss(alpha_init=0.3, **limits)
        assert_close(limited(make_batch())["alpha"], torch.tensor(alpha))
