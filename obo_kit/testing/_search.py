"""Vector search over rows of real text, ranked lexically: character n-grams weighted by TF-IDF."""

from __future__ import annotations

import json
import operator
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from obo_kit.testing._gate import Answer, Api, Call
from obo_kit.testing._grants import Grants
from obo_kit.testing._refusals import RefusedError
from obo_kit.testing._sql import split_name

__all__ = ["Search"]

_MAX_RESULTS = 10_000
_QUERY_TYPES = {"ANN", "HYBRID", "FULL_TEXT"}
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class _Index:
    """The rows of one index and their weights."""

    def __init__(
        self,
        name: str,
        rows: Iterable[Mapping[str, Any]],
        *,
        primary_key: str,
        text_column: str,
        endpoint: str,
        embedding_endpoint: str | None,
    ) -> None:
        self.name = name
        self.rows = [dict(row) for row in rows]
        self.primary_key = primary_key
        self.text_column = text_column
        self.endpoint = endpoint
        self.embedding_endpoint = embedding_endpoint
        self.columns = list(dict.fromkeys(column for row in self.rows for column in row))
        for column in (primary_key, text_column):
            if not self.rows or any(row.get(column) is None for row in self.rows):
                msg = f"Every row of index {name!r} needs a value in column {column!r}, and there must be a row"
                raise ValueError(msg)
        if len({row[primary_key] for row in self.rows}) != len(self.rows):
            msg = f"Column {primary_key!r} of index {name!r} holds a value twice, so it is no primary key"
            raise ValueError(msg)
        texts = [str(row[text_column]) for row in self.rows]
        from sklearn.feature_extraction.text import TfidfVectorizer

        # Parts of words, so that "refunds" finds "refund"; the spaces keep even a one-letter text from having no part.
        self._vectorizer: Any = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
        self._weights: Any = self._vectorizer.fit_transform(texts)

    def rank(self, text: str) -> list[tuple[int, float]]:
        """Row numbers and scores, best first."""
        cosine = (self._weights @ self._vectorizer.transform([text]).T).toarray().ravel()
        # The documented score of an L2 index: 1 / (1 + squared distance), here between unit vectors.
        scores = [1.0 / (1.0 + max(0.0, 2.0 - 2.0 * float(value))) for value in cosine]
        return sorted(enumerate(scores), key=lambda entry: (-entry[1], entry[0]))


class Search:
    """Serves vector search endpoints and indexes. Lives as long as its workspace."""

    def __init__(self, grants: Grants, host: Callable[[], str]) -> None:
        self._grants = grants
        self._host = host
        self._lock = threading.Lock()
        self._indexes: dict[str, _Index] = {}

    def add(
        self,
        name: str,
        rows: Iterable[Mapping[str, Any]],
        *,
        primary_key: str,
        text_column: str,
        endpoint: str,
        embedding_endpoint: str | None,
    ) -> list[dict[str, Any]]:
        """Add an index and return its rows. ValueError where name, rows or columns are unusable."""
        full = ".".join(split_name(name))
        index = _Index(
            full,
            rows,
            primary_key=primary_key,
            text_column=text_column,
            endpoint=endpoint,
            embedding_endpoint=embedding_endpoint,
        )
        self._grants.register("vector_search_index", full)
        if not self._grants.exists("vector_search_endpoint", endpoint):
            self._grants.register("vector_search_endpoint", endpoint)
        with self._lock:
            self._indexes[full] = index
        return index.rows

    def apis(self) -> list[Api]:
        """The routes."""
        indexes, endpoints = "/api/2.0/vector-search/indexes", "/api/2.0/vector-search/endpoints"
        return [
            Api(method="GET", path=indexes, handler=self._list_indexes),
            Api(method="GET", path=indexes + "/{index}", handler=self._describe),
            # databricks-ai-search sends its query as a GET with a body; databricks-sdk as a POST.
            Api(method="GET", path=indexes + "/{index}/query", handler=self._query, quick=False),
            Api(method="POST", path=indexes + "/{index}/query", handler=self._query, quick=False),
            Api(method="GET", path=endpoints, handler=self._list_endpoints),
            Api(method="GET", path=endpoints + "/{endpoint}", handler=self._endpoint),
        ]

    # ------------------------------------------------------------------ handlers

    def _describe(self, call: Call) -> Answer:
        index = self._readable(call)
        source: dict[str, Any] = {"name": index.text_column}
        if index.embedding_endpoint:
            source["embedding_model_endpoint_name"] = index.embedding_endpoint
        return Answer(
            content={
                "name": index.name,
                "endpoint_name": index.endpoint,
                "primary_key": index.primary_key,
                "index_type": "DELTA_SYNC",
                "delta_sync_index_spec": {
                    "source_table": index.name + "_source",
                    "embedding_source_columns": [source],
                    "pipeline_type": "TRIGGERED",
                },
                "status": {
                    "ready": True,
                    "detailed_state": "ONLINE_NO_PENDING_UPDATE",
                    "message": "Index is ready",
                    "indexed_row_count": len(index.rows),
                    "index_url": f"{self._host()}/api/2.0/vector-search/indexes/{index.name}",
                },
            }
        )

    def _query(self, call: Call) -> Answer:
        index = self._readable(call)
        body = call.json()
        if body.get("query_vector") is not None:
            raise RefusedError("invalid_parameter", detail="The local index computes its own vectors: send query_text")
        text = call.text(body, "query_text")
        columns = body.get("columns")
        if not isinstance(columns, list) or not columns or not all(isinstance(column, str) for column in columns):
            raise RefusedError("invalid_parameter", detail="columns must be a list of at least one column name")
        unknown = [column for column in columns if column not in index.columns]
        if unknown:
            raise RefusedError(
                "invalid_parameter", detail=f"Requested columns are not in index {index.name}: {', '.join(unknown)}"
            )
        count = body.get("num_results")
        count = 10 if count is None else count
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= _MAX_RESULTS:
            raise RefusedError("invalid_parameter", detail=f"num_results must be from 1 to {_MAX_RESULTS}")
        threshold = body.get("score_threshold") or 0.0
        if not isinstance(threshold, (int, float)):
            raise RefusedError("invalid_parameter", detail="score_threshold must be a number")
        kind = call.text(body, "query_type", "ANN").upper()
        if kind not in _QUERY_TYPES:
            raise RefusedError("invalid_parameter", detail=f"query_type must be one of {', '.join(_QUERY_TYPES)}")
        if body.get("filter_string"):
            raise RefusedError("invalid_parameter", detail="The local index takes filters as a dict, not as SQL text")
        keep = _filter(body.get("filters_json"), index.columns)
        found = [
            [*(index.rows[row].get(column) for column in columns), score]
            for row, score in index.rank(text)
            if score >= threshold and keep(index.rows[row])
        ][:count]
        # Values that JSON does not know (dates) travel as text.
        data = json.loads(json.dumps(found, default=str))
        return Answer(
            content={
                "manifest": {
                    "column_count": len(columns) + 1,
                    "columns": [*({"name": column} for column in columns), {"name": "score"}],
                },
                "result": {"row_count": len(data), "data_array": data},
                "next_page_token": "",
            }
        )

    def _list_indexes(self, call: Call) -> Answer:
        endpoint = call.query.get("endpoint_name")
        with self._lock:
            indexes = list(self._indexes.values())
        return Answer(
            content={
                "vector_indexes": [
                    {
                        "name": index.name,
                        "endpoint_name": index.endpoint,
                        "primary_key": index.primary_key,
                        "index_type": "DELTA_SYNC",
                    }
                    for index in indexes
                    if endpoint in {None, index.endpoint}
                    and self._grants.holds(call.user.principal, "SELECT", "vector_search_index", index.name)
                ]
            }
        )

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
            "endpoint_type": "STANDARD",
            "endpoint_status": {"state": "ONLINE"},
            "num_indexes": count,
        }

    def _visible(self, call: Call, endpoint: str) -> bool:
        """CAN USE shows an endpoint; so does an index on it (inferred: the clients look the endpoint up first)."""
        principal = call.user.principal
        with self._lock:
            names = [index.name for index in self._indexes.values() if index.endpoint == endpoint]
        return self._grants.holds(principal, "CAN USE", "vector_search_endpoint", endpoint) or any(
            self._grants.holds(principal, "SELECT", "vector_search_index", name) for name in names
        )

    def _readable(self, call: Call) -> _Index:
        name = call.params["index"].lower()
        with self._lock:
            index = self._indexes.get(name)
        if index is None:
            raise RefusedError("index_missing", name=name)
        if not self._grants.holds(call.user.principal, "SELECT", "vector_search_index", name):
            raise RefusedError("index_denied", name=name)
        return index


def _filter(filters_json: Any, columns: list[str]) -> Callable[[Mapping[str, Any]], bool]:
    """Read the documented filter dict: ``col``, ``col NOT``, ``col <`` (and so on), ``col LIKE``, ``a OR b``."""
    if not filters_json:
        return lambda _row: True
    try:
        filters = json.loads(filters_json) if isinstance(filters_json, str) else None
    except (ValueError, RecursionError):
        filters = None
    if not isinstance(filters, dict):
        raise RefusedError("invalid_parameter", detail="filters_json must be a JSON object, as text")
    tests = [_test(key, value, columns) for key, value in filters.items()]
    return lambda row: all(test(row) for test in tests)


def _test(key: str, value: Any, columns: list[str]) -> Callable[[Mapping[str, Any]], bool]:
    def known(*names: str) -> None:
        unknown = [name for name in names if name not in columns]
        if unknown:
            raise RefusedError("invalid_parameter", detail=f"Filter columns are not in the index: {', '.join(unknown)}")

    values = value if isinstance(value, list) else [value]
    names = re.split(r"\s+OR\s+", key)
    if len(names) > 1:
        known(*names)
        if len(values) != len(names):
            raise RefusedError("invalid_parameter", detail=f"Filter {key!r} needs one value per column")
        return lambda row: any(row.get(name) == one for name, one in zip(names, values, strict=True))
    column, _, word = key.strip().rpartition(" ")
    if not column:
        known(key)
        return lambda row: row.get(key) in values
    known(column.strip())
    column = column.strip()
    if word == "NOT":
        return lambda row: row.get(column) not in values
    if word == "LIKE":
        return lambda row: any(str(one) in str(row.get(column)).split() for one in values)
    if word in _COMPARE:
        return lambda row: _holds(_COMPARE[word], row.get(column), value)
    raise RefusedError("invalid_parameter", detail=f"Unknown operator in filter {key!r}")


def _holds(compare: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    try:
        return left is not None and compare(left, right)
    except TypeError:
        return False
