"""Typed settings of a recipe from a preset file and ``key.sub=value`` arguments."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from torchrl_mixture.trainers.refusals import ConfigError, Refusal, one_line

Schema = TypeVar("Schema")

TYPE_NAMES = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a text",
    list[int]: "a list of integers, each",
    list[str]: "a list of texts as [a,b]",
    float | None: "null or a number",
}


def setting(
    default: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    resumable: bool = False,
) -> Any:
    """Declare a setting of a dataclass, with the bounds of its number or list of numbers.

    Arguments:
        default: the value without an argument; a list is copied for each instance.
        above: an exclusive lower bound.
        at_least: an inclusive lower bound.
        at_most: an inclusive upper bound.
        resumable: whether a run that is continued may take another value.

    Returns:
        what :func:`dataclasses.field` returns.

    Example:
        >>> @dataclasses.dataclass
        ... class Optim:
        ...     gamma: float = setting(0.99, at_least=0, at_most=1)
    """
    metadata = {"above": above, "at_least": at_least, "at_most": at_most, "resumable": resumable}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def _fields(schema: Any, prefix: str = "") -> dict[str, tuple[Any, Mapping[str, Any]]]:
    """Map each dotted key to its type and limits, sections opened."""
    hints = get_type_hints(schema)
    found: dict[str, tuple[Any, Mapping[str, Any]]] = {}
    for field in dataclasses.fields(schema):
        kind, key = hints[field.name], prefix + field.name
        if dataclasses.is_dataclass(kind):
            found.update(_fields(kind, f"{key}."))
        else:
            found[key] = (kind, field.metadata)
    return found


def _expected(kind: Any, limits: Mapping[str, Any]) -> str:
    """Say in words what a setting takes."""
    if get_origin(kind) is Literal:
        return " | ".join(get_args(kind))
    words = {"above": "above", "at_least": "at least", "at_most": "at most"}
    bounds = [f"{words[k]} {limits[k]}" for k in words if limits.get(k) is not None]
    return f"{TYPE_NAMES.get(kind, kind)} {' and '.join(bounds)}".rstrip()


def _within(value: Any, limits: Mapping[str, Any]) -> bool:
    above, at_least, at_most = (limits.get(k) for k in ("above", "at_least", "at_most"))
    return all(
        item is None
        or (not isinstance(item, float) or math.isfinite(item))
        and (above is None or item > above)
        and (at_least is None or item >= at_least)
        and (at_most is None or item <= at_most)
        for item in (value if isinstance(value, list) else [value])
    )


def _flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Map each dotted key of nested mappings to its value."""
    flat = {}
    for key, value in node.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _read_yaml(path: Path) -> dict[str, Any]:
    """Read the flat settings of a file, or say why they cannot be read."""
    try:
        node = _plain(OmegaConf.load(path))
    except (OSError, UnicodeDecodeError, OmegaConfBaseException, YAMLError) as error:
        raise Refusal(f"{path}: cannot be read ({one_line(error)}).") from None
    if not isinstance(node, dict):
        raise Refusal(f"{path}: expected sections with settings.")
    return _flatten(node)


def _read_preset(schema: type, name: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read a preset; its key ``preset`` names another one that it builds on."""
    if name in above:
        raise ConfigError("preset", name, f"no preset that builds on itself ({above[0]} does)")
    recipe = Path(inspect.getfile(schema))
    folder = recipe.parent / "config" / recipe.stem
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob("*.yaml"))
        allowed = " | ".join(known) or f"no preset, since {folder} has none"
        for nearest in difflib.get_close_matches(str(name), known, n=1):
            allowed = f"{allowed}; the nearest is {nearest}"
        raise ConfigError("preset", name, allowed)
    settings = _read_yaml(path)
    base = settings.pop("preset", None)
    if base is None:
        return settings
    return {**_read_preset(schema, base, (*above, name)), **settings}


def _read_run(folder: str) -> dict[str, Any]:
    path = Path(folder) / "config.yaml"
    if not path.is_file():
        raise ConfigError("resume", folder, "the folder of a run, with its config.yaml")
    return _read_yaml(path)


def _parse(argument: str) -> tuple[str, Any]:
    key, equals, text = argument.partition("=")
    if not equals:
        raise ConfigError(argument, "(nothing)", "key=value")
    if key == "resume":  # a folder may have a name that YAML reads as a number
        return key, text
    try:
        return key, _plain(OmegaConf.from_dotlist([f"value={text}"]).value)
    except (OmegaConfBaseException, YAMLError):
        raise ConfigError(key, text, "a number, a text, true, false or a list as [1,2]") from None


def _set(
    config: Any, fields: dict[str, tuple[Any, Mapping[str, Any]]], key: str, value: Any
) -> None:
    """Set one key of a structured configuration, or say why it cannot be set."""
    if key not in fields:
        allowed = "a known key; --help lists them"
        for nearest in difflib.get_close_matches(key, fields, n=1, cutoff=0.5):
            allowed = f"a known key, the nearest is {nearest} ({_expected(*fields[nearest])})"
        raise ConfigError(key, value, allowed)
    kind, limits = fields[key]
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)  # YAML reads 1e6 as a float
    try:
        OmegaConf.update(config, key, value)
        valid = _within(_plain(OmegaConf.select(config, key)), limits)
    except OmegaConfBaseException:
        valid = False
    if not valid:
        raise ConfigError(key, value, _expected(kind, limits))


def _help(config: Any, fields: dict[str, tuple[Any, Mapping[str, Any]]]) -> str:
    """List the keys with their defaults and what they take."""
    lines = ["key=value arguments, with their defaults; preset=NAME first takes a preset's:"]
    for key, (kind, limits) in fields.items():
        value = _plain(OmegaConf.select(config, key))
        given = f"{key}={'null' if value is None else value}"
        lines.append(f"  {given:44} {_expected(kind, limits)}")
    return "\n".join(lines)


def _refuse_change(
    config: Any, fields: dict[str, tuple[Any, Mapping[str, Any]]], key: str, value: Any
) -> None:
    """Refuse another value for a setting that a continued run must keep."""
    kept = _plain(OmegaConf.select(config, key))
    _set(config, fields, key, value)
    if not fields[key][1].get("resumable") and _plain(OmegaConf.select(config, key)) != kept:
        free = ", ".join(key for key, (_, limits) in fields.items() if limits.get("resumable"))
        raise ConfigError(key, value, f"{kept}, as the run began; when continued, {free} are free")


def load_config(schema: type[Schema], argv: Sequence[str]) -> Schema:
    """Build a recipe's settings from its defaults, a preset and the command line.

    Arguments:
        schema: a dataclass of settings and sections (dataclasses again), with defaults.
        argv: ``key.sub=value`` arguments, the later ones winning; ``preset=NAME`` first takes
            the settings in ``config/RECIPE/NAME.yaml`` beside the file ``RECIPE.py`` that
            defines ``schema``; ``resume=FOLDER`` those in ``FOLDER/config.yaml``, after which
            only settings declared ``resumable`` may change; ``--help`` lists the keys and ends
            the program.

    Returns:
        an instance of ``schema``.

    Raises:
        Refusal: for an unknown key, a wrong type, an impossible value, a file that cannot be
            read, or a change that a continued run cannot take.

    Example:
        >>> @dataclasses.dataclass
        ... class Config:
        ...     lr: float = setting(1e-3, above=0)
        ...     hidden_sizes: list[int] = setting([64, 64], above=0)
        >>> load_config(Config, ["hidden_sizes=[256,256]"])
        Config(lr=0.001, hidden_sizes=[256, 256])
        >>> load_config(Config, ["lr=-1"])
        Traceback (most recent call last):
            ...
        torchrl_mixture.trainers.refusals.ConfigError: lr=-1: expected a number above 0.
    """
    fields = _fields(schema)
    config = OmegaConf.structured(schema)
    if "--help" in argv:
        print(_help(config, fields))
        raise SystemExit(0)
    arguments = [_parse(argument) for argument in argv]
    named = dict(arguments)
    if "preset" in named:
        if "resume" in named:
            raise ConfigError("preset", named["preset"], "no preset when a run is continued")
        for key, value in _read_preset(schema, named.pop("preset")).items():
            _set(config, fields, key, value)
    set_one = _set
    if "resume" in named:
        for key, value in _read_run(named["resume"]).items():
            _set(config, fields, key, value)
        set_one = _refuse_change
    for key, value in named.items():
        set_one(config, fields, key, value)
    return cast(Schema, OmegaConf.to_object(config))
