"""Combinations of settings, and names for them that people and file systems can read."""

import copy
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.errors import ConfigError

LONGEST = 120
Plain = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Combination:
    """One value for each of some settings."""

    overrides: Mapping[str, Any]
    label: str
    group: str
    """The label without seeds: what repetitions have in common."""

    def of(self, plain: Plain) -> dict[str, Any]:
        """The settings with these values in their places."""
        made = copy.deepcopy(dict(plain))
        for name, value in self.overrides.items():
            *parents, key = name.split(".")
            section = made
            for parent in parents:
                section = section[parent]
            section[key] = value
        return made


def combinations(over: Mapping[str, Sequence[Any]]) -> list[Combination]:
    """Every combination, the last setting changing fastest; their labels differ."""
    short = _short(over)
    made = []
    for values in itertools.product(*over.values()):
        chosen = dict(zip(over, values, strict=True))
        repeated = {name: value for name, value in chosen.items() if not is_seed(name)}
        made.append(Combination(chosen, _label(chosen, short), _label(repeated, short)))
    if len({one.label for one in made}) == len(made):
        return made
    return [Combination(one.overrides, _tagged(one.label, one.overrides), one.group) for one in made]


def is_seed(name: str) -> bool:
    """Whether a setting only repeats what it is set for."""
    return name.rpartition(".")[2] == "seed"


def check_over(
    over: Mapping[str, Sequence[Any]], plain: Plain, sections: Sequence[str], own: Mapping[str, str]
) -> None:
    """`ConfigError` for a setting that does not exist, that the job does not read, or that has no values.

    sections: those that the job reads; a dotted name stands for itself alone
    own: settings that `nas tune` chooses itself, with what to do instead
    """
    for name, values in over.items():
        if (taken := next((key for key in own if _is_within(name, key)), None)) is not None:
            raise ConfigError(f"tune.over cannot change {name}, which nas tune sets itself: {own[taken]}")
        if not any(_is_within(name, section) for section in sections):
            raise ConfigError(
                f"tune.over may change settings that this job reads, those of {', '.join(sections)}; got {name}: "
                "leave it out, or set it for all trials as an override of its own"
            )
        if not _exists(name, plain):
            raise ConfigError(
                f"tune.over names settings, and {name} is none: see `nas tune --cfg job` for those there are"
            )
        if not values or len({json.dumps(value, sort_keys=True) for value in values}) < len(values):
            raise ConfigError(f"tune.over.{name} needs one or more different values, got {values!r}")


def _is_within(name: str, section: str) -> bool:
    return name == section or name.startswith(f"{section}.")


def _exists(name: str, plain: Plain) -> bool:
    node: Any = plain
    for key in name.split("."):
        if not isinstance(node, Mapping) or key not in node:
            return False
        node = node[key]
    return True


def _short(names: Iterable[str]) -> dict[str, str]:
    """The last words of dotted names, as many as it takes to tell them apart."""
    words = {name: name.split(".") for name in names}
    found = {}
    for name, own in words.items():
        others = [other for other in words.values() if other is not own]
        count = next(
            n for n in range(1, len(own) + 1) if all(own[-n:] != other[-n:] for other in others) or n == len(own)
        )
        found[name] = ".".join(own[-count:])
    return found


def _label(chosen: Mapping[str, Any], short: Mapping[str, str]) -> str:
    text = ",".join(f"{short[name]}={_word(value)}" for name, value in chosen.items())
    return (text if len(text) <= LONGEST else _tagged(text[:LONGEST], chosen)) or "all"


def _word(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", text).strip("_") or "_"


def _tagged(label: str, chosen: Mapping[str, Any]) -> str:
    return f"{label}-{hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:8]}"
