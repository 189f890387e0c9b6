"""The programs of the README and of the pages on training and on algorithms run as printed."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{p}.md" for p in ("training", "gamid", "mede", "sacm", "awmp")),
]
PROGRAMS = [
    program
    for page in PAGES
    for program in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
]


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_program_runs(number, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(PROGRAMS[number], f"program {number}", "exec"), names)
    loss = names.get("loss")
    if loss is None:
        return
    assert "nan" not in capsys.readouterr().out
    assert all(parameter.isfinite().all() for parameter in loss.parameters())


def test_swap_takes_ten_lines():
    imports, ours, body, prints = PROGRAMS[0].split("\n\n")
    assert len(body.splitlines()) == 10 and ";" not in body
