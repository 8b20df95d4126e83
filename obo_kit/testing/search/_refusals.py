"""The refusals of vector search."""

from __future__ import annotations

from obo_kit.testing._refusals import Refusal, declare

__all__: list[str] = []

declare(
    {
        "index_denied": Refusal(
            status=403,
            code="PERMISSION_DENIED",
            text="Insufficient permissions for UC entity {name}",
            decision="missing grant",
            standing="reported",
            source="errors.vs_index_denied",
        ),
        "index_missing": Refusal(
            status=404,
            code="RESOURCE_DOES_NOT_EXIST",
            text="Vector search index {name} does not exist.",
            decision="not found",
            standing="inferred",
            source="errors.vs_index_denied says a missing index is 404; the wording is ours",
        ),
        "index_not_direct": Refusal(
            status=400,
            code="INVALID_PARAMETER_VALUE",
            text="Index {name} is no Direct Vector Access index: it takes no data by this API.",
            decision="bad request",
            standing="inferred",
            source="databricks-sdk says that the index must be of that kind; the wording is ours",
        ),
        "search_columns": Refusal(
            status=400,
            code="INVALID_PARAMETER_VALUE",
            text="Requested columns to fetch are not present in index: {names}",
            decision="bad request",
            standing="reported",
            source="fid:30019228558, fid:59692250467 (the text); the code is inferred",
        ),
        "search_filter_operator": Refusal(
            status=400,
            code="INVALID_PARAMETER_VALUE",
            text="Invalid operator used in filter: {filter}",
            decision="bad request",
            standing="reported",
            source="fid:30019228558, fid:29681677083 (the text); the code is inferred",
        ),
        "search_filter_form": Refusal(
            status=400,
            code="INVALID_PARAMETER_VALUE",
            text="A {endpoint} endpoint takes filters as {form} only",
            decision="bad request",
            standing="inferred",
            source="the filtering guide documents which endpoint takes which form, not what becomes of the other one",
        ),
        "search_endpoint_denied": Refusal(
            status=403,
            code="PERMISSION_DENIED",
            text="User does not have CAN_USE on vector search endpoint {name}",
            decision="missing grant",
            standing="inferred",
            source="kinds.vector_search_endpoint (CAN USE); the wording is ours",
        ),
        "search_endpoint_missing": Refusal(
            status=404,
            code="RESOURCE_DOES_NOT_EXIST",
            text="Vector search endpoint {name} does not exist.",
            decision="not found",
            standing="inferred",
            source="as for an index",
        ),
    }
)
