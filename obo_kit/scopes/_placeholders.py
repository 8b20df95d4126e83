"""Replace everything that an answer says about one workspace with placeholders, before it is kept anywhere.

The text is not searched for secrets: only what is known to belong to nobody stays. That is the words of a closed list, the
platform's privileges, scopes, and the punctuation between them. Everything else becomes a placeholder.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from obo_kit._utils.plain import plain
from obo_kit.scopes._data.scopes import SCOPES
from obo_kit.scopes._data.words import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["code_of", "is_placed", "is_scope", "placeholders", "scopes_in"]

_LIMIT: Final = 2000
_PASSES: Final = 6
_SEEN: Final = "\ue000"  # of the private use area: marks a name of the list `seen` until its placeholder is set

# Privileges, as the platform writes them: the only words that stay within quotation marks.
_PRIVILEGES: Final = frozenset(
    "all privileges|apply tag|browse|can attach to|can bind|can create|can edit|can manage|can manage runs|can monitor|"  # noqa: SIM905
    "can query|can read|can restart|can run|can use|can view|execute|external use schema|is owner|manage|modify|"
    "read files|read volume|select|use catalog|use connection|use schema|view|write files|write volume".split("|")
)
# The platform's words of more than one part. Any other may be a name.
_COMPOUND: Final = frozenset(
    {"allow-cluster-create", "allow-instance-pool-create", "databricks-sql-access", "mlflow", "oauth", "on-behalf-of"}
    | {"on-behalf-of-user", "openai", "privatelink", "read-only", "reqid", "requestid", "workspace-access"}
)
_SCOPE_WORDS: Final = WORDS.union(*(re.split(r"[.:_\-]", name) for name in SCOPES))

_SCOPE: Final = r"[a-z][a-z0-9]*(?:[.:_\-][a-z0-9]+){0,8}"
_PLACED: Final = rf"<(?:name|id|host|mail|number|scope:{_SCOPE})>"
# A list of scopes after a colon, within quotation marks or in brackets; or a scope that the catalogue knows.
_LIST: Final = re.compile(
    rf"(?P<lead>(?<!<)\bscopes?\)?(?: (?:are|is))?(?:: {{0,2}}['\"\[(]?| ?['\"\[(]))"
    rf"(?P<scopes>{_SCOPE}(?:(?:, ?| and ){_SCOPE}){{0,99}})(?![\w@/.:\-]*[\w@/])|"
    rf"(?P<before>(?<!<)\bscope )(?P<one>{'|'.join(sorted(map(re.escape, SCOPES), key=len, reverse=True))})(?![\w@/.:\-]*\w)",
    re.IGNORECASE,
)
_TOKEN: Final = re.compile(
    rf"(?P<placed>{_PLACED})"
    r"|(?<!\w)(?P<mark>['\"`])(?P<quoted>[^'\"`]*)(?P=mark)(?!\w)"
    r"|\[(?P<bracketed>[^\[\]]*)\]"
    r"|(?P<url>\b[a-z][a-z0-9+.\-]{1,20}://[^\s'\"<>]+)"
    r"|(?P<sqlstate>(?-i:\bSQLSTATE:? (?:[0-5][0-9A-Z]|HV|KD|P0|XX)[0-9A-Z]{3})(?!\w|[^\s\w]\w))"
    r"|(?P<code>(?-i:\A[A-Z]+(?:_[A-Z]+)+(?=: )))"
    r"|(?P<word>[^\s'\"`<>()\[\]{},;:=!?&|]+(?:'(?:s|t)(?!\w))?)"
    r"|(?P<between>[\s'\"()\[\]{},;:=!?&|])"
    r"|(?P<other>.)",
    re.IGNORECASE,
)
_KINDS: Final = (
    ("<mail>", re.compile(r"[^@]+@[^@]+")),
    ("<number>", re.compile(r"[+\-]?\d[\d.,]*%?")),
    ("<host>", re.compile(r"(?:[\w\-]+\.){1,8}(?:com|net|org|us|cn|local)(?::\d+)?", re.IGNORECASE)),
    ("<id>", re.compile(r"(?=\D*\d)[0-9a-f\-]{6,}", re.IGNORECASE)),
)
# Words that are names, too, where they do not begin a sentence.
_NAMES: Final = re.compile(
    r"(?<=[\w>] )(?:Best|Case|Day|Field|Fields|Grant|Head|Key|Lock|Long|May|Max|Page|Post|Price|Short|Will)(?![\w>])"
)
_ADDRESS: Final = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?(?!\w)")
_VALUE: Final = r"<(?:name|id|number)>"
_RUN: Final = re.compile(rf"(?=(?:{_VALUE}[ .\-/]*)*<name>){_VALUE}(?:[ .\-/]*{_VALUE})+")


def placeholders(text: str, seen: Iterable[str] = ()) -> str:
    """Return a text of the workspace with placeholders for everything of its own: names, ids, hosts, mails and numbers.

    A word stays if it is in the list, and outside quotation marks and brackets. A list of scopes stays if their parts are
    ordinary words: a scope may be newer than the catalogue. Applying it twice changes nothing more.

    Args:
        text: The text. It becomes one line of at most 2,000 characters.
        seen: Names that are known to be the workspace's or the user's. They go wherever they are, except one that is an
            ordinary word in lower case.

    Returns:
        The text, with ``<name>``, ``<id>``, ``<host>``, ``<mail>``, ``<number>`` and ``<scope:…>`` in it.
    """
    line = plain(text, _LIMIT)
    for name in sorted({plain(name, _LIMIT) for name in seen}, key=lambda name: (-len(name), name)):
        if len(name) > 1 and name not in WORDS and name.lower() in line.lower():
            flags = 0 if name.lower() in WORDS else re.IGNORECASE  # somebody's name is Grant
            line = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", _SEEN, line, flags=flags)
    # A placeholder may make the text around it readable in another way: until nothing changes any more.
    for _ in range(_PASSES):
        placed = _once(line)
        if placed == line:
            return placed
        line = placed
    return "<name>"


def _once(line: str) -> str:
    line = _NAMES.sub("<name>", _ADDRESS.sub("<host>", _LIST.sub(_listed, line)))
    line = " ".join("".join(map(_placed, _TOKEN.finditer(line))).split())
    return _RUN.sub("<name>", line)


def is_placed(text: str) -> bool:
    """Check whether a text contains only what `placeholders` leaves."""
    return placeholders(text) == text


def is_scope(name: str) -> bool:
    """Check whether a name may be kept as a scope: it is in the catalogue, or consists of ordinary words."""
    return re.fullmatch(_SCOPE, name) is not None and _SCOPE_WORDS.issuperset(re.split(r"[.:_\-]", name))


def scopes_in(text: str) -> tuple[str, ...]:
    """Return the scopes that a text lists first after `placeholders`, in its order."""
    first = re.search(rf"<scope:{_SCOPE}>(?:(?:, ?| and )<scope:{_SCOPE}>)*", text)
    return tuple(dict.fromkeys(re.findall(rf"<scope:({_SCOPE})>", first[0]))) if first is not None else ()


def code_of(code: object) -> str | None:
    """Return an error code as it may be kept: three digits, or words of the list in one; else ``<name>``."""
    if code is None or code == "":
        return None
    text = str(code)
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", text) if re.fullmatch(r"[A-Za-z]+(?:_[A-Za-z]+)*", text) else []
    known = bool(parts) and WORDS.issuperset(part.lower() for part in parts)
    return text if known or re.fullmatch(r"\d{3}", text) else "<name>"


def _listed(match: re.Match[str]) -> str:
    if match["one"] is not None:
        return f"{match['before']}<scope:{match['one'].lower()}>"
    names = re.split(r"(, ?| and )", match["scopes"])
    return match["lead"] + "".join(f"<scope:{name}>" if is_scope(name) else name for name in names)


def _placed(token: re.Match[str]) -> str:
    text = token[0]
    if token["placed"] is not None:
        return text if all(map(is_scope, re.findall(r"<scope:(.*)>", text))) else "<name>"
    if token["quoted"] is not None:
        return f"{token['mark']}{_quoted(token['quoted'])}{token['mark']}"
    if token["bracketed"] is not None:
        return f"[{_bracketed(token['bracketed'])}]"
    if token["url"] is not None:
        return "<host>"
    if token["code"] is not None:
        return text if code_of(text) == text else "<name>"
    if token["word"] is not None:
        return _word(text)
    return text if token["sqlstate"] is not None or token["between"] is not None else " "


def _quoted(text: str) -> str:
    """Return what may be within quotation marks: a privilege, or placeholders."""
    if not text.strip() or " ".join(text.lower().replace("_", " ").split()) in _PRIVILEGES:
        return text
    return _once(text) if re.fullmatch(rf"{_PLACED}(?:(?:, ?| and ){_PLACED})*", text) else _value(text)


def _bracketed(text: str) -> str:
    """Return what may be in brackets: an error class, a value with its title, or placeholders."""
    title, colon, value = text.partition(": ")
    if re.fullmatch(r"[A-Z]+(?:_[A-Z]+)+(?:\.[A-Z_]+)?", text) and code_of(text.replace(".", "_")) != "<name>":
        return text
    if colon and _word(title) == title:
        return f"{title}: {_value(value)}"
    return _quoted(text)


def _word(text: str) -> str:
    bare = text.rstrip(".")
    rest = text[len(bare) :]
    stem = re.sub(r"(?:n't|'s)\Z", "", bare)
    lower = stem.lower()
    if not stem.strip("-/") or stem == "0":
        return text
    plain_case = stem in {lower, lower.capitalize(), stem.upper()}
    if (lower in WORDS and plain_case) or lower in _COMPOUND:
        return text
    if re.fullmatch(r"[a-z]+/[a-z]+", lower) and WORDS.issuperset(lower.split("/")):
        return text
    if stem == stem.upper() and lower.replace("_", " ") in _PRIVILEGES:
        return text
    return _value(bare) + rest


def _value(text: str) -> str:
    if re.fullmatch(_PLACED, text):
        return _once(text)
    return next((kind for kind, pattern in _KINDS if pattern.fullmatch(text)), "<name>")
