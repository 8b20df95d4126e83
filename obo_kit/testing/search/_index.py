"""One vector search index: its description, its rows, and their ranking."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from obo_kit.testing.search._embedding import DIMENSION, embed
from obo_kit.testing.sql._engine import split_name
from obo_kit.testing.sql._rows import Rows, records

__all__ = ["Index", "Kind", "QueryType", "Snapshot", "new_index"]

Kind = Literal["delta-sync", "direct-access"]
QueryType = Literal["ANN", "HYBRID", "FULL_TEXT"]

# Documented: hybrid and full-text searches return no more than this.
KEYWORD_LIMIT = 200
# The constant of reciprocal rank fusion, the documented method of hybrid search.
_RRF = 60
# A sample value of each type that the schema of a direct-access index may name.
_SAMPLES: Mapping[str, Any] = {
    "string": "",
    "str": "",
    "int": 0,
    "integer": 0,
    "long": 0,
    "bigint": 0,
    "float": 0.0,
    "double": 0.0,
    "boolean": False,
    "bool": False,
    "array<float>": [0.0],
    "array<string>": [""],
    "array<int>": [0],
}


@dataclass(frozen=True, kw_only=True)
class Index:
    """An index, without its rows.

    Attributes:
        name: ``catalog.schema.index``, in lower case.
        kind: How it gets its rows.
        primary_key: The column that identifies rows.
        text_column: The column that is searched by text; None if there is none.
        vector_column: The column of vectors that the author computes; None if embeddings are managed.
        dimension: The length of those vectors.
        endpoint: The vector search endpoint that it is on.
        embedding_endpoint: The serving endpoint that is named as the model of managed embeddings.
        columns: Columns and their types (``string``, ``int``, ...), as a direct-access index reports them.
        content: The rows.
    """

    name: str
    kind: Kind
    primary_key: str
    text_column: str | None
    vector_column: str | None
    dimension: int
    endpoint: str
    embedding_endpoint: str | None
    columns: Mapping[str, str]
    content: _Content

    def sample(self) -> list[dict[str, Any]]:
        """Return rows that show the types of its columns: its own rows, or made-up ones if it has none yet."""
        return list(self.content.now().rows) or [{name: _SAMPLES[kind] for name, kind in self.columns.items()}]

    def describe(self, host: str) -> dict[str, Any]:
        """Return the API's description of the index."""
        state = "ONLINE_DIRECT_ACCESS" if self.kind == "direct-access" else "ONLINE_NO_PENDING_UPDATE"
        return {
            **self.summary(),
            **self._spec(),
            "status": {
                "ready": True,
                "detailed_state": state,
                "message": "Index is ready",
                "indexed_row_count": len(self.content.now().rows),
                "index_url": f"{host}/api/2.0/vector-search/indexes/{self.name}",
            },
        }

    def summary(self) -> dict[str, Any]:
        """Return the index's entry in a list of indexes."""
        return {
            "name": self.name,
            "endpoint_name": self.endpoint,
            "primary_key": self.primary_key,
            "index_type": self.kind.upper().replace("-", "_"),
        }

    def _spec(self) -> dict[str, Any]:
        if self.vector_column is None:
            source: dict[str, Any] = {"name": self.text_column}
            if self.embedding_endpoint:
                source["embedding_model_endpoint_name"] = self.embedding_endpoint
            embedding = {"embedding_source_columns": [source]}
        else:
            vectors = {"name": self.vector_column, "embedding_dimension": self.dimension}
            embedding = {"embedding_vector_columns": [vectors]}
        if self.kind == "direct-access":
            return {"direct_access_index_spec": {**embedding, "schema_json": json.dumps(dict(self.columns))}}
        source_table = {"source_table": self.name + "_source", "pipeline_type": "TRIGGERED"}
        return {"delta_sync_index_spec": {**source_table, **embedding}}

    def complete(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row as it is stored, with a vector. The ValueError says why a row does not fit."""
        completed = dict(row)
        unknown = sorted(set(completed) - set(self.columns))
        if unknown:
            msg = f"has columns that the index lacks: {', '.join(unknown)}"
            raise ValueError(msg)
        needed = [self.primary_key, *([self.text_column] if self.vector_column is None else [])]
        for column in needed:
            if completed.get(str(column)) is None:
                msg = f"needs a value in column {column!r}"
                raise ValueError(msg)
        if self.vector_column is not None:
            vector = completed.get(self.vector_column)
            text = completed.get(self.text_column) if self.text_column else None
            if vector is None and text is not None and self.dimension == DIMENSION:
                vector = embed([str(text)])[0]
            completed[self.vector_column] = self.vector(vector)
        return completed

    def vector(self, value: Any) -> list[float]:
        """Return a vector of this index. The ValueError says why a value is not one."""
        value = value.tolist() if hasattr(value, "tolist") else value
        numbers = list(value) if isinstance(value, (list, tuple)) else []
        if len(numbers) != self.dimension or not all(_is_number(number) for number in numbers):
            msg = f"needs a vector of {self.dimension} numbers, not {_shape(value)}"
            raise ValueError(msg)
        return [float(number) for number in numbers]


def new_index(
    name: str,
    rows: Rows,
    *,
    kind: Kind,
    primary_key: str,
    text_column: str | None,
    vector_column: str | None,
    dimension: int | None,
    schema: Mapping[str, str] | None,
    endpoint: str,
    embedding_endpoint: str | None,
) -> Index:
    """Build an index of rows; see ``LocalWorkspace.add_index``."""
    row_records = records(rows)
    _check_shape(
        name, has_rows=bool(row_records), kind=kind, text_column=text_column, vector_column=vector_column, schema=schema
    )
    columns = dict(schema) if schema is not None else _schema(row_records, vector_column)
    for column in (primary_key, text_column, vector_column):
        if schema is not None and column is not None and column not in columns:
            msg = f"The schema of index {name!r} lacks the column {column!r}"
            raise ValueError(msg)
    lengths = (
        [len(row[vector_column]) for row in row_records if _has_length(row.get(vector_column))] if vector_column else []
    )
    index = Index(
        name=".".join(split_name(name)),
        kind=kind,
        primary_key=primary_key,
        text_column=text_column,
        vector_column=vector_column,
        dimension=dimension or (lengths or [DIMENSION])[0],
        endpoint=endpoint,
        embedding_endpoint=embedding_endpoint,
        columns=columns,
        content=_Content(primary_key, text_column, vector_column),
    )
    completed = []
    for row in row_records:
        try:
            completed.append(index.complete(row))
        except ValueError as error:
            msg = f"Every row of index {name!r} {error}"
            raise ValueError(msg) from None
    if len({str(row[primary_key]) for row in completed}) != len(completed):
        msg = f"Column {primary_key!r} of index {name!r} has a repeated value, so it cannot be the primary key"
        raise ValueError(msg)
    index.content.put(completed)
    return index


def _check_shape(
    name: str,
    *,
    has_rows: bool,
    kind: str,
    text_column: str | None,
    vector_column: str | None,
    schema: Mapping[str, str] | None,
) -> None:
    msg = None
    if kind not in {"delta-sync", "direct-access"}:
        msg = f"An index is of kind 'delta-sync' or 'direct-access', not {kind!r}"
    elif kind == "direct-access" and vector_column is None:
        msg = f"Index {name!r} is of kind 'direct-access': pass vector_column=, the column its vectors are in"
    elif text_column is None and vector_column is None:
        msg = f"Index {name!r} needs text_column= (managed embeddings) or vector_column= (vectors of your own)"
    elif schema is not None and kind != "direct-access":
        msg = f"schema= is for a direct-access index; the columns of {name!r} are taken from its rows"
    elif schema is None and not has_rows:
        msg = f"Index {name!r} needs at least one row, or, of kind 'direct-access', a schema="
    elif schema is not None and (unknown := sorted(set(schema.values()) - set(_SAMPLES))):
        msg = f"The schema of index {name!r} has unknown types: {', '.join(unknown)}; there are: {', '.join(_SAMPLES)}"
    if msg is not None:
        raise ValueError(msg)


def _schema(rows: Iterable[Mapping[str, Any]], vector_column: str | None) -> dict[str, str]:
    columns: dict[str, str] = {}
    for row in rows:
        for name, value in row.items():
            if columns.get(name, "") == "":
                columns[name] = _type(value)
    if vector_column is not None:
        columns[vector_column] = "array<float>"
    return {name: kind or "string" for name, kind in columns.items()}


def _type(value: Any) -> str:
    for kind, name in ((bool, "boolean"), (int, "long"), (float, "double"), (str, "string")):
        if isinstance(value, kind):
            return name
    if isinstance(value, (list, tuple)):
        inner = _type(value[0]) if value else "string"
        return {"long": "array<int>", "double": "array<float>"}.get(inner, "array<string>")
    return "" if value is None else "string"


def _has_length(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str)


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, (bool, str)) and math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def _shape(value: Any) -> str:
    return f"{len(value)} values" if isinstance(value, (list, tuple)) else repr(value)[:40]


# ---------------------------------------------------------------------------------------------- rows


class _Content:
    """The rows of one index, which may change. Thread-safe: a search works on a snapshot."""

    def __init__(self, primary_key: str, text_column: str | None, vector_column: str | None) -> None:
        self._primary_key = primary_key
        self._columns = (text_column, vector_column)
        self._lock = threading.Lock()
        self._rows: dict[str, dict[str, Any]] = {}
        self._snapshot: Snapshot | None = None

    def put(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows. A row with a known key replaces the older one."""
        with self._lock:
            self._rows.update((str(row[self._primary_key]), dict(row)) for row in rows)
            self._snapshot = None

    def remove(self, keys: Iterable[str]) -> int:
        """Remove rows by their keys, as text. Return how many there were."""
        with self._lock:
            removed = [key for key in keys if self._rows.pop(key, None) is not None]
            self._snapshot = None
        return len(removed)

    def now(self) -> Snapshot:
        """Return the current rows."""
        with self._lock:
            if self._snapshot is None:
                self._snapshot = Snapshot(tuple(self._rows.values()), *self._columns)
            return self._snapshot


class Snapshot:
    """Rows at one moment, ranked by text, by keywords or by vector."""

    def __init__(self, rows: tuple[dict[str, Any], ...], text_column: str | None, vector_column: str | None) -> None:
        self.rows = rows
        self._text_column = text_column
        self._vector_column = vector_column

    def rank(
        self, kind: QueryType, *, text: str, vector: Sequence[float] | None, keyword_columns: Sequence[str]
    ) -> list[tuple[int, float]]:
        """Return row numbers and scores, best first.

        Args:
            kind: ``ANN``: all rows. ``FULL_TEXT``: those with a word of the text. ``HYBRID``: both, fused.
            text: The query.
            vector: The query as a vector, if the vectors are the author's own.
            keyword_columns: The columns whose words count. If empty, all text columns count.
        """
        if kind == "ANN":
            return self._near(text, vector)
        words = self._with_words(text, keyword_columns)
        if kind == "FULL_TEXT":
            return words[:KEYWORD_LIMIT]
        fused: dict[int, float] = {}
        for ranking in (self._near(text, vector), words):
            for place, (row, _) in enumerate(ranking, start=1):
                # Divide by the score of the first place in both rankings, so that 1 is the best score.
                fused[row] = fused.get(row, 0.0) + (_RRF + 1) / (2 * (_RRF + place))
        return _sorted(fused.items())[:KEYWORD_LIMIT]

    def rerank(self, text: str, ranked: Sequence[tuple[int, float]], columns: Sequence[str]) -> list[tuple[int, float]]:
        """Sort the first 50 by how much their columns resemble the text. There is no reranker model."""
        first = ranked[:50]
        texts = [" ".join(str(self.rows[row].get(column) or "") for column in columns) for row, _ in first]
        cosines = _Lexical(texts, analyzer="char_wb", ngram_range=(2, 5)).cosines(text)
        return _sorted((row, _score(2 - 2 * cosine)) for (row, _), cosine in zip(first, cosines, strict=True))

    def _near(self, text: str, vector: Sequence[float] | None) -> list[tuple[int, float]]:
        if vector is None:
            return _sorted(enumerate(_score(2 - 2 * cosine) for cosine in self._parts.cosines(text)))
        return _sorted(
            (number, _score(_squared_distance(row[str(self._vector_column)], vector)))
            for number, row in enumerate(self.rows)
        )

    def _with_words(self, text: str, columns: Sequence[str]) -> list[tuple[int, float]]:
        words = self._words if not columns else _words(self.rows, columns)
        return _sorted((row, cosine) for row, cosine in enumerate(words.cosines(text)) if cosine > 0)

    @cached_property
    def _parts(self) -> _Lexical:
        # Parts of words, so that "refunds" finds "refund".
        texts = [str(row[str(self._text_column)]) for row in self.rows]
        return _Lexical(texts, analyzer="char_wb", ngram_range=(2, 5))

    @cached_property
    def _words(self) -> _Lexical:
        return _words(self.rows, ())


class _Lexical:
    """Texts weighted by TF-IDF: rarer parts count more."""

    def __init__(self, texts: Sequence[str], **settings: Any) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._count = len(texts)
        self._vectorizer: Any = TfidfVectorizer(sublinear_tf=True, **settings)
        try:
            self._weights: Any = self._vectorizer.fit_transform(texts)
        except ValueError:  # there is no text, or no text has anything to weigh
            self._weights = None

    def cosines(self, text: str) -> list[float]:
        """Return how much each text resembles this one, from 0 (not at all) to 1."""
        if self._weights is None:
            return [0.0] * self._count
        cosines: list[float] = (self._weights @ self._vectorizer.transform([text]).T).toarray().ravel().tolist()
        return cosines


def _words(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> _Lexical:
    texts = [
        " ".join(value for name, value in row.items() if isinstance(value, str) and (not columns or name in columns))
        for row in rows
    ]
    return _Lexical(texts, token_pattern=r"(?u)\w+")  # noqa: S106  no password


def _squared_distance(vector: Sequence[float], other: Sequence[float]) -> float:
    # A product, because a power would raise for infinite values.
    return sum((a - b) * (a - b) for a, b in zip(vector, other, strict=True))


def _score(squared_distance: float) -> float:
    """Return the documented score: 1 / (1 + squared L2 distance)."""
    return 1.0 / (1.0 + max(0.0, squared_distance))


def _sorted(scored: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
    return sorted(scored, key=lambda entry: (-entry[1], entry[0]))
