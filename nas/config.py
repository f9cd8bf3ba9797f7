"""Typed settings: the frozen-config decorator, and `load` from a plain mapping to a value."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from nas.errors import ConfigError

T = TypeVar("T")
_make: Callable[[type[Any]], Any] = dataclass(
    frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid", arbitrary_types_allowed=False)
)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def config(cls: type[T]) -> type[T]:
    """A frozen, keyword-only dataclass whose fields are checked and whose unknown keys are refused."""
    made: type[T] = _make(cls)
    return made


def load(cls: type[T], values: Mapping[str, Any], *, section: str = "") -> T:
    """The config of type `cls`; `ConfigError` names every offending key, its value and what it must be."""
    try:
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as error:
        raise ConfigError("; ".join(_line(problem, section) for problem in error.errors())) from error


def _line(problem: Any, section: str) -> str:
    key = ".".join(str(part) for part in (section, *problem["loc"]) if part != "") or "settings"
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{key}: no such setting; see `nas <stage> --cfg job` for those there are"
    message = f"{problem['msg'][0].lower()}{problem['msg'][1:]}"
    if problem["type"] == "value_error":  # a rule of ours, which says itself what it saw
        return f"{key}: {message.removeprefix('value error, ')}"
    return f"{key}: {message}, got {problem.get('input')!r}"
