"""Write what a recording shows into a project's catalogue file: each entry as ``observed``, with the day."""

from __future__ import annotations

import difflib
import os
import tempfile
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from obo_kit._utils.extras import MissingExtraError
from obo_kit._utils.files import read_regular, write_whole
from obo_kit._utils.plain import plain
from obo_kit._utils.yaml_text import dumped, parser, patched
from obo_kit.exceptions import PolicyError
from obo_kit.scopes._lookup import _BUILT_IN, covers
from obo_kit.scopes._model import TARGETS
from obo_kit.scopes._observed import ALL, corrected, groups_of, observed_routes, split_claim
from obo_kit.scopes._overrides import overridden

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from obo_kit.scopes._model import Catalogue, ResourceKind, Route
    from obo_kit.scopes._observed import Groups, ObservedRoute
    from obo_kit.scopes._recording import Recording

__all__ = ["CatalogueUpdate", "Change", "updated_catalogue"]

_OBSERVED: Final = "observed"
_HEAD: Final = "# The kit's catalogue of scopes, corrected by what this project's workspace answered.\nas_of: {day}\n"
_WITH: Final = " + "
_OR: Final = " or "


@dataclass(frozen=True, kw_only=True)
class Change:
    """The change to one entry.

    Attributes:
        entry: Its section and key, such as ``routes: GET /api/2.0/serving-endpoints``.
        what: ``"added"`` to the file. ``"updated"``: the entry is an older recording's, or says the same. ``"unchanged"``.
            ``"kept"``: your entry says something else, or a later recording wrote it. ``"declared"``: a kind of resource
            declares scopes that do not open the route.
        before: The scopes that were known, as text; empty for a new entry.
        after: The scopes that were observed.
    """

    entry: str
    what: Literal["added", "updated", "unchanged", "kept", "declared"]
    before: str
    after: str

    def __str__(self) -> str:
        if self.what == "kept":
            return f"{self.entry}: kept as it is written ({self.before}); the workspace asked for {self.after}"
        if self.what == "declared":
            return f"{self.entry}: declares {self.before}, which did not open what asked for {self.after}"
        if self.before == self.after:
            return f"{self.entry}: {self.what}, observed as known ({self.after})"
        return f"{self.entry}: {self.what}, {self.after}" + (f" (was {self.before})" if self.before else "")


@dataclass(frozen=True, kw_only=True)
class CatalogueUpdate:
    """The change to a catalogue file.

    Attributes:
        path: The file.
        before: Its current text; empty if there is no file yet.
        after: Its new text.
        changes: Each entry that the recording is about, including those that stay.
    """

    path: Path
    before: str
    after: str
    changes: tuple[Change, ...]

    @property
    def changed(self) -> bool:
        """Return whether the text changes."""
        return self.before != self.after

    def diff(self) -> str:
        """Return the change as a unified diff; empty if there is none."""
        before, after = (text.splitlines(keepends=True) for text in (self.before, self.after))
        return "".join(difflib.unified_diff(before, after, f"{self.path} (now)", f"{self.path} (as observed)"))

    def write(self) -> None:
        """Replace the old text with the new one, completely or not at all. Raises PolicyError if that is not possible."""
        try:
            write_whole(self.path, self.after)
        except OSError as error:
            raise PolicyError(
                f"'{plain(str(self.path))}' cannot be written: {error.strerror}.",
                remedy="Pass a file in a folder that is writable.",
            ) from None


def updated_catalogue(file: str | os.PathLike[str], recording: Recording) -> CatalogueUpdate:
    """Compute a catalogue file's text from a recording. Nothing is written.

    Comments and all other entries stay. Your own entry stays as it is if the workspace showed something else; it is among the
    changes as ``"kept"``. Your own entry that says what was observed becomes ``observed``. An entry that a recording wrote may
    be changed by the next recording, unless that is older.

    Args:
        file: An ``obo_kit_catalogue.yaml``, or the path of a new one.
        recording: A recording of a Databricks workspace.

    Raises:
        PolicyError: The recording is of a local workspace, so nothing in it was observed; the file is not a catalogue file;
            or ruamel.yaml is not installed.
    """
    if recording.cloud == "local":
        raise PolicyError(
            "The recording is of a local workspace, whose answers are the kit's own, so it shows nothing about Databricks.",
            remedy="Record a Databricks workspace.",
        )
    path = Path(file)
    text = _text_of(path)
    known = _BUILT_IN if text is None else overridden(_BUILT_IN, os.fspath(path))
    unix = (text or _HEAD.format(day=recording.recorded)).replace("\r\n", "\n")
    try:
        data = parser().load(unix)
    except MissingExtraError as error:
        raise PolicyError(str(error), remedy='pip install "obo-kit[bundle]"') from None
    indent = _indent(data)
    unchanged = dumped(data, **indent)
    changes = tuple(_changes(data, known, recording))
    is_new = any(change.what in ("added", "updated") for change in changes)
    after = patched(unix, unchanged, dumped(data, **indent)) if is_new else unix
    if text is None and after == unix:
        after = ""
    _check_reads(after, path)
    return CatalogueUpdate(
        path=path,
        before=text or "",
        after=after.replace("\n", "\r\n") if text is not None and text != unix else after,
        changes=changes,
    )


def _text_of(path: Path) -> str | None:
    try:
        return read_regular(path).decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise PolicyError(
            f"'{plain(str(path))}' cannot be read: {reason}.", remedy="Pass the path of a catalogue file."
        ) from None


def _indent(data: Any) -> dict[str, int]:
    """Return the file's indentation, preferably that of its routes."""
    sections: list[Any] = [data[name] for name in ("routes", "scopes", "kinds", "families") if data.get(name)]
    blocks = [section for section in sections if not section.fa.flow_style()]
    entries: list[Any] = [entry for section in blocks for entry in section.values() if isinstance(entry, dict)]
    values: list[Any] = [value for entry in entries for value in entry.values()]
    lists = (max(value.lc.col - 2 * blocks[0].lc.col, 0) for value in values if _is_block_list(value))
    offset = next(lists, 0)
    return {"mapping": blocks[0].lc.col if blocks else 2, "sequence": offset + 2, "offset": offset}


def _is_block_list(value: Any) -> bool:
    style: Any = getattr(value, "fa", None)  # of `ruamel.yaml`'s lists
    return isinstance(value, list) and not style.flow_style()


def _check_reads(text: str, path: Path) -> None:
    """Check that the new text is a catalogue file before it replaces the old one."""
    if not text:
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        copy.write_text(text, encoding="utf-8")
        overridden(_BUILT_IN, os.fspath(copy))


def _changes(data: Any, known: Catalogue, recording: Recording) -> Iterator[Change]:
    for seen in observed_routes(recording):
        route = next(
            (route for route in known.routes if (route.methods, route.path) == (seen.methods, seen.path)), None
        )
        if not (seen.named or seen.openers):
            continue  # the refusal does not say which scope is needed
        before = groups_of(route) if route is not None else ()
        groups = corrected(before, seen)
        key = _key_of(data, seen)
        written = (data.get("routes") or {}).get(key)
        change = Change(entry=f"routes: {key}", what="added", before=_said(before), after=_said(groups))
        if written is not None and not _may_change(written, before, groups, recording):
            yield replace(change, what="kept")
            continue
        yield from _named_scopes(data, known, groups, recording)
        is_changed = _set_route(data, key, _fields(route, groups, seen, recording))
        yield change if written is None else replace(change, what="updated" if is_changed else "unchanged")
        if route is not None and route.kind is not None:
            yield from _declared(known.kinds[route.kind], groups)


def _key_of(data: Any, seen: ObservedRoute) -> str:
    """Return the key under which a route is written, whatever the order of its methods."""
    own = (seen.methods, seen.path)
    return next((key for key in data.get("routes") or () if split_claim(key) == own), seen.key)


def _declared(kind: ResourceKind, groups: Groups) -> Iterator[Change]:
    """Yield the scopes that a kind declares but that do not open its route. No recording says which target accepts them."""
    for target in TARGETS:
        current = kind.current[target]
        opens = all(any(covers(scope, name) for scope in current for name in group) for group in groups)
        if current and not opens:
            entry = f"kinds: {kind.name}: current: {target}"
            yield Change(entry=entry, what="declared", before=_WITH.join(current), after=_said(groups))


def _may_change(written: Mapping[str, Any], before: Groups, groups: Groups, recording: Recording) -> bool:
    if written.get("confidence") == _OBSERVED:
        day = written.get("as_of")
        return not isinstance(day, date) or day <= date.fromisoformat(recording.recorded)
    return {*map(frozenset, before)} == {*map(frozenset, groups)}


def _named_scopes(data: Any, known: Catalogue, groups: Groups, recording: Recording) -> Iterator[Change]:
    """Add the scopes that the catalogue does not know: an entry may only name known ones."""
    for name in dict.fromkeys(name for group in groups for name in group):
        section = _section(data, "scopes")
        if name not in known.scopes and name not in section:
            section[name] = _flow({"confidence": _OBSERVED, "as_of": date.fromisoformat(recording.recorded)})
            yield Change(entry=f"scopes: {name}", what="added", before="", after="named by a refusal")


def _fields(route: Route | None, groups: Groups, seen: ObservedRoute, recording: Recording) -> dict[str, Any]:
    any_of = groups[0] if len(groups) == 1 else ()
    # If a scope that covers another one by its spelling was refused, only the exact names open the route.
    exact = any(covers(scope, name) for scope in seen.shut for name in any_of)
    scopes = {"any_of": [*any_of, *([ALL] if exact and ALL not in {*seen.shut, *any_of} else [])]}
    fields: dict[str, Any] = scopes if any_of else {"all_of": [group[0] for group in groups]}
    if exact:
        fields["exact"] = True
    if route is not None and seen.shut.intersection(route.doubtful):
        fields["doubtful"] = [name for name in route.doubtful if name not in seen.shut]
    return fields | {"confidence": _OBSERVED, "as_of": date.fromisoformat(recording.recorded)}


def _set_route(data: Any, key: str, fields: Mapping[str, Any]) -> bool:
    """Write the fields of an entry. Return whether any of them changed."""
    section = _section(data, "routes")
    if section.get(key) is None:
        section[key] = _flow(fields)
        return True
    entry = section[key]
    stale = ({"any_of", "all_of", "exact"} - fields.keys()) & entry.keys()
    for name in stale:
        del entry[name]
    fresh = {name: value for name, value in fields.items() if entry.get(name) != value}
    for name, value in fresh.items():
        entry[name] = _flow(value) if isinstance(value, list) else value
    return bool(stale or fresh)


def _section(data: Any, name: str) -> Any:
    if data.get(name) is None:
        data[name] = type(data)()
    return data[name]


def _flow(value: Any) -> Any:
    """Return a mapping or a list in the style that is written on one line."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if isinstance(value, dict):
        made: Any = CommentedMap((key, _flow(item)) for key, item in value.items())
    elif isinstance(value, list):
        made = CommentedSeq(value)
    else:
        return value
    made.fa.set_flow_style()
    return made


def _said(groups: Groups) -> str:
    return _WITH.join(_OR.join(group) for group in groups)
