"""What a run cannot start or go on with, told in one line."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager


class Refusal(ValueError):
    """Something a run cannot start with; the message is one line."""


class ConfigError(Refusal):
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


class RunError(RuntimeError):
    """Something a run that has begun cannot go on with; the message is one line."""


def one_line(error: BaseException) -> str:
    r"""Say in one line, of 300 characters at most, what an error says.

    Example:
        >>> one_line(OSError(28, "No space left on device"))
        'No space left on device'
        >>> one_line(ValueError("first:\n    second"))
        'first: second'
    """
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return textwrap.shorten(text, 300, placeholder="…").rstrip(".")


@contextmanager
def refusals(debug: bool = False) -> Iterator[None]:
    """End the program with one line on stderr when something is refused inside.

    The exit code is 2 for what stops a run before it begins, 1 for what ends it later, and 130
    for an interruption.

    Arguments:
        debug: let the error through, with its traceback.

    Example:
        >>> try:
        ...     with refusals():
        ...         raise ConfigError("optim.lr", -1, "a number above 0")
        ... except SystemExit as end:
        ...     end.code
        2
    """
    codes = {Refusal: 2, RunError: 1, KeyboardInterrupt: 130}
    try:
        yield
    except tuple(codes) as error:
        if debug:
            raise
        print(str(error) or "Interrupted.", file=sys.stderr)
        code = next(code for kind, code in codes.items() if isinstance(error, kind))
        raise SystemExit(code) from None
