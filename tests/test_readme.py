"""The programs of the README run as they are printed."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_program_runs(number, capsys):
    names = {}
    exec(compile(PROGRAMS[number], f"README.md, program {number}", "exec"), names)
    loss = names.get("loss")
    if loss is None:
        return
    printed = capsys.readouterr().out
    assert "loss_actor" in printed and "nan" not in printed
    assert all(parameter.isfinite().all() for parameter in loss.parameters())


def test_swap_takes_ten_lines():
    imports, ours, body, prints = PROGRAMS[0].split("\n\n")
    assert len(body.splitlines()) == 10 and ";" not in body
