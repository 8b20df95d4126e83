"""Prepare the list of a SELECT, before anything of it is rewritten: fields, and what WHERE may name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from sqlglot import exp

from obo_kit.testing.sql._calls import call
from obo_kit.testing.sql._refusals import StatementError

__all__ = [
    "check_ambiguous",
    "check_names",
    "check_order",
    "fields_of_column",
    "fill_grouping",
    "inner_windows_first",
    "shared_first",
    "source_names",
    "sources_of",
]

Expr = exp.Expr
ColumnsOf = Callable[[Expr], list[str] | None]


def check_names(select: exp.Select, columns_of: ColumnsOf) -> None:
    """Refuse names of the select list where the platform does not read them, and DuckDB does: in WHERE and in windows.

    Args:
        select: The statement.
        columns_of: Returns the columns of a source; None if they are not known.
    """
    names = {each.alias.lower() for each in select.expressions if isinstance(each, exp.Alias)}
    if not names or select.args.get("laterals") or select.find_ancestor(exp.Select, exp.Lateral) is not None:
        return
    columns = list(map(columns_of, sources_of(select)))
    if None in columns:
        return
    names = names.difference(*filter(None, columns))
    for column, key, detail in _named(select) if names else ():
        if column.name.lower() in names and not column.table and column.find_ancestor(exp.Select) is select:
            raise StatementError(key, detail.format(column.name))


def check_ambiguous(select: exp.Select, columns_of: ColumnsOf) -> None:
    """Refuse names that several columns of one source have: DuckDB numbers these columns."""
    aliases = {each.alias.lower() for each in select.expressions if isinstance(each, exp.Alias)}
    for source in sources_of(select):
        twice = {name for name, times in Counter(columns_of(source)).items() if times > 1} - aliases
        for column in _columns_in(select, select) if twice else ():
            if column.name.lower() in twice and column.table.lower() in {"", source.alias_or_name.lower()}:
                raise StatementError("sql_ambiguous", f"Reference `{column.name}` is ambiguous.")


def check_order(select: exp.Select) -> None:
    """Refuse to order the rows of DISTINCT by what it leaves out."""
    order = select.args.get("order")
    if order is None or not select.args.get("distinct") or any(each.is_star for each in select.expressions):
        return
    names = {each.alias_or_name.lower() for each in select.expressions}
    for column in _columns_in(order, select):
        if not names & {each.name.lower() for each in column.parts}:
            raise StatementError("sql_column", f"A column with name `{column.name}` cannot be resolved.")


def _columns_in(node: Expr, select: exp.Select) -> Iterator[exp.Column]:
    """Yield the columns that a statement names itself, without its subqueries."""
    return (each for each in node.find_all(exp.Column) if each.find_ancestor(exp.Select) is select)


def sources_of(select: exp.Select) -> list[Expr]:
    """Return the sources of a statement."""
    return [each.this for each in (select.args.get("from_"), *(select.args.get("joins") or ())) if each is not None]


def source_names(select: exp.Select) -> set[str]:
    """Return the names by which a statement knows its sources, in lower case."""
    joined = [each for name in ("joins", "laterals") for each in select.args.get(name) or ()]
    return {each.alias_or_name.lower() for each in (select.args.get("from_"), *joined) if each is not None}


def _named(select: exp.Select) -> Iterator[tuple[exp.Column, str, str]]:
    """Yield the columns that are named in WHERE and windows, with the refusal of a name that is none."""
    where = select.args.get("where")
    for column in where.find_all(exp.Column) if where is not None else ():
        yield column, "sql_column", "A column with name `{}` cannot be resolved."
    for window in [each for column in select.expressions for each in column.find_all(exp.Window)]:
        for column in window.find_all(exp.Column):
            yield column, "sql_alias_in_window", "Referencing a lateral column alias `{}` in a window expression."


def shared_first(select: exp.Select) -> None:
    """Put the columns of USING first in ``*``: DuckDB leaves them where the left table has them."""
    if not any(each.is_star for each in select.expressions):
        return
    shared: list[Expr] = []
    for join in select.args.get("joins", ()):
        if join.args.get("method") == "NATURAL":
            raise StatementError("sql_unsupported", "* of a NATURAL JOIN is not served.")
        shared = [*(join.args.get("using") or ()), *shared]
    columns = [each for column in select.expressions for each in _spread(column, shared)]
    select.set("expressions", columns)


def _spread(column: Expr, shared: list[Expr]) -> list[Expr]:
    """Return ``*`` as the shared columns, and ``*`` without them; the same of ``t.*``."""
    star = column.this if isinstance(column, exp.Column) else column
    if not isinstance(star, exp.Star) or not shared:
        return [column]
    left_out = star.args.get("except_") or []
    names = {each.name.lower() for each in left_out}
    first = [each for each in shared if each.name.lower() not in names]
    star.set("except_", [*left_out, *(each.copy() for each in first)] or None)
    of = column.args.get("table")
    return [*(exp.Column(this=exp.to_identifier(each.name), table=of and of.copy()) for each in first), column]


def fields_of_column(column: exp.Column) -> Expr | None:
    """Return a name whose last parts are fields as calls, which are settled once the types are known; None for another name."""
    names = list(column.parts)
    select = column.find_ancestor(exp.Select)
    if isinstance(column.this, exp.Star) or len(names) < 2 or select is None:
        return None
    sources: set[str] = set()
    while select is not None:
        sources |= source_names(select)
        select = select.find_ancestor(exp.Select)
    at = 2 if names[0].name.lower() in sources else 1
    if column.args.get("catalog") or len(names) <= at:
        return None
    result: Expr = exp.Column(this=names[at - 1], table=names[0] if at == 2 else None)
    for name in names[at:]:
        result = call("field", result, exp.Literal.string(name.name))
    return exp.Alias(this=result, alias=names[-1].copy()) if isinstance(column.parent, exp.Select) else result


def inner_windows_first(select: exp.Select, columns_of: ColumnsOf, kinds: dict[str, str]) -> None:
    """Compute windows that stand within others in a query of their own, in place of the sources: DuckDB nests none.

    Args:
        select: The statement.
        columns_of: Returns the columns of a source; None if they are not known.
        kinds: DuckDB's type per name of a column; those of the query are added.
    """
    windows = [each for each in select.find_all(exp.Window) if _is_inner(each, select)]
    if not windows:
        return
    made = _check_movable(select, columns_of)
    inner = exp.Select(**{name: select.args.pop(name) for name in _SOURCES if select.args.get(name)})
    parts = _move_all(select, windows, made, kinds)
    _refuse_aggregates(select, parts.values())
    inner.set("expressions", [exp.alias_(part, name, quoted=True) for part, name in parts.items()])
    inner_windows_first(inner, columns_of, kinds)
    alias = exp.TableAlias(this=exp.to_identifier("windows", quoted=True))
    select.set("from_", exp.From(this=exp.Subquery(this=inner, alias=alias)))


def _move_all(select: exp.Select, windows: list[exp.Window], made: set[str], kinds: dict[str, str]) -> dict[Expr, str]:
    """Put columns in place of the windows and of the sources' columns, and return which column each of them is."""
    for each in [each for each in select.expressions if isinstance(each, exp.Column)]:
        each.replace(exp.alias_(each.copy(), each.name, quoted=True))
    names = {each.alias_or_name.lower() for each in select.expressions}
    parts: dict[Expr, str] = {}
    for window in windows:
        _move(window, parts, kinds)
    for column in [each for each in _columns_in(select, select) if each.name not in parts.values()]:
        if column.table or column.name.lower() not in (names if _orders(column, select) else made):
            _move(column, parts, kinds)
    return parts


_SOURCES = ("from_", "joins", "where")


def _is_inner(window: exp.Window, select: exp.Select) -> bool:
    """Return whether a window of a statement stands within one, and that one within none."""
    above = window.find_ancestor(exp.Window, exp.Query)
    return isinstance(above, exp.Window) and above.find_ancestor(exp.Window, exp.Query) is select


def _check_movable(select: exp.Select, columns_of: ColumnsOf) -> set[str]:
    """Return the names that a statement makes and its sources do not have. Raises StatementError if that is not known."""
    columns = list(map(columns_of, sources_of(select)))
    made = {each.alias.lower() for each in select.expressions if isinstance(each, exp.Alias)}
    made = made.difference(*filter(None, columns))
    named = {each.name.lower() for each in _columns_in(select, select) if not each.table}
    fixed = any(map(select.args.get, ("group", "having", "windows", "laterals")))
    rest = select.copy()
    for name in (*_SOURCES, "with_"):
        rest.set(name, None)
    stars = any(each.is_star for each in select.expressions)
    if fixed or stars or len(list(rest.find_all(exp.Query))) > 1 or (None in columns and made & named):
        raise StatementError(
            "sql_unsupported", "a window function in another is not served in a statement of this form."
        )
    return made


def _move(node: Expr, parts: dict[Expr, str], kinds: dict[str, str]) -> None:
    """Put a column in place of an expression, and note the expression under the column's name."""
    name = parts.setdefault(node.copy(), f"{node.name or 'window'} {len(parts)}")
    kinds[name.lower()] = kinds.get(node.name.lower(), "")
    node.replace(exp.column(name, quoted=True))


def _refuse_aggregates(select: exp.Select, names: Iterable[str]) -> None:
    """Name columns outside every aggregate: DuckDB refuses a plain aggregate of them then, as the platform does."""
    plain = exp.or_(*(exp.column(each, quoted=True).is_(exp.null()) for each in names), exp.true())
    kept = select.args.get("qualify")
    select.set("qualify", exp.Qualify(this=exp.and_(plain, kept.this) if kept is not None else plain))


def _orders(column: exp.Column, select: exp.Select) -> bool:
    """Return whether a column is named in a statement's ORDER BY."""
    return column.find_ancestor(exp.Order, exp.Window, exp.Select) is select.args.get("order")


def fill_grouping(select: exp.Select) -> None:
    """Give ``grouping_id()`` the columns that a statement groups by."""
    group = select.args.get("group")
    grouped = list({value.sql(): value for value in _grouped(group)}.values()) if group is not None else []
    for each in grouped and select.find_all(exp.Anonymous):
        if each.name.lower() == "grouping_id" and not each.expressions and each.find_ancestor(exp.Select) is select:
            each.set("expressions", [value.copy() for value in grouped])


def _grouped(node: Expr) -> Iterator[Expr]:
    """Yield what a clause groups by, without the sets that it is in."""
    if isinstance(node, (exp.Group, exp.Rollup, exp.Cube, exp.GroupingSets, exp.Tuple, exp.Paren)):
        for each in node.iter_expressions():
            yield from _grouped(each)
    else:
        yield node
