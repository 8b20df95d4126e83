"""The words of services behind the platform: what refuses its own account there is no refusal of the user.

An endpoint of an external model passes on what the model's provider says, and a connection what its service says.
"""

from __future__ import annotations

from obo_kit._upstream.wordings import Text
from obo_kit._upstream.wordings import text as _text
from obo_kit.exceptions import DenialReason

__all__: list[str] = []

CONNECTIONS = "/api/2.0/external-function"
"""The address under which a connection passes on a service's answers, refusals included."""
MODELS = ("/serving-endpoints/", "/ai-gateway/")
"""The addresses under which an endpoint passes on a provider's answers."""
_PROVIDER = (
    "Ask the owner of the serving endpoint to look at the credentials with which it calls the model's provider. "
    "A grant to the user does not help."
)
_GIT = (
    "The user links an account of the Git provider in the workspace's user settings, or renews its token there. "
    "A grant does not help."
)

FOREIGN_TEXTS: tuple[Text, ...] = (
    _text(
        "provider_key",
        DenialReason.POLICY,
        ("api key", "api-key", "api token", "api_key", "subscription key"),
        r"\b(?:incorrect|invalid|missing|expired|wrong|disabled|revoked)\b.{0,20}? "
        r"(?:x-)?(?:api[- _](?:key|token)|subscription key)\b"
        r"|\bapi[- ]key (?:is |was |has |has been |you )?(?:not |invalid|expired|disabled|revoked|missing|required|provided)",
        (401, 403),
        "Incorrect API key provided: sk-***.",
        "documented: the providers' lists of errors",
        remedy=_PROVIDER,
    ),
    _text(
        "provider_account",
        DenialReason.POLICY,
        (
            "not authorized to perform",
            "denied on resource",
            "security token included",
            "data action",
            "virtual network",
            "access to the model",
        ),
        r"\bnot authorized to perform:? (?!s3|kms|sts|glue)[\w\-]{1,30}:|"
        r"\bPermission '?[a-z]{2,30}\.[\w.]{2,80}'? denied on resource\b|"
        r"\bsecurity token included in the request is (?:invalid|expired)|"
        r"\blacks the required data action\b|\bAccess denied due to Virtual Network|"
        r"\b(?:do not|don't) have access to the model with the specified\b",
        (401, 403),
        "User: arn:aws:sts::0:assumed-role/x is not authorized to perform: bedrock:InvokeModel on resource: arn:aws:bedrock:x",
        "reported: fid:70938467527, fid:68746555960; documented: the providers' lists of errors",
        remedy=_PROVIDER,
    ),
    _text(
        "git_account",
        DenialReason.LOGIN_REQUIRED,
        ("git provider", "git credential", "azure active directory credentials"),
        r"\b(?:missing|invalid|expired|no) git (?:provider )?(?:personal access token )?credentials?\b|"
        r"\bgit (?:provider )?credentials? (?:is |are )?(?:missing|invalid|expired|not (?:found|configured|valid))|"
        r"\bAzure Active Directory credentials (?:are )?(?:missing|invalid|expired)|"
        r"\berror with your Azure Active Directory credentials",
        (400, 401, 403),
        "Missing Git provider credentials. Go to User settings > Git Integration to add your personal access token.",
        "reported: databricks-vscode#508, databricks-cli#404, cli#1551, cli#1450",
        remedy=_GIT,
    ),
)
