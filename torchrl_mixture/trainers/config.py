"""Typed settings of a recipe from a preset file and ``key.sub=value`` arguments."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

Schema = TypeVar("Schema")

TYPE_NAMES = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a text",
    list[int]: "a list of integers, each",
}


class ConfigError(ValueError):
    """A setting that a run cannot start with.

    Arguments:
        key: the setting's dotted name.
        given: what came.
        allowed: what may come.

    Example:
        >>> str(ConfigError("optim.lr", -1, "a number above 0"))
        'optim.lr=-1: expected a number above 0.'
    """

    def __init__(self, key: str, given: object, allowed: str) -> None:
        super().__init__(f"{key}={given}: expected {allowed}.")


@contextmanager
def refusals() -> Iterator[None]:
    """End the program with one line and exit code 2 when a setting is refused inside."""
    try:
        yield
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


def setting(
    default: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Any:
    """Declare a number of a settings dataclass, or a list of them, with its bounds.

    Arguments:
        default: the value without an argument; a list is copied for each instance.
        above: an exclusive lower bound.
        at_least: an inclusive lower bound.
        at_most: an inclusive upper bound.

    Returns:
        what :func:`dataclasses.field` returns.

    Example:
        >>> @dataclasses.dataclass
        ... class Optim:
        ...     gamma: float = setting(0.99, at_least=0, at_most=1)
    """
    metadata = {"above": above, "at_least": at_least, "at_most": at_most}
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
        (not isinstance(item, float) or math.isfinite(item))
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


def _read_preset(schema: type, name: str) -> dict[str, Any]:
    folder = Path(inspect.getfile(schema)).parent / "config"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = " | ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise ConfigError("preset", name, known or f"no preset, since {folder} has none")
    return _flatten(_plain(OmegaConf.load(path)))


def _parse(argument: str) -> tuple[str, Any]:
    key, equals, text = argument.partition("=")
    if not equals:
        raise ConfigError(argument, "(nothing)", "key=value")
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
        given = f"{key}={_plain(OmegaConf.select(config, key))}"
        lines.append(f"  {given:44} {_expected(kind, limits)}")
    return "\n".join(lines)


def load_config(schema: type[Schema], argv: Sequence[str]) -> Schema:
    """Build a recipe's settings from its defaults, a preset and the command line.

    Arguments:
        schema: a dataclass of settings and sections (dataclasses again), with defaults.
        argv: ``key.sub=value`` arguments, the later ones winning; ``preset=NAME`` first takes
            the settings in ``config/NAME.yaml`` beside the file that defines ``schema``;
            ``--help`` lists the keys and ends the program.

    Returns:
        an instance of ``schema``.

    Raises:
        ConfigError: for an unknown key, a wrong type or an impossible value.

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
        torchrl_mixture.trainers.config.ConfigError: lr=-1: expected a number above 0.
    """
    fields = _fields(schema)
    config = OmegaConf.structured(schema)
    if "--help" in argv:
        print(_help(config, fields))
        raise SystemExit(0)
    arguments = [_parse(argument) for argument in argv]
    for key, name in arguments:
        if key == "preset":
            for preset_key, value in _read_preset(schema, name).items():
                _set(config, fields, preset_key, value)
    for key, value in arguments:
        if key != "preset":
            _set(config, fields, key, value)
    return cast(Schema, OmegaConf.to_object(config))
