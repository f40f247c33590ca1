"""The reference of settings, metrics, verbs and exit codes, written from the code: `python -m ops.reference`.

A test compares `ops/REFERENCE.md` with `render_reference()`: what is documented is what there is.
"""

from __future__ import annotations

import dataclasses
import importlib
import pathlib
import pkgutil
import types
import typing
from typing import TYPE_CHECKING, Any, Final

import pydantic
import typer.main

from ops import config
from schemas.metrics import METRICS
from streams.priority import DEFAULT_RULES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

REFERENCE: Final = pathlib.Path(__file__).with_name("REFERENCE.md")
_HEAD: Final = """# Reference

Written by `python -m ops.reference`; a test fails when it and the code differ. Do not edit.
"""
_HELP: Final = "--help"
_KINDS: Final = {"str": "text", "bool": "yes or no", "dict": "table", "int": "whole number", "float": "number"}


def render_reference() -> str:
    """Return the whole reference as Markdown."""
    parts = (_HEAD, _settings(), _verbs(), _metrics())
    return "\n".join(part.strip() + "\n" for part in parts)


def _settings() -> str:
    lines = [
        "## Settings",
        "",
        f"One TOML file (`{config.DEFAULT_FILE}`, or the one named by `--config` or `{config.PREFIX}CONFIG`); over it",
        f"the environment: `archive.windows.critical_ms` is `{config.PREFIX}ARCHIVE__WINDOWS__CRITICAL_MS`. A wrong or",
        "unknown setting is named in one line, exit code 2.",
    ]
    for title, says, rows in _sections(config.Settings, "", top=True):
        lines += [
            "",
            f"### {title}",
            "",
            *([says, ""] if says else []),
            "| setting | kind | default |",
            "|---|---|---|",
        ]
        lines += [f"| `{name}` | {_cell(kind)} | {_cell(default)} |" for name, kind, default in rows]
    lines += [
        "",
        "`mapping` is written by `wedsync-backup init`: how each table's rows find their wedding; empty, it is the",
        "sample platform's. `archive.stores` empty means eight folders below the state folder.",
        "`routing.rules` empty means:",
        "",
        "| when | lane | rank | days | until_hour | minutes |",
        "|---|---|---|---|---|---|",
        *(_cells(dataclasses.asdict(rule).values()) for rule in DEFAULT_RULES),
    ]
    return "\n".join(lines)


def _cells(values: Iterable[Any]) -> str:
    return f"| {' | '.join('hours' if each is None else str(each) for each in values)} |"


def _sections(
    model: type[pydantic.BaseModel], prefix: str, *, top: bool = False
) -> Iterator[tuple[str, str, list[tuple[str, str, str]]]]:
    """Yield (title, what it is, rows) of a section, then of the sections in it."""
    own, inner = [], []
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        section = _section_of(field.annotation)
        if section is None:
            own.append((path, _kind(field), _default(field)))
        else:
            many = typing.get_origin(field.annotation) is tuple
            inner.append((section, f"{path}[]." if many else f"{path}."))
            if many:
                own.append((path, "list of tables", "empty"))
    says = (model.__doc__ or "").strip()
    yield (prefix.rstrip(".") or "top", "" if top else says, own)
    for section, path in inner:
        yield from _sections(section, path)


def _section_of(annotation: Any) -> type[pydantic.BaseModel] | None:
    candidates = (annotation, *typing.get_args(annotation))
    return next((each for each in candidates if isinstance(each, type) and issubclass(each, pydantic.BaseModel)), None)


def _kind(field: pydantic.fields.FieldInfo) -> str:
    annotation: Any = field.annotation
    if typing.get_origin(annotation) is typing.Literal:
        return f"one of {', '.join(typing.get_args(annotation))}"
    plain = annotation.__origin__ if isinstance(annotation, types.GenericAlias) else annotation
    name = _KINDS.get(plain.__name__, plain.__name__.lower())
    bounds = ", ".join(filter(None, (_bound(each) for each in field.metadata)))
    return f"{name} {bounds}".strip()


def _bound(limit: Any) -> str:
    signs = {"ge": "≥", "le": "≤", "gt": ">", "lt": "<"}
    said = [f"{sign} {getattr(limit, name)}" for name, sign in signs.items() if getattr(limit, name, None) is not None]
    pattern = getattr(limit, "pattern", None)
    return ", ".join(said + ([f"`{pattern}`"] if pattern else []))


def _default(field: pydantic.fields.FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "empty" if value in ("", {}, ()) else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _verbs() -> str:
    lines = ["## Verbs", "", "`wedsync-backup VERB --help` says the same, with all options.", ""]
    lines += ["| verb | what it does | options |", "|---|---|---|"]
    lines += [f"| `{name}` | {_cell(says)} | {_cell(options)} |" for name, says, options in sorted(_commands())]
    return "\n".join([*lines, "", "Exit codes:", "", *_exit_codes()])


def _commands() -> Iterator[tuple[str, str, str]]:
    from ops import cli  # noqa: PLC0415 - the verbs register themselves below

    for module in pkgutil.iter_modules([str(pathlib.Path(cli.__file__).parent)]):
        if module.name.startswith("cli_"):
            importlib.import_module(f"ops.{module.name}")
    yield from _commands_of(typer.main.get_command(cli.app), "")


def _commands_of(command: Any, path: str) -> Iterator[tuple[str, str, str]]:
    inner = getattr(command, "commands", None)
    if inner is not None:
        for name, each in inner.items():
            yield from _commands_of(each, f"{path} {name}".strip())
        return
    options = [max(each.opts, key=len) for each in command.params if each.opts[0] != _HELP]
    yield (path, " ".join((command.help or "").split()), " ".join(f"`{option}`" for option in options))


def _exit_codes() -> list[str]:
    from ops import cli  # noqa: PLC0415

    named = {name: value for name, value in vars(cli).items() if name.startswith("EXIT_")}
    codes = {0: "done"} | {code: name.removeprefix("EXIT_").replace("_", " ").lower() for name, code in named.items()}
    return ["| code | meaning |", "|---|---|", *(f"| {code} | {codes[code]} |" for code in sorted(codes))]


def _metrics() -> str:
    lines = [
        "## Metrics",
        "",
        "Prometheus' format. Each worker of the local stack writes its address to `<state>/run/<worker>.metrics`.",
        "",
        "| metric | kind | labels | counts |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{each.name}` | {each.kind} | {', '.join(each.labels)} | {_cell(each.says)} |"
        for each in sorted(METRICS, key=lambda metric: metric.name)
    ]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write the reference."""
    REFERENCE.write_text(render_reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
