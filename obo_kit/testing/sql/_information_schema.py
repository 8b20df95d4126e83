"""The tables of ``information_schema`` and their columns, as the platform documents them.

Source: docs.databricks.com/sql/language-manual/information-schema. A column is a STRING unless its type follows its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlglot import exp

__all__ = ["TABLES", "relation"]

_MADE = "comment created:TIMESTAMP created_by last_altered:TIMESTAMP last_altered_by"
_TABLE = "table_catalog table_schema table_name"
_PRIVILEGE = "privilege_type is_grantable inherited_from"
_DATA = (
    "data_type full_data_type character_maximum_length:INT character_octet_length numeric_precision:INT "
    "numeric_precision_radix:INT numeric_scale:INT datetime_precision:INT interval_type interval_precision:INT "
    "maximum_cardinality:INT"
)
_CONSTRAINT = "constraint_catalog constraint_schema constraint_name"
_TAG = "tag_name tag_value"

TABLES: dict[str, str] = {
    "catalog_privileges": f"grantor grantee catalog_name {_PRIVILEGE}",
    "catalog_tags": f"catalog_name {_TAG}",
    "catalogs": f"catalog_name catalog_owner {_MADE}",
    "check_constraints": f"{_CONSTRAINT} check_clause sql_path",
    "column_masks": f"{_TABLE} column_name mask_catalog mask_schema mask_name mask_column_usage",
    "column_tags": f"catalog_name schema_name table_name column_name {_TAG}",
    "columns": (
        f"{_TABLE} column_name ordinal_position:INT column_default is_nullable {_DATA} is_identity identity_generation "
        "identity_start identity_increment identity_maximum identity_minimum identity_cycle is_generated "
        "generation_expression is_system_time_period_start is_system_time_period_end "
        "system_time_period_timestamp_generation is_updatable partition_ordinal_position:INT comment"
    ),
    "constraint_column_usage": f"{_TABLE} column_name {_CONSTRAINT}",
    "constraint_table_usage": f"{_TABLE} {_CONSTRAINT}",
    "information_schema_catalog_name": "catalog_name",
    "key_column_usage": f"{_CONSTRAINT} {_TABLE} column_name ordinal_position:INT position_in_unique_constraint:INT",
    "parameters": (
        "specific_catalog specific_schema specific_name ordinal_position:INT parameter_mode is_result as_locator "
        f"parameter_name {_DATA} parameter_default comment"
    ),
    "referential_constraints": (
        f"{_CONSTRAINT} unique_constraint_catalog unique_constraint_schema unique_constraint_name match_option update_rule "
        "delete_rule"
    ),
    "routine_privileges": (
        "grantor grantee specific_catalog specific_schema specific_name routine_catalog routine_schema routine_name "
        f"{_PRIVILEGE}"
    ),
    "routines": (
        "specific_catalog specific_schema specific_name routine_catalog routine_schema routine_name routine_owner "
        f"routine_type {_DATA} routine_body routine_definition external_name external_language parameter_style "
        "is_deterministic sql_data_access is_null_call sql_path security_type as_locator comment created:TIMESTAMP "
        "created_by last_altered:TIMESTAMP last_altered_by"
    ),
    "row_filters": f"{_TABLE} filter_catalog filter_schema filter_name filter_column_usage",
    "schema_privileges": f"grantor grantee catalog_name schema_name {_PRIVILEGE}",
    "schema_tags": f"catalog_name schema_name {_TAG}",
    "schemata": f"catalog_name schema_name schema_owner {_MADE}",
    "table_constraints": f"{_CONSTRAINT} {_TABLE} constraint_type is_deferrable initially_deferred enforced comment",
    "table_privileges": f"grantor grantee {_TABLE} {_PRIVILEGE}",
    "table_tags": f"catalog_name schema_name table_name {_TAG}",
    "tables": (
        f"{_TABLE} table_type is_insertable_into commit_action table_owner {_MADE} data_source_format storage_path "
        "storage_sub_directory"
    ),
    "views": f"{_TABLE} view_definition check_option is_updatable is_insertable_into sql_path is_materialized",
    "volume_privileges": f"grantor grantee volume_catalog volume_schema volume_name {_PRIVILEGE}",
    "volumes": (
        "volume_catalog volume_schema volume_name volume_type volume_owner comment created:TIMESTAMP created_by "
        "last_altered:TIMESTAMP last_altered_by storage_location"
    ),
}


def relation(table: str, rows: Iterable[Mapping[str, str | None]]) -> exp.Expr:
    """Return a query for rows of a table. A column that a row does not name is null."""
    columns = [column.partition(":")[::2] for column in TABLES[table].split()]
    tuples = [exp.Tuple(expressions=[_cell(row.get(name), kind) for name, kind in columns]) for row in rows]
    names = [exp.to_identifier(name, quoted=True) for name, _ in columns]
    empty = exp.Tuple(expressions=[_cell(None, kind) for _, kind in columns])
    source = exp.Values(
        expressions=tuples or [empty], alias=exp.TableAlias(this=exp.to_identifier("rows", quoted=True), columns=names)
    )
    query = exp.Select(expressions=[exp.Column(this=each.copy()) for each in names]).from_(source)
    return query if tuples else query.where(exp.false())


def _cell(value: str | None, kind: str) -> exp.Expr:
    literal = exp.null() if value is None else exp.Literal.string(value)
    return exp.Cast(this=literal, to=exp.DataType.build(kind or "TEXT"))
