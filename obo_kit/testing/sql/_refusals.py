"""The refusals of warehouses, of statements, and of what they read and call in Unity Catalog."""

from __future__ import annotations

from obo_kit.testing._refusals import Refusal, declare

__all__ = ["KNOWN_ERRORS", "StatementError"]


class StatementError(Exception):
    """A statement fails.

    Attributes:
        key: Key of ``REFUSALS``.
        detail: What its text is filled with: what is wrong, or the name of what is missing.
        table: The table that it is about, if any.
    """

    def __init__(self, key: str, detail: str, *, table: str | None = None) -> None:
        super().__init__(detail)
        self.key = key
        self.detail = detail
        self.table = table

    @property
    def fields(self) -> dict[str, str]:
        """Return the values for its text."""
        return {"detail": self.detail, "name": self.detail}


# Errors whose detail is DuckDB's or ours, by key: the platform's error class, and its SQLSTATE.
_CLASSES = {
    "sql_aggregation": ("MISSING_AGGREGATION", "42803"),
    "sql_alias_in_window": ("UNSUPPORTED_FEATURE.LATERAL_COLUMN_ALIAS_IN_WINDOW", "0A000"),
    "sql_ambiguous": ("AMBIGUOUS_REFERENCE", "42704"),
    "sql_arguments": ("WRONG_NUM_ARGS", "42605"),
    "sql_cast": ("CAST_INVALID_INPUT", "22018"),
    "sql_cast_overflow": ("CAST_OVERFLOW", "22003"),
    "sql_column": ("UNRESOLVED_COLUMN", "42703"),
    "sql_extract": ("INVALID_EXTRACT_FIELD", "42601"),
    "sql_failed": ("EXECUTION_ERROR", "XXKST"),
    "sql_field": ("FIELD_NOT_FOUND", "42704"),
    "sql_field_base": ("INVALID_EXTRACT_BASE_FIELD_TYPE", "42000"),
    "sql_generators": ("UNSUPPORTED_GENERATOR.MULTI_GENERATOR", "42K0E"),
    "sql_group_index": ("INVALID_PARAMETER_VALUE.REGEX_GROUP_INDEX", "22023"),
    "sql_group_place": ("GROUP_BY_POS_OUT_OF_RANGE", "42805"),
    "sql_inline_types": ("INVALID_INLINE_TABLE.INCOMPATIBLE_TYPES_IN_INLINE_TABLE", "42000"),
    "sql_inline_width": ("INVALID_INLINE_TABLE.NUM_COLUMNS_MISMATCH", "42000"),
    "sql_insert_columns": ("INSERT_COLUMN_ARITY_MISMATCH", "21S01"),
    "sql_moment": ("CANNOT_PARSE_TIMESTAMP", "22007"),
    "sql_limit": ("INVALID_LIMIT_LIKE_EXPRESSION.IS_NEGATIVE", "42K0E"),
    "sql_merge_twice": ("DELTA_MULTIPLE_SOURCE_ROW_MATCHING_TARGET_ROW_IN_MERGE", "21506"),
    "sql_nested": ("NESTED_AGGREGATE_FUNCTION", "42607"),
    "sql_no_group": ("MISSING_GROUP_BY", "42803"),
    "sql_not_null": ("DELTA_NOT_NULL_CONSTRAINT_VIOLATED", "23502"),
    "sql_order_place": ("ORDER_BY_POS_OUT_OF_RANGE", "42805"),
    "sql_overflow": ("ARITHMETIC_OVERFLOW", "22003"),
    "sql_pattern": ("INVALID_PARAMETER_VALUE.PATTERN", "22023"),
    "sql_range": ("NUMERIC_VALUE_OUT_OF_RANGE", "22003"),
    "sql_replace_where": ("DELTA_REPLACE_WHERE_MISMATCH", "44000"),
    "sql_config": ("CONFIG_NOT_AVAILABLE", "42K0I"),
    "sql_date_fields": ("DATETIME_FIELD_OUT_OF_BOUNDS", "22023"),
    "sql_scalar": ("SCALAR_SUBQUERY_TOO_MANY_ROWS", "21000"),
    "sql_scalar_columns": ("INVALID_SUBQUERY_EXPRESSION.SCALAR_SUBQUERY_RETURN_MORE_THAN_ONE_OUTPUT_COLUMN", "42823"),
    "sql_set_columns": ("NUM_COLUMNS_MISMATCH", "42826"),
    "sql_set_types": ("INCOMPATIBLE_COLUMN_TYPE", "42825"),
    "sql_syntax": ("PARSE_SYNTAX_ERROR", "42601"),
    "sql_types": ("DATATYPE_MISMATCH", "42K09"),
    "sql_twice": ("DUPLICATED_CTE_NAMES", "42602"),
    "sql_zone": ("INVALID_TIMEZONE", "22009"),
    "sql_where": ("INVALID_WHERE_CONDITION", "42903"),
    "sql_window_distinct": ("DISTINCT_WINDOW_FUNCTION_UNSUPPORTED", "0A000"),
    "sql_window_missing": ("MISSING_WINDOW_SPECIFICATION", "42P20"),
    "sql_window_order": ("WINDOW_FUNCTION_FRAME_NOT_ORDERED", "42601"),
    "sql_window_place": ("WINDOW_FUNCTION_NOT_ALLOWED_IN_CLAUSE", "42601"),
    "sql_window_without": ("WINDOW_FUNCTION_WITHOUT_OVER_CLAUSE", "42601"),
}
KNOWN_ERRORS = (
    (r"^Catalog Error: .*Function with name \"?(?P<name>.+?)\"? does not exist", "sql_no_function"),
    (r"^Catalog Error: .*Table with name (?P<name>.+?) does not exist", "sql_missing"),
    (r"^Not implemented Error: (?P<detail>Unknown TimeZone .*)", "sql_zone"),
    (r"^Parser Error: (?P<detail>Duplicate CTE name .*)", "sql_twice"),
    (r"^Parser Error: (?P<detail>window .* does not exist)", "sql_window_missing"),
    (r"^Parser Error: (?P<detail>VALUES lists must .*)", "sql_inline_width"),
    (r"^Parser Error: (?P<detail>.*)", "sql_syntax"),
    (r"^Binder Error: (?P<detail>Macro .*does not support the supplied arguments)", "sql_arguments"),
    (r"^Binder Error: (?P<detail>.*must appear in the GROUP BY clause.*)", "sql_aggregation"),
    (r"^Binder Error: (?P<detail>Set operations .*)", "sql_set_columns"),
    (r"^Invalid Input Error: (?P<detail>More than one row returned by a subquery.*)", "sql_scalar"),
    (r"^Invalid Input Error: (?P<detail>Could not parse string .*)", "sql_moment"),
    (r"^Binder Error: (?P<detail>Ambiguous reference .*)", "sql_ambiguous"),
    (r"^Binder Error: (?P<detail>Could not find key .*)", "sql_field"),
    (r"^Binder Error: (?P<detail>ORDER term out of range.*)", "sql_order_place"),
    (r"^Binder Error: (?P<detail>GROUP BY term out of range.*)", "sql_group_place"),
    (r"^Binder Error: (?P<detail>\w+ clause cannot contain window functions.*)", "sql_window_place"),
    (r"^Binder Error: (?P<detail>LIMIT/OFFSET cannot be negative)", "sql_limit"),
    (r"^Binder Error: (?P<detail>QUANTILE can only take .*|UNNEST\(\) can only be applied to .*)", "sql_types"),
    (r"^Binder Error: (?P<detail>Invalid LIST argument .*|Cannot unpivot columns of types .*)", "sql_types"),
    (
        r"^Binder Error: (?P<detail>Cannot extract field .*|UNNEST.*|The initial value type must be .*)",
        "sql_unsupported",
    ),
    (r"^Binder Error: (?P<detail>Subquery returns \d+ columns.*)", "sql_scalar_columns"),
    (r"^Conversion Error: (?P<detail>Date out of range: .*)", "sql_date_fields"),
    (r"^Binder Error: (?P<detail>WHERE clause cannot contain.*)", "sql_where"),
    (r"^Binder Error: (?P<detail>aggregate function calls cannot be nested.*)", "sql_nested"),
    (r"^Binder Error: (?P<detail>table .* has \d+ columns but \d+ values were supplied.*)", "sql_insert_columns"),
    (r"^Binder Error: (?P<detail>.*column.*)", "sql_column"),
    (r"^Out of Range Error: (?P<detail>Overflow in .*)", "sql_overflow"),
    (r"^Conversion Error: (?P<detail>Type \w+ with value .* out of range.*)", "sql_cast_overflow"),
    (r"^Conversion Error: (?P<detail>.* to type DECIMAL.* out of range.*)", "sql_range"),
    (
        r"^Conversion Error: (?P<detail>Could not (?:cast value|convert string) \"?[+-]?[\d.]+\"? to DECIMAL.*)",
        "sql_range",
    ),
    (r"^Conversion Error: (?P<detail>.*)", "sql_cast"),
    (r"^Invalid Input Error: (?P<detail>Pattern has \d+ groups.*)", "sql_group_index"),
    (
        r"^Invalid Input Error: (?P<detail>(?:missing|unexpected|no argument for|bad repetition|invalid char).*)",
        "sql_pattern",
    ),
    (r"^Invalid Input Error: (?P<detail>invalid (?:perl operator|escape sequence).*)", "sql_unsupported"),
    (r"^Invalid Input Error: (?P<detail>Argument for ntile .*)", "sql_types"),
    (r"^Constraint Error: (?P<detail>NOT NULL constraint .*)", "sql_not_null"),
    (r"^\w+ Error: (?P<detail>Cannot (?:compare|concatenate|mix|combine) .*)", "sql_types"),
    (r"^Binder Error: (?P<detail>No function matches.*|Could not choose.*|Cannot deduce .*)", "sql_types"),
    (r"^Binder Error: (?P<detail>Referenced table .*)", "sql_column"),
)
"""Patterns of DuckDB's errors, and the refusal of each."""


def _error(text: str, *, decision: str = "bad request", source: str = "Spark error class", state: str = "") -> Refusal:
    """Return a statement's failure; its SQLSTATE is at the end of the text, else given."""
    return Refusal(
        status=200,
        code="BAD_REQUEST",
        text=text,
        decision=decision,
        standing="inferred",
        source=source,
        sql_state=state or text[-5:],
    )


declare(
    {
        key: _error(
            f"[{name}] {{detail}} SQLSTATE: {state}", source="Spark error class; the detail is DuckDB's or ours"
        )
        for key, (name, state) in _CLASSES.items()
    }
)
declare(
    {
        "warehouse_denied": Refusal(
            status=403,
            code="PERMISSION_DENIED",
            text="PERMISSION_DENIED: {user_id} is not authorized to use or monitor this SQL Endpoint",
            decision="missing grant",
            standing="reported",
            source="errors.warehouse_denied",
        ),
        "warehouse_missing": Refusal(
            status=404,
            code="RESOURCE_DOES_NOT_EXIST",
            text="SQL warehouse {name} does not exist.",
            decision="not found",
            standing="inferred",
            source="RESOURCE_DOES_NOT_EXIST elsewhere; the wording is ours",
        ),
        "statement_missing": Refusal(
            status=404,
            code="NOT_FOUND",
            text="The statement {name} was not found.",
            decision="not found",
            standing="inferred",
            source="statements belong to whoever ran them; the wording is ours",
        ),
        "session_missing": Refusal(
            status=404,
            code="NOT_FOUND",
            text="The session {name} was not found.",
            decision="not found",
            standing="inferred",
            source="sessions belong to whoever opened them; the wording is ours",
        ),
        "link_denied": Refusal(
            status=403,
            code="AuthenticationFailed",
            text="The link is not valid, has expired, or was sent with an Authorization header.",
            decision="invalid token",
            standing="inferred",
            source="databricks-sdk on EXTERNAL_LINKS (short-lived, no Authorization header); storage differs by cloud",
        ),
        "uc_lacks": Refusal(
            status=403,
            code="PERMISSION_DENIED",
            text="User does not have {detail}.",
            decision="missing grant",
            standing="reported",
            source="errors.uc_privilege_missing",
        ),
        "uc_no_principal": Refusal(
            status=404,
            code="PRINCIPAL_DOES_NOT_EXIST",
            text="Could not find principal with name {name}",
            decision="not found",
            standing="reported",
            source="terraform-provider-databricks#1773, #5045; the code is inferred",
        ),
        "uc_missing": Refusal(
            status=404,
            code="RESOURCE_DOES_NOT_EXIST",
            text="{kind} '{name}' does not exist.",
            decision="not found",
            standing="inferred",
            source="errors.uc_hidden has a code per kind; the one for all of them is ours",
        ),
        "table_missing": Refusal(
            status=404,
            code="TABLE_DOES_NOT_EXIST",
            text="Table '{name}' does not exist.",
            decision="not found",
            standing="reported",
            source="errors.uc_hidden",
        ),
        "function_missing": Refusal(
            status=404,
            code="ROUTINE_DOES_NOT_EXIST",
            text="Routine '{name}' does not exist.",
            decision="not found",
            standing="inferred",
            source="errors.uc_hidden, which names tables; the code for a function is ours",
        ),
        # Statement failures: HTTP 200, status.state FAILED, error_code always BAD_REQUEST.
        "sql_lacks": Refusal(
            status=200,
            code="BAD_REQUEST",
            text="[INSUFFICIENT_PERMISSIONS] Insufficient privileges:\nUser does not have {detail}. SQLSTATE: 42501",
            decision="missing grant",
            standing="reported",
            source="errors.sql_engine_denied; the line break: apps-cookbook#18; for privileges other than "
            "SELECT inferred from errors.uc_privilege_missing",
            sql_state="42501",
        ),
        "sql_missing": Refusal(
            status=200,
            code="BAD_REQUEST",
            text="[TABLE_OR_VIEW_NOT_FOUND] The table or view {name} cannot be found. Verify the spelling and correctness of "
            "the schema and catalog.\nIf you did not qualify the name with a schema, verify the current_schema() output, or "
            "qualify the name with the correct schema and catalog.\nTo tolerate the error on drop use DROP VIEW IF EXISTS or "
            "DROP TABLE IF EXISTS. SQLSTATE: 42P01",
            decision="not found",
            standing="reported",
            source="errors.sql_hidden_or_absent; the rest of the text: lakeflow_framework#29",
            sql_state="42P01",
        ),
        "sql_no_connection": _error(
            "[CONNECTION_NOT_FOUND] The connection {name} cannot be found. SQLSTATE: 42704",
            decision="not found",
            source="as other objects of Unity Catalog that a statement names",
        ),
        "sql_login": _error(
            "{detail}",
            decision="login required",
            source="the words of errors.connection_login_required, as a statement's error",
            state="28000",
        ),
        "sql_no_schema": _error(
            "[SCHEMA_NOT_FOUND] The schema {name} cannot be found. SQLSTATE: 42704",
            decision="not found",
        ),
        "sql_exists": _error(
            "[TABLE_OR_VIEW_ALREADY_EXISTS] Cannot create table or view {name} because it already exists. SQLSTATE: 42P07",
        ),
        "sql_raised": _error(
            "{detail}",
            source="Spark error class, said by a macro in functions.sql",
            state="22000",
        ),
        "sql_no_function": _error(
            "[UNRESOLVED_ROUTINE] Cannot resolve routine {name}. SQLSTATE: 42883",
            decision="not found",
        ),
        "sql_unit": _error(
            "[INVALID_PARAMETER_VALUE.DATETIME_UNIT] The value of parameter(s) `unit` is invalid: expects one of the units "
            "without quotes YEAR, QUARTER, MONTH, WEEK, DAY, DAYOFYEAR, HOUR, MINUTE, SECOND, MILLISECOND, MICROSECOND, "
            "but got {detail}. SQLSTATE: 22023",
        ),
        "sql_no_table_function": _error(
            "[UNRESOLVABLE_TABLE_VALUED_FUNCTION] Could not resolve {detail} to a table-valued function. SQLSTATE: 42883",
            decision="not found",
        ),
        "sql_no_principal": _error(
            "[PRINCIPAL_DOES_NOT_EXIST] Could not find principal with name {name} SQLSTATE: 42704",
            decision="not found",
            source="the wording of the permissions API",
        ),
        "sql_no_catalog": _error(
            "[CATALOG_NOT_FOUND] The catalog {name} cannot be found. SQLSTATE: 42P08",
            decision="not found",
            source="the platform's error classes; the wording is ours",
        ),
        "sql_no_volume": _error(
            "[UC_VOLUME_NOT_FOUND] Volume {name} does not exist. SQLSTATE: 42704",
            decision="not found",
            source="the platform's error classes; the wording is ours",
        ),
        "sql_inline_limit": _error(
            "Inline byte limit exceeded. Statements executed with disposition=INLINE can have a result size of at most "
            "{limit} bytes. Please execute the statement with disposition=EXTERNAL_LINKS if you want to download the full "
            "result.",
            source="the documentation of the API: such a statement is aborted, and no result set is available",
        ),
        "sql_parameter": _error(
            "[UNBOUND_SQL_PARAMETER] Found the unbound parameter: {name}. SQLSTATE: 42P02",
        ),
        "sql_unsupported": _error(
            "[UNSUPPORTED_FEATURE] The local workspace does not run this statement: {detail} SQLSTATE: 0A000",
            source="a limit of the stand-in, not of the platform",
        ),
    }
)
