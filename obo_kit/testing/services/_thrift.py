"""The messages of ``TCLIService``, built from a statement's outcome. Only this module knows Thrift."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Container, Mapping, Sequence
from typing import Any

from obo_kit.testing.sql._engine import Column, Outcome
from obo_kit.testing.sql._results import arrow_table, column_body
from obo_kit.testing.sql._texts import text_of

__all__ = [
    "LISTED",
    "MalformedError",
    "answer",
    "available",
    "begun",
    "closed_session",
    "done",
    "has_arrow",
    "info",
    "texts_of",
    "jdbc_type",
    "metadata",
    "no_operation",
    "no_session",
    "opened",
    "operation_kind",
    "refused",
    "rows",
    "status",
]


class MalformedError(Exception):
    """The bytes are not a call of the service."""


@functools.cache
def available() -> bool:
    """Check that the connector's package, which ships the protocol, and Thrift are installed."""
    try:
        _types()
    except ImportError:
        return False
    return True


@functools.cache
def has_arrow() -> bool:
    """Check that pyarrow is installed."""
    return importlib.util.find_spec("pyarrow") is not None


@functools.cache
def _types() -> Any:
    return importlib.import_module("databricks.sql.thrift_api.TCLIService.ttypes")


def answer(raw: bytes, handler: object) -> bytes:
    """Answer one call. Blocks as long as the handler does.

    Raises:
        MalformedError: The bytes are not a call.
    """
    service = importlib.import_module("databricks.sql.thrift_api.TCLIService.TCLIService")
    transport = importlib.import_module("thrift.transport.TTransport")
    protocol = importlib.import_module("thrift.protocol.TBinaryProtocol").TBinaryProtocol
    broken = importlib.import_module("thrift.Thrift").TException
    reply = transport.TMemoryBuffer()
    try:
        service.Processor(handler).process(protocol(transport.TMemoryBuffer(raw)), protocol(reply))
    except (broken, EOFError, UnicodeDecodeError, AttributeError, TypeError, ValueError, MemoryError):
        # A body that reads as a call, but lacks the call's arguments, fails in the handler.
        raise MalformedError from None
    return bytes(reply.getvalue())


def _success() -> Any:
    types = _types()
    return types.TStatus(statusCode=types.TStatusCode.SUCCESS_STATUS)


def _response(method: str, **fields: Any) -> Any:
    return getattr(_types(), f"T{method}Resp")(**fields)


def refused(method: str, text: str) -> Any:
    """Return the refusal of a call."""
    types = _types()
    status = types.TStatus(statusCode=types.TStatusCode.ERROR_STATUS, errorMessage=text, displayMessage=text)
    return _response(method, status=status)


def no_session(method: str) -> Any:
    """Return the refusal for a session that does not exist or belongs to another user."""
    types = _types()
    missing = types.TStatus(statusCode=types.TStatusCode.INVALID_HANDLE_STATUS, errorMessage="Invalid SessionHandle")
    return _response(method, status=missing)


def no_operation(method: str) -> Any:
    """Return the refusal for an operation that does not exist, belongs to another user, or was canceled."""
    types = _types()
    missing = types.TStatus(statusCode=types.TStatusCode.INVALID_HANDLE_STATUS, errorMessage="Invalid OperationHandle")
    return _response(method, status=missing)


def done(method: str) -> Any:
    """Return an answer that only reports success."""
    return _response(method, status=_success())


def closed_session() -> Any:
    """Return the answer to the end of a session."""
    return done("CloseSession")


def info(text: str) -> Any:
    """Return a piece of information about the server."""
    return _response("GetInfo", status=_success(), infoValue=_types().TGetInfoValue(stringValue=text))


def opened(name: bytes, request: Any) -> Any:
    """Return a session."""
    types = _types()
    version = types.TProtocolVersion.SPARK_CLI_SERVICE_PROTOCOL_V7
    identifier = types.THandleIdentifier(guid=name, secret=name)
    return types.TOpenSessionResp(
        status=_success(),
        serverProtocolVersion=version,
        sessionHandle=types.TSessionHandle(sessionId=identifier, serverProtocolVersion=version),
        initialNamespace=request.initialNamespace,
        canUseMultipleCatalogs=True,
        getInfos=[],
    )


def operation_kind(method: str) -> int:
    """Return the kind of operation that a method begins."""
    kinds = {
        "ExecuteStatement": "EXECUTE_STATEMENT",
        "GetCatalogs": "GET_CATALOGS",
        "GetSchemas": "GET_SCHEMAS",
        "GetTables": "GET_TABLES",
        "GetColumns": "GET_COLUMNS",
    }
    return int(getattr(_types().TOperationType, kinds[method]))


def begun(method: str, name: bytes, kind: int, *, status: Any, metadata: Any, rows: Any) -> Any:
    """Return an operation, and the part of its result that exists already."""
    types = _types()
    handle = types.TOperationHandle(
        operationId=types.THandleIdentifier(guid=name, secret=name), operationType=kind, hasResultSet=True
    )
    direct = None
    if status is not None:
        direct = types.TSparkDirectResults(operationStatus=status, resultSetMetadata=metadata, resultSet=rows)
    return _response(method, status=_success(), operationHandle=handle, directResults=direct)


def status(state: str, *, text: str | None = None, sql_state: str | None = None) -> Any:
    """Return the state of an operation: ``running``, ``finished``, ``failed`` or ``canceled``."""
    types = _types()
    states = {
        "running": types.TOperationState.RUNNING_STATE,
        "finished": types.TOperationState.FINISHED_STATE,
        "failed": types.TOperationState.ERROR_STATE,
        "canceled": types.TOperationState.CANCELED_STATE,
    }
    return types.TGetOperationStatusResp(
        status=_success(),
        operationState=states[state],
        sqlState=sql_state,
        errorMessage=text,
        displayMessage=text,
        hasResultSet=state == "finished",
    )


# ---------------------------------------------------------------------------------------------- results

# Per base type: the protocol's type, the column field that carries its values, and what stands for null there.
_KINDS: Mapping[str, tuple[str, str, str, Any]] = {
    "BOOLEAN": ("BOOLEAN_TYPE", "boolVal", "TBoolColumn", False),
    "BYTE": ("TINYINT_TYPE", "byteVal", "TByteColumn", 0),
    "SHORT": ("SMALLINT_TYPE", "i16Val", "TI16Column", 0),
    "INT": ("INT_TYPE", "i32Val", "TI32Column", 0),
    "LONG": ("BIGINT_TYPE", "i64Val", "TI64Column", 0),
    "FLOAT": ("FLOAT_TYPE", "doubleVal", "TDoubleColumn", 0.0),
    "DOUBLE": ("DOUBLE_TYPE", "doubleVal", "TDoubleColumn", 0.0),
    "BINARY": ("BINARY_TYPE", "binaryVal", "TBinaryColumn", b""),
}
_TEXTUAL = {
    "STRING": "STRING_TYPE",
    "DECIMAL": "DECIMAL_TYPE",
    "DATE": "DATE_TYPE",
    "TIMESTAMP": "TIMESTAMP_TYPE",
    "TIMESTAMP_NTZ": "TIMESTAMP_TYPE",
    "ARRAY": "ARRAY_TYPE",
    "MAP": "MAP_TYPE",
    "STRUCT": "STRUCT_TYPE",
    "NULL": "NULL_TYPE",
}


_PLACE = ("TABLE_CAT", "TABLE_SCHEM", "TABLE_NAME")
_OF_TABLES = (
    *_PLACE, "TABLE_TYPE", "REMARKS", "TYPE_CAT", "TYPE_SCHEM", "TYPE_NAME", "SELF_REFERENCING_COL_NAME", "REF_GENERATION"
)  # fmt: skip
_OF_COLUMNS = (
    *_PLACE, "COLUMN_NAME", "DATA_TYPE", "TYPE_NAME", "COLUMN_SIZE", "BUFFER_LENGTH", "DECIMAL_DIGITS", "NUM_PREC_RADIX",
    "NULLABLE", "REMARKS", "COLUMN_DEF", "SQL_DATA_TYPE", "SQL_DATETIME_SUB", "CHAR_OCTET_LENGTH", "ORDINAL_POSITION",
    "IS_NULLABLE", "SCOPE_CATALOG", "SCOPE_SCHEMA", "SCOPE_TABLE", "SOURCE_DATA_TYPE", "IS_AUTO_INCREMENT",
)  # fmt: skip
_NUMBERS = frozenset(
    {"DATA_TYPE", "COLUMN_SIZE", "BUFFER_LENGTH", "DECIMAL_DIGITS", "NUM_PREC_RADIX", "NULLABLE", "SQL_DATA_TYPE"}
    | {"SQL_DATETIME_SUB", "CHAR_OCTET_LENGTH", "ORDINAL_POSITION", "SOURCE_DATA_TYPE"}
)
LISTED: Mapping[str, Mapping[str, str]] = {
    method: {name: "INTEGER" if name in _NUMBERS else "VARCHAR" for name in names}
    for method, names in (
        ("GetCatalogs", ("TABLE_CAT",)),
        ("GetSchemas", ("TABLE_SCHEM", "TABLE_CATALOG")),
        ("GetTables", _OF_TABLES),
        ("GetColumns", _OF_COLUMNS),
    )
}
"""The columns of each listing, as JDBC has them, and their types in DuckDB."""
# The number of java.sql.Types per base type.
_JDBC = {
    "BOOLEAN": 16, "BYTE": -6, "SHORT": 5, "INT": 4, "LONG": -5, "FLOAT": 6, "DOUBLE": 8, "DECIMAL": 3, "STRING": 12,
    "DATE": 91, "TIMESTAMP": 93, "BINARY": -2, "ARRAY": 2003, "STRUCT": 2002, "MAP": 2000,
}  # fmt: skip


def jdbc_type(column: Column) -> int:
    """Return the number of a column's type in JDBC; that of OTHER for a type that JDBC does not know."""
    return _JDBC.get(column.type_name, 1111)


def texts_of(request: Any) -> frozenset[str]:
    """Return the base types that a client wants as text within Arrow."""
    native = request.useArrowNativeTypes
    groups = {
        "timestampAsArrow": ("TIMESTAMP",),
        "decimalAsArrow": ("DECIMAL",),
        "complexTypesAsArrow": ("ARRAY", "MAP", "STRUCT"),
    }
    return frozenset(name for flag, names in groups.items() if not getattr(native, flag, False) for name in names)


def metadata(outcome: Outcome, *, arrow: Container[str] | None) -> Any:
    """Return the columns of a result. ``arrow``: the base types that are text in Arrow; None without Arrow."""
    types = _types()
    formats = types.TSparkRowSetType
    return types.TGetResultSetMetadataResp(
        status=_success(),
        schema=types.TTableSchema(columns=[_described(*each) for each in enumerate(outcome.columns)]),
        resultFormat=formats.COLUMN_BASED_SET if arrow is None else formats.ARROW_BASED_SET,
        lz4Compressed=False,
        arrowSchema=None if arrow is None else arrow_table(outcome, 0, 0, arrow).schema.serialize().to_pybytes(),
        isStagingOperation=False,
    )


def _described(position: int, column: Column) -> Any:
    types = _types()
    kind = _KINDS[column.type_name][0] if column.type_name in _KINDS else _TEXTUAL.get(column.type_name, "STRING_TYPE")
    entry = types.TPrimitiveTypeEntry(type=getattr(types.TTypeId, kind))
    if column.type_name == "DECIMAL":
        body = column_body(position, column)
        qualifiers = {"precision": body["type_precision"], "scale": body["type_scale"]}
        entry.typeQualifiers = types.TTypeQualifiers(
            qualifiers={name: types.TTypeQualifierValue(i32Value=value) for name, value in qualifiers.items()}
        )
    return types.TColumnDesc(
        columnName=column.name,
        typeDesc=types.TTypeDesc(types=[types.TTypeEntry(primitiveEntry=entry)]),
        position=position + 1,
    )


def rows(outcome: Outcome, start: int, end: int, *, arrow: Container[str] | None) -> Any:
    """Return a part of the rows, and whether more follow. ``arrow`` as for ``metadata``."""
    types = _types()
    if arrow is not None:
        batches = [
            types.TSparkArrowBatch(batch=batch.serialize().to_pybytes(), rowCount=batch.num_rows)
            for batch in arrow_table(outcome, start, end, arrow).to_batches()
        ]
        row_set = types.TRowSet(startRowOffset=start, rows=[], arrowBatches=batches)
    else:
        chosen = outcome.values[start:end]
        columns = [_column(each, [row[position] for row in chosen]) for position, each in enumerate(outcome.columns)]
        row_set = types.TRowSet(startRowOffset=start, rows=[], columns=columns, columnCount=len(columns))
    return types.TFetchResultsResp(status=_success(), hasMoreRows=end < len(outcome.values), results=row_set)


def _column(column: Column, values: Sequence[Any]) -> Any:
    """Return the values of a column, and a bit for each that is null."""
    types = _types()
    _, field, kind, nothing = _KINDS.get(column.type_name, ("", "stringVal", "TStringColumn", ""))
    bits = bytearray(-(-len(values) // 8))
    for position, value in enumerate(values):
        if value is None:
            bits[position // 8] |= 1 << position % 8
    if kind == "TStringColumn":
        # Inferred: a moment is written as in SQL here.
        as_text = str if column.type_name == "TIMESTAMP" else functools.partial(text_of, duck=column.duck)
        values = [None if value is None else as_text(value) for value in values]
    sent = [nothing if value is None else value for value in values]
    return types.TColumn(**{field: getattr(types, kind)(values=sent, nulls=bytes(bits))})
