"""Nested plain tables, as in TOML and on the command line, and dataclasses made from them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from prefrl.names import nearest
from prefrl.types import PrefrlError

if typing.TYPE_CHECKING:
    from _typeshed import DataclassInstance

Tables = TypeVar("Tables", bound="DataclassInstance")


def parse_override(text: str) -> dict[str, Any]:
    """Nested tables from text such as `reward.members=5`; the value is TOML, or a bare string.

    Raises:
      PrefrlError: no key or no equals sign.
    """
    key, found, value = text.partition("=")
    if not found or not key.strip():
        raise PrefrlError(f"--set {text!r}: write it as section.key=value")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    for part in reversed(key.strip().split(".")):
        parsed = {part: parsed}
    return typing.cast(dict[str, Any], parsed)


def replaced(base: Tables, mapping: Mapping[str, Any], prefix: str = "") -> Tables:
    """A copy of a dataclass, nested or not, with the values that `mapping` gives.

    Args:
      prefix: put before keys in errors, such as "labels.".
    Raises:
      PrefrlError: an unknown key or a value of the wrong type, with the remedy.
    """
    hints = typing.get_type_hints(type(base))
    changes: dict[str, Any] = {}
    for key, value in mapping.items():
        where = f"{prefix}{key}"
        if key not in hints:
            raise PrefrlError(f"unknown configuration key {where!r}: {nearest(key, hints)}")
        current = getattr(base, key)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, Mapping):
                raise PrefrlError(f"{where} = {value!r}: it must be a table, [{where}]")
            changes[key] = replaced(typing.cast("DataclassInstance", current), value, where + ".")
        else:
            changes[key] = _typed(where, value, hints[key])
        if isinstance(current, dict):  # one more keyword argument leaves the others as they are
            changes[key] = merged(current, changes[key])
    return dataclasses.replace(base, **changes)


def merged(tables: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables updated with those of `more`, key by key."""
    result = dict(tables)
    for key, value in more.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def differences(mapping: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of `mapping` that `usual` lacks or has another value for."""
    found = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping) and isinstance(usual.get(key), Mapping):
            value = differences(value, usual[key])
            if value:
                found[key] = value
        elif key not in usual or value != usual[key]:
            found[key] = value
    return found


def flat(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of nested tables by their whole keys, such as "reward.members"."""
    found: dict[str, Any] = {}
    for key, value in tables.items():
        nested = isinstance(value, Mapping) and value  # an empty table is a value
        found |= flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return found


def short_hash(value: Any) -> str:
    """Hash of plain tables, lists, numbers and strings; equal where they are."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


_KINDS = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}


def _typed(where: str, value: Any, hint: Any) -> Any:
    """`value` as the type that the field declares."""
    origin = typing.get_origin(hint) or hint
    if origin is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise PrefrlError(f"{where} = {value!r}: it must be a list, e.g. [{value}]")
        item = typing.get_args(hint)[0]
        return tuple(_typed(f"{where}[{i}]", v, item) for i, v in enumerate(value))
    if isinstance(origin, type) and not isinstance(hint, types.UnionType):
        if isinstance(value, origin) and not (origin is int and isinstance(value, bool)):
            return value
        kind = f"a table, e.g. [{where}]" if origin is dict else _KINDS[origin]
        raise PrefrlError(f"{where} = {value!r}: it must be {kind}")
    return value
