"""The refusals of model serving."""

from __future__ import annotations

from obo_kit.testing._refusals import Refusal, declare

__all__: list[str] = []

declare(
    {
        "serving_denied": Refusal(
            status=403,
            code="PERMISSION_DENIED",
            text="User does not have permission 'View' on Endpoint {name}",
            decision="missing grant",
            standing="reported",
            source="fid:66975382202, and three more reports",
            details=("RequestInfo",),
        ),
        "serving_missing": Refusal(
            status=404,
            code="RESOURCE_DOES_NOT_EXIST",
            text="Endpoint with name '{name}' does not exist.",
            decision="not found",
            standing="reported",
            source="fid:66975382202, dbdemos#220",
            details=("RequestInfo",),
        ),
        # Misleading, and reported of one route: the words that elsewhere mean an expired token.
        "missing_gateway_scope": Refusal(
            status=403,
            code=403,
            text="Invalid Token",
            decision="missing scope",
            standing="reported",
            source="errors.missing_scope_as_invalid_token",
        ),
        "model_error": Refusal(
            status=400,
            code="BAD_REQUEST",
            text="The model raised {error}: {detail}",
            decision="model error",
            standing="inferred",
            source="BAD_REQUEST in databricks-sdk errors; the wording avoids what makes databricks-sdk repeat a request",
        ),
        "deploy_bad_scope": Refusal(
            status=400,
            code="INVALID_PARAMETER_VALUE",
            text="Invalid user API scope(s) specified for model: {model}. Invalid scopes: {invalid}. "
            "Allowed scopes are: {allowed}",
            decision="bad request",
            standing="reported",
            source="errors.serving_deploy_bad_scope",
        ),
    }
)
