"""Settings: what is read, and what is refused in one line."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from torchrl_mixture.trainers import ConfigError, load_config, refusals, setting


@dataclass
class Optim:
    lr: float = setting(1e-3, above=0)
    gamma: float = setting(0.99, at_least=0, at_most=1)
    rule: Literal["heaviest", "densest"] = "heaviest"
    compile: bool = False
    coef: float | None = setting(None, at_least=0, at_most=5)


@dataclass
class Config:
    optim: Optim = field(default_factory=Optim)
    sizes: list[int] = setting([64, 64], above=0)
    total_frames: int = setting(100, above=0)
    name: str = "a"


def test_defaults_and_arguments():
    assert load_config(Config, []) == Config()
    config = load_config(
        Config, ["optim.lr=3e-4", "sizes=[8,9]", "total_frames=1e6", "optim.compile=true"]
    )
    assert config == Config(Optim(lr=3e-4, compile=True), [8, 9], 1_000_000)
    assert isinstance(config.total_frames, int)


@pytest.mark.parametrize(
    ("text", "value"), [("null", None), ("", None), ("0", 0.0), ("2", 2.0), ("5.", 5.0)]
)
def test_a_number_that_may_be_left_out(text, value):
    given = load_config(Config, ["optim.coef=1", f"optim.coef={text}"]).optim.coef
    assert given == value and type(given) is type(value)


@pytest.mark.parametrize("text", ["nan", "inf", "true", "{}", "None"])
def test_no_number_is_refused(text):
    with pytest.raises(
        ConfigError, match=r"^optim\.coef=.*: expected null or a number at least 0"
    ):
        load_config(Config, [f"optim.coef={text}"])


def test_later_arguments_win():
    assert load_config(Config, ["name=b", "name=c"]).name == "c"


def test_defaults_are_not_shared():
    load_config(Config, []).sizes.append(1)
    assert load_config(Config, []).sizes == [64, 64]


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        (
            "optim.lrr=3",
            "optim.lrr=3: expected a known key, the nearest is optim.lr (a number above 0).",
        ),
        ("optim.lr=abc", "optim.lr=abc: expected a number above 0."),
        ("optim.lr=0", "optim.lr=0: expected a number above 0."),
        ("optim.lr=null", "optim.lr=None: expected a number above 0."),
        ("optim.lr=nan", "optim.lr=nan: expected a number above 0."),
        ("optim.gamma=1.1", "optim.gamma=1.1: expected a number at least 0 and at most 1."),
        ("optim.rule=densets", "optim.rule=densets: expected heaviest | densest."),
        ("optim.coef=-1", "optim.coef=-1: expected null or a number at least 0 and at most 5."),
        ("optim.coef=6", "optim.coef=6: expected null or a number at least 0 and at most 5."),
        ("optim.coef=a", "optim.coef=a: expected null or a number at least 0 and at most 5."),
        ("optim.coef=[1]", "optim.coef=[1]: expected null or a number at least 0 and at most 5."),
        ("optim.compile=maybe", "optim.compile=maybe: expected true or false."),
        ("total_frames=1.5", "total_frames=1.5: expected an integer above 0."),
        ("total_frames=true", "total_frames=True: expected an integer above 0."),
        ("sizes=[8,x]", "sizes=[8, 'x']: expected a list of integers, each above 0."),
        ("sizes=[8,0]", "sizes=[8, 0]: expected a list of integers, each above 0."),
        ("sizes=8", "sizes=8: expected a list of integers, each above 0."),
        ("name=[1", "name=[1: expected a number, a text, true, false or a list as [1,2]."),
        ("optim", "optim=(nothing): expected key=value."),
    ],
)
def test_refusals_are_one_line_and_exit_code_two(argument, line, capsys):
    with pytest.raises(SystemExit) as exit_info, refusals():
        load_config(Config, [argument])
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == line + "\n"


def test_debug_lets_the_error_through():
    with pytest.raises(ConfigError), refusals(debug=True):
        load_config(Config, ["optim.lr=0"])


def test_a_whole_section_is_refused():
    with pytest.raises(ConfigError, match=r"^optim=3: expected a known key, the nearest is optim"):
        load_config(Config, ["optim=3"])


def test_help_lists_keys_with_defaults_and_bounds(capsys):
    with pytest.raises(SystemExit) as exit_info:
        load_config(Config, ["optim.lr=wrong", "--help"])
    assert exit_info.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {key: rest for key, _, rest in (line.strip().partition(" ") for line in lines[1:])}
    assert listed["optim.gamma=0.99"].strip() == "a number at least 0 and at most 1"
    given = "null or a number at least 0 and at most 5"
    assert listed["optim.coef=null"].strip() == given
    assert len(listed) == 8
