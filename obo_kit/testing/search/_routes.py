"""Vector search endpoints and indexes as REST routes: metadata, queries by text and vector, pages, scans, writes."""

from __future__ import annotations

import json
import math
import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from starlette.datastructures import QueryParams

from obo_kit.testing._refusals import RefusedError
from obo_kit.testing.search._filters import by_dict, by_sql
from obo_kit.testing.search._index import Index, Kind, QueryType, Snapshot, new_index
from obo_kit.testing.server._api import Answer, Api, Call
from obo_kit.testing.server._service import Core, Mixin, Part, Service
from obo_kit.testing.serving._endpoints import Serving
from obo_kit.testing.sql._rows import Rows

__all__ = ["Search", "SearchMixin"]

_MAX_RESULTS = 10_000
_QUERY_TYPES = ("ANN", "HYBRID", "FULL_TEXT")


@dataclass(frozen=True, kw_only=True)
class _Page:
    """The rows that did not fit into an answer. They belong to the caller."""

    index: str
    owner: str
    columns: list[str]
    rows: list[list[Any]]


class Search(Service):
    """Serves vector search endpoints and indexes. Lives as long as its workspace.

    Requests and answers have the forms that databricks-sdk and databricks-ai-search declare. Inferred: the length of a page,
    that an integer stays one (the platform may answer 1.0), that writing needs MODIFY, and that an index is not found if the
    request names another endpoint.

    Attributes:
        page_size: The number of rows in an answer. Longer results come in pages.
        kept: The number of pages that stay available.
    """

    def __init__(self, core: Core) -> None:
        self.page_size = 1000
        self.kept = 1000
        self._grants = core.grants
        self._host = core.host
        self._lock = threading.Lock()
        self._indexes: dict[str, Index] = {}
        self._storage_optimized: dict[str, bool] = {}
        self._pages: OrderedDict[str, _Page] = OrderedDict()

    def add_endpoint(self, name: str, *, storage_optimized: bool = False) -> None:
        """Add an endpoint. Raises ValueError if the name is taken."""
        self._grants.register("vector_search_endpoint", name)
        with self._lock:
            self._storage_optimized[name] = storage_optimized

    def add(self, index: Index) -> None:
        """Add an index, and its endpoint if that does not exist yet. Raises ValueError if the name is taken."""
        self._grants.register("vector_search_index", index.name)
        if not self._grants.exists("vector_search_endpoint", index.endpoint):
            self.add_endpoint(index.endpoint)
        with self._lock:
            self._indexes[index.name] = index

    def apis(self) -> list[Api]:
        """Return the routes."""
        indexes, endpoints = "/api/2.0/vector-search/indexes", "/api/2.0/vector-search/endpoints"
        reads = (("query", self._query), ("query-next-page", self._next_page), ("scan", self._scan))
        return [
            Api(method="GET", path=indexes, handler=self._list_indexes),
            Api(method="GET", path=indexes + "/{index}", handler=self._describe),
            # databricks-ai-search reads by GET with a body; databricks-sdk by POST.
            *(
                Api(method=method, path=f"{indexes}/{{index}}/{name}", handler=handler, quick=False)
                for name, handler in reads
                for method in ("GET", "POST")
            ),
            Api(method="POST", path=indexes + "/{index}/upsert-data", handler=self._upsert, quick=False),
            Api(method="DELETE", path=indexes + "/{index}/delete-data", handler=self._delete),
            Api(method="GET", path=endpoints, handler=self._list_endpoints),
            Api(method="GET", path=endpoints + "/{endpoint}", handler=self._endpoint),
            Api(method="GET", path=endpoints + "/{endpoint}/indexes", handler=self._list_indexes),
            Api(method="GET", path=endpoints + "/{endpoint}/indexes/{index}", handler=self._describe),
        ]

    # ------------------------------------------------------------------ reading

    def _describe(self, call: Call) -> Answer:
        return Answer(content=self._index(call, "SELECT").describe(self._host()))

    def _query(self, call: Call) -> Answer:
        index = self._index(call, "SELECT")
        body = call.json()
        columns = _columns(body, "columns", index)
        snapshot = index.content.now()
        kept = self._kept(body, index, snapshot)
        kind = cast("QueryType", call.text(body, "query_type", "ANN").upper())
        if kind not in _QUERY_TYPES:
            raise RefusedError("invalid_parameter", detail=f"query_type must be one of {', '.join(_QUERY_TYPES)}")
        count = _integer(body, "num_results", 10, _MAX_RESULTS)
        threshold = body.get("score_threshold") or 0.0
        if not isinstance(threshold, (int, float)):
            raise RefusedError("invalid_parameter", detail="score_threshold must be a number")
        for name in ("facets", "sort_columns"):
            if body.get(name):
                raise RefusedError("invalid_parameter", detail=f"The local workspace does not serve {name}")
        text, vector = _question(call, body, index, kind)
        words_of = _columns(body, "query_columns", index) if body.get("query_columns") else []
        ranked = [
            (row, score)
            for row, score in snapshot.rank(kind, text=text, vector=vector, keyword_columns=words_of)
            if row in kept and score >= threshold
        ]
        notes: list[str] = []
        if (rerank_by := _reranked(body, index)) is not None:
            ranked = snapshot.rerank(text, ranked, rerank_by)
            notes.append(
                "The local workspace has no reranker model: it reranks by the parts of words that texts share."
            )
        rows = [[*(snapshot.rows[row].get(column) for column in columns), score] for row, score in ranked[:count]]
        # Values that JSON has no type for (dates) travel as text.
        rows = json.loads(json.dumps(rows, default=str))
        content = self._page(call, index.name, columns, rows)
        if body.get("debug_level"):
            content["debug_info"] = {"warnings": notes} if notes else {}
        return Answer(content=content)

    def _kept(self, body: Mapping[str, Any], index: Index, snapshot: Snapshot) -> set[int]:
        """Return the numbers of the rows that pass the filter. Each kind of endpoint takes its own form of filter."""
        as_dict, as_text = body.get("filters_json"), body.get("filter_string")
        for name, value in (("filters_json", as_dict), ("filter_string", as_text)):
            if value is not None and not isinstance(value, str):
                raise RefusedError("invalid_parameter", detail=f"{name} must be text")
        optimized = self._storage_optimized[index.endpoint]
        if as_dict and optimized:
            raise RefusedError("search_filter_form", endpoint="storage-optimized", form="filter_string (SQL text)")
        if as_text and not optimized:
            raise RefusedError("search_filter_form", endpoint="standard", form="filters_json (a dict)")
        if as_dict:
            return by_dict(snapshot.rows, as_dict, index.columns)
        if as_text:
            return by_sql(snapshot.rows, as_text, index.columns)
        return set(range(len(snapshot.rows)))

    def _page(self, call: Call, index: str, columns: list[str], rows: list[list[Any]]) -> dict[str, Any]:
        token, size = "", self.page_size
        if len(rows) > size:
            token = uuid.uuid4().hex
            rest = _Page(index=index, owner=call.user.principal.user_name, columns=columns, rows=rows[size:])
            with self._lock:
                self._pages[token] = rest
                while len(self._pages) > self.kept:
                    self._pages.popitem(last=False)
        return {
            "manifest": {
                "column_count": len(columns) + 1,
                "columns": [*({"name": column} for column in columns), {"name": "score"}],
            },
            "result": {"row_count": len(rows[:size]), "data_array": rows[:size]},
            "next_page_token": token,
        }

    def _next_page(self, call: Call) -> Answer:
        index = self._index(call, "SELECT")
        token = call.text(call.json(), "page_token")
        with self._lock:
            page = self._pages.get(token)
        if page is None or (page.index, page.owner) != (index.name, call.user.principal.user_name):
            raise RefusedError("invalid_parameter", detail="page_token is unknown or too old")
        return Answer(content=self._page(call, page.index, page.columns, page.rows))

    def _scan(self, call: Call) -> Answer:
        index = self._index(call, "SELECT")
        body = call.json()
        count = _integer(body, "num_results", 10, _MAX_RESULTS)
        after = body.get("last_primary_key")
        rows = sorted(index.content.now().rows, key=lambda row: _sort_key(row[index.primary_key]))
        if after is not None:
            keys = [str(row[index.primary_key]) for row in rows]
            if str(after) not in keys:
                raise RefusedError(
                    "invalid_parameter", detail=f"There is no row with the primary key {str(after)[:100]!r}"
                )
            rows = rows[keys.index(str(after)) + 1 :]
        entries = json.loads(json.dumps(rows[:count], default=str))
        content: dict[str, Any] = {"data": [_struct(row) for row in entries]}
        if entries:
            content["last_primary_key"] = str(entries[-1][index.primary_key])
        return Answer(content=content)

    def _list_indexes(self, call: Call) -> Answer:
        endpoint = call.params.get("endpoint", call.query.get("endpoint_name"))
        with self._lock:
            indexes = list(self._indexes.values())
        mine = [
            index.summary()
            for index in indexes
            if endpoint in {None, index.endpoint}
            and self._grants.holds(call.user.principal, "SELECT", "vector_search_index", index.name)
        ]
        return Answer(content={"vector_indexes": mine})

    # ------------------------------------------------------------------ writing

    def _upsert(self, call: Call) -> Answer:
        index = self._writable(call)
        try:
            rows = json.loads(call.text(call.json(), "inputs_json"), parse_constant=_no_number)
        except (ValueError, RecursionError):
            rows = None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise RefusedError("invalid_parameter", detail="inputs_json must be a JSON array of objects, as text")
        good, failed = [], []
        for row in rows:
            try:
                good.append(index.complete(row))
            except ValueError:
                failed.append(str(row.get(index.primary_key)))
        index.content.put(good)
        return _written(len(good), failed)

    def _delete(self, call: Call) -> Answer:
        index = self._writable(call)
        # databricks-ai-search sends the keys in a body; databricks-sdk in the query.
        keys = call.json().get("primary_keys") or QueryParams(call.query).getlist("primary_keys")
        if not isinstance(keys, list) or not keys or not all(isinstance(key, (str, int)) for key in keys):
            raise RefusedError("invalid_parameter", detail="primary_keys must be a list of at least one key")
        return _written(index.content.remove(str(key) for key in keys), [])

    def _writable(self, call: Call) -> Index:
        index = self._index(call, "MODIFY")
        if index.kind != "direct-access":
            raise RefusedError("index_not_direct", name=index.name)
        return index

    # ------------------------------------------------------------------ endpoints

    def _list_endpoints(self, call: Call) -> Answer:
        names = [name for name in self._grants.names("vector_search_endpoint") if self._visible(call, name)]
        return Answer(content={"endpoints": [self._endpoint_body(name) for name in names]})

    def _endpoint(self, call: Call) -> Answer:
        name = call.params["endpoint"]
        if not self._grants.exists("vector_search_endpoint", name):
            raise RefusedError("search_endpoint_missing", name=name)
        if not self._visible(call, name):
            raise RefusedError("search_endpoint_denied", name=name)
        return Answer(content=self._endpoint_body(name))

    def _endpoint_body(self, name: str) -> dict[str, Any]:
        with self._lock:
            count = sum(index.endpoint == name for index in self._indexes.values())
        return {
            "name": name,
            "id": name,
            "endpoint_type": "STORAGE_OPTIMIZED" if self._storage_optimized[name] else "STANDARD",
            "endpoint_status": {"state": "ONLINE"},
            "num_indexes": count,
        }

    def _visible(self, call: Call, endpoint: str) -> bool:
        """Return whether an endpoint is visible: by CAN USE, or by an index on it (inferred: the clients look it up first)."""
        principal = call.user.principal
        with self._lock:
            names = [index.name for index in self._indexes.values() if index.endpoint == endpoint]
        return self._grants.holds(principal, "CAN USE", "vector_search_endpoint", endpoint) or any(
            self._grants.holds(principal, "SELECT", "vector_search_index", name) for name in names
        )

    def _index(self, call: Call, privilege: str) -> Index:
        """Return the index of the path, if the caller holds the privilege on it."""
        name = call.params["index"].lower()
        with self._lock:
            index = self._indexes.get(name)
        if index is None or call.params.get("endpoint", index.endpoint) != index.endpoint:
            raise RefusedError("index_missing", name=name)
        if not self._grants.holds(call.user.principal, privilege, "vector_search_index", name):
            raise RefusedError("index_denied", name=name)
        return index


def _question(call: Call, body: Mapping[str, Any], index: Index, kind: QueryType) -> tuple[str, list[float] | None]:
    """Return the text and the vector of a query. The kinds of index and query decide which of them it needs."""
    query_vector = body.get("query_vector")
    text = call.text(body, "query_text", "")
    if index.vector_column is None and query_vector is not None:
        raise RefusedError("invalid_parameter", detail="The local index computes its own vectors: send query_text")
    needs_vector = index.vector_column is not None and kind != "FULL_TEXT"
    if not text and (kind != "ANN" or not needs_vector):
        raise RefusedError(
            "invalid_parameter", detail=f"query_text is required for a query of type {kind} on this index"
        )
    if not needs_vector:
        return text, None
    try:
        return text, index.vector(query_vector)
    except ValueError as error:
        raise RefusedError("invalid_parameter", detail=f"query_vector: index {index.name} {error}") from None


def _columns(body: Mapping[str, Any], name: str, index: Index) -> list[str]:
    columns = body.get(name)
    if not isinstance(columns, list) or not columns or not all(isinstance(column, str) for column in columns):
        raise RefusedError("invalid_parameter", detail=f"{name} must be a list of at least one column name")
    if unknown := [column for column in columns if column not in index.columns]:
        raise RefusedError("search_columns", names=", ".join(unknown))
    return columns


def _reranked(body: Mapping[str, Any], index: Index) -> list[str] | None:
    """Return the columns to rerank by; None if the query asks for no reranker."""
    reranker = body.get("reranker")
    if reranker is None:
        return _columns(body, "columns_to_rerank", index) if body.get("columns_to_rerank") else None
    parameters = reranker.get("parameters") if isinstance(reranker, dict) else None
    return _columns(parameters if isinstance(parameters, dict) else {}, "columns_to_rerank", index)


def _integer(body: Mapping[str, Any], name: str, default: int, most: int) -> int:
    value = body.get(name)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise RefusedError("invalid_parameter", detail=f"{name} must be from 1 to {most}")
    return value


def _written(count: int, failed: list[str]) -> Answer:
    status = "SUCCESS" if not failed else "PARTIAL_SUCCESS" if count else "FAILURE"
    result: dict[str, Any] = {"success_row_count": count}
    if failed:
        result["failed_primary_keys"] = failed
    return Answer(content={"status": status, "result": result})


def _no_number(text: str) -> float:
    msg = f"{text} is not JSON"
    raise ValueError(msg)


def _sort_key(value: Any) -> tuple[int, float, str]:
    """Return a key that sorts numbers by size, before texts."""
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return 0, value, ""
    return 1, 0.0, str(value)


def _struct(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as a scan shows it: protobuf's Struct, written out."""
    return {"fields": [{"key": name, "value": _value(value)} for name, value in row.items() if value is not None]}


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"bool_value": value}
    if isinstance(value, (int, float)):
        return {"number_value": value}
    if isinstance(value, list):
        return {"list_value": {"values": [_value(element) for element in value if element is not None]}}
    if isinstance(value, dict):
        return {"struct_value": _struct(value)}
    return {"string_value": str(value)}


class SearchMixin(Mixin):
    """Vector search endpoints and indexes."""

    _search = Part(Search)
    _serving = Part(Serving)

    @property
    def search_page_size(self) -> int:
        """Return the number of rows in one answer of a search; 1000 by default. Clients fetch the next page themselves."""
        return self._search.page_size

    @search_page_size.setter
    def search_page_size(self, rows: int) -> None:
        if rows < 1:
            msg = f"search_page_size must be a number of rows from 1 on, not {rows!r}"
            raise ValueError(msg)
        self._search.page_size = rows

    def add_search_endpoint(self, name: str, *, storage_optimized: bool = False) -> None:
        """Add a vector search endpoint. ``add_index`` adds the endpoint that it names, of the standard type, if it is missing.

        Args:
            name: Its name.
            storage_optimized: Its type. A storage-optimized endpoint takes filters as SQL text (``"price < 10"``), a
                standard one as a dict (``{"price <": 10}``). Each refuses the other form.

        Raises:
            ValueError: The name is taken.
        """
        self._search.add_endpoint(name, storage_optimized=storage_optimized)

    def add_index(
        self,
        name: str,
        rows: Rows = (),
        *,
        primary_key: str,
        text_column: str | None = None,
        kind: Kind = "delta-sync",
        vector_column: str | None = None,
        dimension: int | None = None,
        schema: Mapping[str, str] | None = None,
        endpoint: str = "local-vs",
        embedding_endpoint: str | None = None,
    ) -> None:
        """Add a vector search index. Users need SELECT on it to query, and MODIFY to write to a direct-access index.

        With only a text column, its embeddings are managed, and it is queried by text. Rows are ranked lexically (TF-IDF
        over parts of words), which is real, but not a language model. With a vector column, it is queried by vectors and
        scored by L2 distance. Hybrid and full-text queries count words in all text columns.

        Args:
            name: ``catalog.schema.index``.
            rows: Records, or the path of a CSV file with a line of column names. At least one, unless a schema is given.
            primary_key: The column that identifies rows.
            text_column: The column that is searched by text.
            kind: ``"delta-sync"``, fed from a table, or ``"direct-access"``, which its users write.
            vector_column: The column of your own vectors (lists of numbers). A row without one gets the vector that the
                local embedding endpoints compute from its text, if the dimension is theirs (256).
            dimension: The length of the vectors; by default that of the first row's, else 256.
            schema: Columns of a direct-access index and their types (``"string"``, ``"int"``, ``"float"``,
                ``"array<float>"`` and so on); taken from the rows by default.
            endpoint: The vector search endpoint that it is on; added if it does not exist yet.
            embedding_endpoint: The serving endpoint to name as the model of managed embeddings; added if it does not exist
                yet. The clients look it up before they search, so users then need CAN QUERY on it and a model serving
                scope.

        Raises:
            ValueError: Name, rows, columns or schema are unusable.
        """
        index = new_index(
            name,
            rows,
            kind=kind,
            primary_key=primary_key,
            text_column=text_column,
            vector_column=vector_column,
            dimension=dimension,
            schema=schema,
            endpoint=endpoint,
            embedding_endpoint=embedding_endpoint,
        )
        self._core.engine.load(name, index.sample())
        self._search.add(index)
        if embedding_endpoint is not None and not self._core.grants.exists("serving_endpoint", embedding_endpoint):
            self._serving.add_embedding(embedding_endpoint)
