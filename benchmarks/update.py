"""Time of one SAC update: TorchRL's loss, this library's, and one written by hand.

    OMP_NUM_THREADS=1 python benchmarks/update.py [--rounds 7] [--compile]

An update is the loss forward, its backward, the optimiser's step, the gradients' reset and the
targets' step. All rows take turns within a round, and every ratio is the median over rounds of the
ratio within one, so that a machine that slows down does so for both sides.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from handwritten import HandWritten
from tensordict import TensorDict
from tensordict.nn import NormalParamExtractor, TensorDictModule
from torch import nn
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.modules import MLP, ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import SACLoss, SoftUpdate, group_optimizers

from torchrl_mixture.modules import mixture_actor
from torchrl_mixture.objectives import Likelihood, MixtureSACLoss

SACLOSS, FUSED = "SACLoss, its own recipe", "SACLoss, one fused Adam"
RATIOS = (  # what is compared, with what, and the most it may be
    ("half K=5", SACLOSS, 1.00),
    ("half K=5", "by hand K=5", 1.25),
    ("half K=16", "half K=1", 1.35),
)
COMPILED = (("half K=5, compiled", SACLOSS, 0.40),)


class Size(NamedTuple):
    width: int
    batch: int
    observation: int
    action: int
    updates: int  # in a row, before the next takes its turn

    def __str__(self) -> str:
        return f"{self.width} units, batch {self.batch}"


LARGE, SMALL = Size(256, 256, 17, 6, 4), Size(64, 32, 3, 1, 15)


def network(size: Size, inputs: int, outputs: int) -> MLP:
    return MLP(inputs, outputs, num_cells=[size.width] * 2, activation_class=nn.ReLU)


def torchrl_actor(size: Size) -> ProbabilisticActor:
    spec = Bounded(-1.0, 1.0, (size.action,))
    net = network(size, size.observation, 2 * size.action)
    module = nn.Sequential(net, NormalParamExtractor(scale_lb=0.1))
    return ProbabilisticActor(
        TensorDictModule(module, ["observation"], ["loc", "scale"]),
        in_keys=["loc", "scale"],
        spec=spec,
        distribution_class=TanhNormal,
        distribution_kwargs={"low": spec.space.low, "high": spec.space.high, "tanh_loc": False},
    )


def our_actor(size: Size, num_components: int) -> ProbabilisticActor:
    spec = Composite(observation=Unbounded((size.observation,)))
    action_spec = Bounded(-1.0, 1.0, (size.action,))
    cells = (size.width, size.width)
    return mixture_actor(action_spec, num_components, observation_spec=spec, num_cells=cells)


def make_batch(size: Size) -> TensorDict:
    shape, no = (size.batch,), torch.zeros(size.batch, 1, dtype=torch.bool)
    following = {
        "observation": torch.randn(*shape, size.observation),
        "reward": torch.randn(*shape, 1),
        "done": no,
        "terminated": no,
    }
    content = {
        "observation": torch.randn(*shape, size.observation),
        "action": torch.rand(*shape, size.action) * 1.8 - 0.9,
        "next": TensorDict(following, shape),
    }
    return TensorDict(content, shape)


def update_of(size: Size, cls, actor, *, fused=True, compiled=False, **kwargs) -> Callable:
    """One update with a TorchRL loss, with the optimiser of TorchRL's recipe or a fused Adam."""
    inputs = size.observation + size.action
    critics = [
        ValueOperator(network(size, inputs, 1), in_keys=["observation", "action"])
        for _ in range(2)
    ]
    loss = cls(actor, critics, loss_function="l2", **kwargs)
    loss.make_value_estimator(gamma=0.99)
    updater = SoftUpdate(loss, eps=0.995)
    if fused:
        optimizer = torch.optim.Adam(loss.parameters(), 3e-4, fused=True)
    else:
        groups = (loss.actor_network_params, loss.qvalue_network_params)
        groups = [*(list(params.flatten_keys().values()) for params in groups), [loss.log_alpha]]
        optimizer = group_optimizers(*(torch.optim.Adam(group, 3e-4) for group in groups))
    batch = make_batch(size)
    call = torch.compile(loss) if compiled else loss

    def update() -> None:
        output = call(batch.copy())
        (output["loss_actor"] + output["loss_qvalue"] + output["loss_alpha"]).backward()
        optimizer.step()
        optimizer.zero_grad()
        updater.step()

    return update


def by_hand(size: Size, num_components: int) -> Callable[[], None]:
    learner = HandWritten(num_components, size.observation, size.action, size.width)
    batch = make_batch(size)
    tensors = {
        "observation": batch["observation"],
        "action": batch["action"],
        "next_observation": batch["next", "observation"],
        "reward": batch["next", "reward"].squeeze(-1),
        "alive": 1 - batch["next", "terminated"].squeeze(-1).float(),
    }
    return lambda: learner.update(tensors)


def mixture(size: Size, estimator, num_components: int, **kwargs) -> Callable[[], None]:
    estimator = copy.deepcopy(estimator)
    kwargs["gradient_estimator"] = estimator
    return update_of(size, MixtureSACLoss, our_actor(size, num_components), **kwargs)


def eager_rows(size: Size) -> dict[str, Callable[[], None]]:
    rows = {
        SACLOSS: update_of(size, SACLoss, torchrl_actor(size), fused=False),
        FUSED: update_of(size, SACLoss, torchrl_actor(size)),
        "SACLoss, mixture K=5": update_of(size, SACLoss, our_actor(size, 5)),
        "by hand K=1": by_hand(size, 1),
        "by hand K=5": by_hand(size, 5),
    }
    estimators = {name: name for name in ("half", "gumbel", "likelihood")}
    estimators |= {"likelihood of 30": Likelihood(num_baseline_samples=30)}
    estimators |= {name: name for name in ("marginal", "implicit")}
    for name, estimator in estimators.items():
        for num_components in (1, 5, 16):
            rows[f"{name} K={num_components}"] = mixture(size, estimator, num_components)
    return rows


def compiled_rows(size: Size) -> dict[str, Callable[[], None]]:
    return {
        SACLOSS: update_of(size, SACLoss, torchrl_actor(size), fused=False),
        "SACLoss, compiled": update_of(size, SACLoss, torchrl_actor(size), compiled=True),
        "half K=5": mixture(size, "half", 5),
        "half K=5, compiled": mixture(size, "half", 5, compiled=True),
    }


def measure(rows: dict[str, Callable[[], None]], updates: int, rounds: int) -> dict[str, list]:
    times: dict[str, list[float]] = {name: [] for name in rows}
    for current in range(-1, rounds):  # the first round warms up
        for name, update in rows.items():
            update()  # what the row before left in the caches is not this one's to pay
            start = time.perf_counter()
            for _ in range(updates):
                update()
            if current >= 0:
                times[name].append(1e3 * (time.perf_counter() - start) / updates)
    return times


def ratio(times: dict[str, list[float]], name: str, reference: str) -> float:
    pairs = zip(times[name], times[reference], strict=True)
    return statistics.median(first / second for first, second in pairs)


def report(title: str, times: dict[str, list[float]], columns: list[str], ratios) -> None:
    print(f"### {title}\n")
    print("| update | ms | " + " | ".join(f"/ {column}" for column in columns) + " |")
    print("|---|" + "---|" * (1 + len(columns)))
    for name, values in times.items():
        cells = [f"{ratio(times, name, column):.2f}" for column in columns]
        print(f"| {name} | {statistics.median(values):.2f} | " + " | ".join(cells) + " |")
    print()
    for name, reference, most in ratios:
        print(f"- {name} / {reference}: {ratio(times, name, reference):.2f} (at most {most:.2f})")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="at least 5 for a number to keep")
    parser.add_argument("--compile", action="store_true", help="the compiled update alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if not options.compile:
        for size in (LARGE, SMALL):
            times = measure(eager_rows(size), size.updates, options.rounds)
            ratios = RATIOS if size is LARGE else ()
            report(str(size), times, [SACLOSS, FUSED, "by hand K=5"], ratios)
    times = measure(compiled_rows(SMALL), SMALL.updates, options.rounds)
    report(f"{SMALL}, compiled", times, [SACLOSS, "SACLoss, compiled"], COMPILED)


if __name__ == "__main__":
    main()
