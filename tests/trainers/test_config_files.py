"""Settings from files: presets, presets on presets, and the settings of a run to continue."""

from dataclasses import dataclass, field

import pytest

from torchrl_mixture.trainers import ConfigError, Refusal, load_config, setting


@dataclass
class Optim:
    lr: float = setting(1e-3, above=0)
    gamma: float = setting(0.99, at_least=0, at_most=1)
    coef: float | None = setting(None, at_least=0)


@dataclass
class Config:
    optim: Optim = field(default_factory=Optim)
    sizes: list[int] = setting([64, 64], above=0)
    total_frames: int = setting(100, above=0, resumable=True)
    interval: int = setting(10, above=0, resumable=True)
    resume: str = setting("", resumable=True)


@pytest.fixture
def write_preset(tmp_path, monkeypatch):
    """Write a preset of the recipe ``recipe.py``, beside which another recipe has its own."""
    monkeypatch.setattr("inspect.getfile", lambda schema: str(tmp_path / "recipe.py"))
    for recipe in ("recipe", "other"):
        (tmp_path / "config" / recipe).mkdir(parents=True)
    (tmp_path / "config" / "other" / "foreign.yaml").write_text("sizes: [1]\n")
    (tmp_path / "config" / "stray.yaml").write_text("sizes: [1]\n")

    def write(name, text):
        (tmp_path / "config" / "recipe" / f"{name}.yaml").write_text(text)

    return write


@pytest.fixture
def write_run(tmp_path):
    """Write the settings of a run and return its folder."""

    def write(text):
        (tmp_path / "config.yaml").write_text(text)
        return tmp_path

    return write


def refusal(*arguments):
    with pytest.raises(Refusal) as refused:
        load_config(Config, arguments)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_preset_comes_before_the_arguments(write_preset):
    write_preset("small", "optim:\n  lr: 0.5\nsizes: [4]\n")
    expected = Config(Optim(lr=0.5), [5])
    assert load_config(Config, ["sizes=[5]", "preset=small"]) == expected
    assert load_config(Config, ["preset=small", "sizes=[5]"]) == expected


def test_empty_preset_is_the_defaults(write_preset):
    write_preset("empty", "")
    assert load_config(Config, ["preset=empty"]) == Config()


def test_preset_builds_on_others(write_preset):
    write_preset("base", "optim:\n  lr: 0.1\n  gamma: 0.1\nsizes: [1]\n")
    write_preset("middle", "sizes: [2]\npreset: base\noptim:\n  gamma: 0.2\n")
    write_preset("top", "preset: middle\nsizes: [3]\n")
    assert load_config(Config, ["preset=top"]) == Config(Optim(lr=0.1, gamma=0.2), [3])


def test_unknown_presets_are_told_with_the_nearest(write_preset):
    write_preset("small", "")
    write_preset("large", "preset: smal\n")
    known = "expected large | small"
    assert refusal("preset=smoll") == f"preset=smoll: {known}; the nearest is small."
    assert refusal("preset=foreign") == f"preset=foreign: {known}."
    assert refusal("preset=stray") == f"preset=stray: {known}."
    assert refusal("preset=large") == f"preset=smal: {known}; the nearest is small."
    assert refusal("preset=3") == f"preset=3: {known}."


def test_a_recipe_without_presets_says_so(write_preset, tmp_path):
    folder = tmp_path / "config" / "recipe"
    assert refusal("preset=a") == f"preset=a: expected no preset, since {folder} has none."


def test_a_preset_that_builds_on_itself_is_refused(write_preset):
    write_preset("one", "preset: two\n")
    write_preset("two", "preset: one\n")
    assert "preset" in refusal("preset=one")


def test_settings_of_a_preset_are_checked(write_preset):
    write_preset("key", "optim:\n  rate: 0.5\n")
    write_preset("value", "optim:\n  lr: -1\n")
    assert refusal("preset=key").startswith("optim.rate=0.5: expected a known key, the nearest")
    assert refusal("preset=value") == "optim.lr=-1: expected a number above 0."


@pytest.mark.parametrize(
    ("content", "end"),
    [
        (b"optim:\n  lr: [1\n", ")."),
        (b"\xff\xfe\x00", ")."),
        (b"- 1\n- 2\n", "expected sections with settings."),
    ],
    ids=["yaml", "bytes", "list"],
)
def test_files_that_cannot_be_read(write_preset, write_run, tmp_path, content, end):
    for file in (tmp_path / "config" / "recipe" / "broken.yaml", tmp_path / "config.yaml"):
        file.write_bytes(content)
        argument = "preset=broken" if file.stem == "broken" else f"resume={tmp_path}"
        line = refusal(argument)
        assert line.startswith(f"{file}: ") and line.endswith(end) and len(line) < 500


def test_continued_run_keeps_its_settings(write_run):
    folder = write_run("optim:\n  lr: 0.5\nsizes: [4]\ntotal_frames: 50\n")
    expected = Config(Optim(lr=0.5), [4], 50, resume=str(folder))
    assert load_config(Config, [f"resume={folder}"]) == expected
    same = ["optim.lr=5e-1", f"resume={folder}", "sizes=[4]"]
    assert load_config(Config, same) == expected


@pytest.mark.parametrize(("kept", "other"), [("null", "1.5"), ("1.5", "null"), ("1.5", "2")])
def test_continued_run_keeps_a_number_that_may_be_left_out(write_run, kept, other):
    folder = write_run(f"optim:\n  coef: {kept}\n")
    value = None if kept == "null" else 1.5
    for arguments in ([], [f"optim.coef={kept}"]):
        assert load_config(Config, [f"resume={folder}", *arguments]).optim.coef == value
    line = refusal(f"resume={folder}", f"optim.coef={other}")
    shown = None if other == "null" else other
    assert line.startswith(f"optim.coef={shown}: expected {value}, as the run began")


def test_a_preset_leaves_a_number_out(write_preset):
    write_preset("base", "optim:\n  coef: 0.5\n")
    write_preset("top", "preset: base\noptim:\n  coef: null\n")
    assert load_config(Config, ["preset=base"]).optim.coef == 0.5
    assert load_config(Config, ["preset=top"]).optim.coef is None


def test_continued_run_may_change_what_is_resumable(write_run):
    folder = write_run("optim:\n  lr: 0.5\ntotal_frames: 50\n")
    config = load_config(Config, ["total_frames=70", f"resume={folder}", "interval=5"])
    assert config == Config(Optim(lr=0.5), [64, 64], 70, 5, str(folder))


def test_continued_run_refuses_other_changes(write_run):
    folder = write_run("optim:\n  lr: 0.5\nsizes: [4]\n")
    free = "as the run began; when continued, total_frames, interval, resume are free."
    assert refusal(f"resume={folder}", "sizes=[5]") == f"sizes=[5]: expected [4], {free}"
    assert refusal("optim.lr=0.4", f"resume={folder}") == f"optim.lr=0.4: expected 0.5, {free}"
    assert refusal(f"resume={folder}", "sizes=3").startswith("sizes=3: expected a list")
    assert refusal(f"resume={folder}", "size=3").startswith("size=3: expected a known key")
    line = refusal(f"resume={folder}", "preset=a")
    assert line == "preset=a: expected no preset when a run is continued."


def test_settings_of_the_continued_run_are_checked(write_run):
    folder = write_run("optim:\n  rate: 0.5\n")
    assert refusal(f"resume={folder}").startswith("optim.rate=0.5: expected a known key")


def test_folder_without_settings_is_refused(tmp_path):
    expected = "expected the folder of a run, with its config.yaml."
    for folder in (tmp_path, tmp_path / "none"):
        assert refusal(f"resume={folder}") == f"resume={folder}: {expected}"


@pytest.mark.parametrize("given", ["", "3", "1e3", "null", "[1]", "true"])
def test_resume_takes_any_text(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^resume=.*: expected "):
        load_config(Config, [f"resume={given}"])
