"""Configurations as JSON and back: what a scene's meta, a manifest and a benchmark's key hold."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

from . import schedules

FORMER = {"grey": "gray"}  # words of scenes that were saved earlier


def describe(value):
    """A configuration as JSON, for a scene's meta."""
    if type(value).__name__ in schedules.FORMS:
        return schedules.to_json(value)
    if is_dataclass(value):
        return {f.name: describe(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, (list, tuple)):
        return [describe(v) for v in value]
    return value


def configured(template, data):
    """A configuration from a scene's meta; ``template`` is an instance, for the types and for what the meta lacks."""
    if isinstance(data, dict) and "form_of_schedule" in data:
        return schedules.from_json(data)
    if is_dataclass(template) and not isinstance(template, type):
        known = {f.name: getattr(template, f.name) for f in fields(template)}
        return replace(template, **{k: configured(known[k], v) for k, v in data.items() if k in known})
    if isinstance(data, list):
        return tuple(configured(None, v) for v in data)
    return FORMER.get(data, data) if isinstance(data, str) else data
