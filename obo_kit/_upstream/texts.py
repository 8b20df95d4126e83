"""The texts that tell refusals apart. All matching on message texts is here.

Each pattern is beside its source and the sample that it was written for. Texts are made plain and cut before they are matched.
Letter case and line breaks do not count, and every group is capped, so that matching is linear in the text.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from obo_kit._upstream.foreign_texts import FOREIGN_TEXTS
from obo_kit._upstream.wordings import Text, matchable
from obo_kit._upstream.wordings import text as _text
from obo_kit.exceptions import DenialReason

__all__ = [
    "NETWORK_REMEDY",
    "TEXTS",
    "Text",
    "is_login",
    "is_private_link",
    "matchable",
]

_R = DenialReason
_SCOPE = r"[a-z][\w.:\-]{0,80}"
_SCOPES = rf": {{0,2}}['\"\[]?(?P<scopes>{_SCOPE}(?:(?:, ?| and ){_SCOPE}){{0,9}})"
_NAME = r"(?:'(?P<name>[^']{1,256})'|\"(?P<name_2>[^\"]{1,256})\"|(?P<name_3>[^\s'\",;]{1,256}?)(?=[.,;:]?(?:\s|\Z)))"
_NOUNS = "serving|SQL|vector|search|external|storage|Genie|model|registered|MCP|Unity|Catalog"
_WHAT = rf"(?P<what>(?:(?:{_NOUNS}) ){{0,2}}[A-Za-z_]{{1,40}})"
# The missing or absent object in an answer, before its name or without one.
_NOUN = (
    "catalog|schema|database|table|view|volume|function|routine|model|connection|endpoint|serving endpoint|index|warehouse|"
    "SQL warehouse|metastore|external location|storage credential|share|any file"
)
_LISTED = "alert|app|cluster|dashboard|directory|endpoint|experiment|folder|job|notebook|pipeline|query|warehouse"
_REFUSED = (400, 401, 403)
_VALUE = (200, 400, 403)  # SQL, Genie and MCP servers also report it with these

_ALLOW_ADDRESS = (
    "Ask a workspace admin to allow the address in the workspace's IP access list, "
    "or run the agent where it is allowed."
)
_SAME_WORKSPACE = (
    "Use the host and the token of one workspace, and ask an admin to add the user to it. "
    "A grant on a resource does not help."
)
NETWORK_REMEDY = "Ask a workspace admin to let the agent's network reach the workspace. A grant does not help."
_ENTITLEMENT = "Ask a workspace admin to give the user the entitlement {name}. A grant on a resource does not help."
_ADMINS = "Only an admin may: ask one to do it, or leave the call out. A grant on a resource does not help."
_FEATURE = "Ask a workspace admin to enable the feature, or do without it. A grant does not help."
_STORAGE = (
    "Ask a metastore admin, or the owner of the external location, to look at its storage credential. "
    "A grant to the user does not help."
)
_EXTERNAL = "Ask a metastore admin about external data access, or read the data through a SQL warehouse."
_RATE_OF_ZERO = "Ask a workspace admin: the endpoint's rate limit is set to 0. A grant does not help."
_BINDING = "Ask the catalog's owner to bind the catalog to this workspace. A grant does not help."

# The first match decides, so the order resolves overlaps. The samples are the wordings that the facts report or document. No
# answer of a live workspace was recorded here. A status of 200 is a refusal that came as a value.
TEXTS: tuple[Text, ...] = (
    # --- first, because it is the commonest, and no other text contains its words
    _text(
        "missing_scope_json",
        _R.MISSING_SCOPE,
        "required scope",
        r"(?:(?:do(?:es)? not have|lacks?|(?:is )?missing|without)(?: the)? required scopes?\b|\brequired scopes?(?=:))"
        rf"(?:{_SCOPES})?",
        (200, *_REFUSED),
        "Provided OAuth token does not have required scopes: model-serving, model-serving-inference [ReqId: 0]",
        "reported: G-APPKIT-265, G-ONTOS-288, solana-mcp-official#116, fid:69389892685",
    ),
    _text(
        "connection_login",
        _R.LOGIN_REQUIRED,
        "credential for user identity",
        r"Credential for user identity.{0,200}? is not found for the connection"
        r"(?: '(?P<name>[^']{1,256})')?(?:.{0,200}?by visiting (?P<url>https?://\S{1,1000}))?",
        (200, 400, 401, 403),
        "Credential for user identity('1') is not found for the connection 'gh'. Please login first to the connection "
        "by visiting https://host.example/explore/connections/gh",
        "reported: fid:68349805652, fid:53465521175, fid:54604606889",
        kind="uc_connection",
    ),
    *FOREIGN_TEXTS,
    _text(
        "gateway_enforced",
        None,
        "please use unity gateway",
        r"is disabled for this workspace\. Please use Unity Gateway",
        (403,),
        "x is disabled for this workspace. Please use Unity Gateway.",
        "documented: G-SKILLS-NEW",
    ),
    # --- policy, network, entitlement: every caller is refused
    _text(
        "ip_access_list",
        _R.POLICY,
        ("ip acl", "ip access list", "ip allow list", "source ip", "ip address", "ip restriction"),
        r"\bblocked by .{0,40}?IP (?:ACL|access list)|\bIP (?:access|allow) list|"
        r"\bIP address .{0,60}?not .{0,20}?allow(?:ed| ?list)|\bIP restrictions?\b|"
        r"\bSource IP (?:address )?.{0,60}?(?:blocked|denied|not allowed)",
        (200, *_REFUSED),
        "Source IP address: 203.0.113.7 is blocked by Databricks IP ACL for workspace: 1",
        "reported: omnigent#4463",
        remedy=_ALLOW_ADDRESS,
    ),
    _text(
        "other_workspace",
        _R.POLICY,
        (" access to org", " access to workspace", "not a member of "),
        r"\b(?:Invalid|Unauthorized) access to (?:Org|workspace)\b|\bis not a member of (?:this |the )?workspace\b",
        (200, *_REFUSED),
        "Invalid access to Org: 1",
        "reported: sdk-go#928, terraform-provider-databricks#4662",
        remedy=_SAME_WORKSPACE,
    ),
    _text(
        "network",
        _R.POLICY,
        (
            "privatelink",
            "private link",
            "private endpoint",
            "private service connect",
            "network",
            "public access",
            "ingress",
        ),
        r"\bprivate ?link\b|\bPrivate Service Connect\b|\bprivate endpoint\b|\bnot accessible from the current network|"
        r"\bPublic (?:network |internet )?access (?:is|to) .{0,40}?(?:not allowed|disabled|denied)|"
        r"\b(?:network|ingress|egress) (?:access )?(?:policy|policies|rules?|restrictions?)\b|\bunauthorized network\b|"
        r"\bfrom (?:this|the current|your) network\b",
        (200, *_REFUSED),
        "Unauthorized network access to workspace: 1",
        "reported: fid:71063110792, fid:71447398498, fid:66486333766, fid:52774082995; documented: databricks-sdk-py, "
        "errors/private_link.py; the policies' wordings are inferred",
        remedy=NETWORK_REMEDY,
    ),
    _text(
        "entitlement",
        _R.POLICY,
        "entitle",
        r"(?:without|lacks?|(?:does|do) not have|missing|needs?|requires?) (?:the |an? )?"
        r"(?P<name>[\w\- ,'\"]{0,120}?) ?entitlements?\b|"
        r"\bnot entitled\b|\bentitlements? .{0,60}?(?:required|missing|not granted)",
        _REFUSED,
        "This API is disabled for users without the databricks-sql-access or workspace-access entitlements.",
        "reported: sdk-go#1038",
        remedy=_ENTITLEMENT,
    ),
    _text(
        "admins_only",
        _R.ACCESS_DENIED,
        "admin",
        r"\bwithout (?:account |workspace |metastore )?admin status|"
        r"\breserved (?:to|for) (?:account |workspace |metastore )?admin|"
        r"\bonly (?:an? |the )?(?:account |workspace |metastore )?admin(?:s|istrators?)? (?:can|may|is|are)\b|"
        r"\bis not an? (?:account|workspace|metastore) admin|/org_admin_conf/",
        _VALUE,
        "This API is disabled for users without account admin status",
        "reported: fid:58847651005, fid:3674126143, fid:58127847979, overwatch#1113, databricks-vscode#1836",
        remedy=_ADMINS,
    ),
    _text(
        "rate_limit_of_zero",
        _R.POLICY,
        "rate limit",
        r"\brate limit of 0\b|\brate limit (?:is )?set to 0\b",
        (403,),
        "The endpoint is temporarily disabled due to a Databricks-set rate limit of 0.",
        "reported: model serving's answer to pay-per-token endpoints that an account may not use",
        remedy=_RATE_OF_ZERO,
    ),
    _text(
        "too_many",
        None,
        ("rate limit", "quota", "too many requests", "resource_exhausted"),
        r"\brate limit|\bquota\b.{0,60}?exceed|exceed.{0,60}?\bquota\b|\btoo many requests\b|\bRESOURCE_EXHAUSTED\b",
        (200, 400, 403),
        "Too many requests. Please wait a moment and try again.",
        "reported: WeatherGenerator#1482",
    ),
    _text(
        "guardrail",
        None,
        "guardrail",
        r"\bguardrails?\b",
        (200, 400, 403),
        "The request was blocked by an input guardrail.",
        "documented: the guardrails of AI Gateway, which look at what is asked and not at who asks; the wording is inferred",
    ),
    _text(
        "external_access",
        _R.POLICY,
        ("outside of databricks", "external data access", "external access"),
        r"\bfrom outside of Databricks\b|\bexternal (?:data )?access\b.{0,80}?(?:denied|disabled|not enabled|not allowed)",
        (200, *_REFUSED),
        "Request to generate access credential for table 't' from outside of Databricks Unity Catalog enabled compute "
        "environment is denied for security.",
        "reported: unitycatalog#2",
        remedy=_EXTERNAL,
    ),
    _text(
        "read_only_location",
        _R.POLICY,
        "read-only",
        r"\bcannot write to a read-only (?:external location|volume|catalog|storage)",
        _VALUE,
        "User cannot write to a read-only external location landing",
        "reported: fid:66925308125",
        remedy=_STORAGE,
    ),
    _text(
        "feature_off",
        _R.POLICY,
        ("disabled", "not enabled", "not available", "not supported"),
        r"\b(?:feature|API|endpoint|service|access|functionality|model|serverless|compute|Genie|AI/BI|MCP|gateway|apps?|DBFS)\b"
        r".{0,120}?"
        r"\b(?:disabled|not (?:been )?(?:enabled|available|supported)|not either supported|either not supported)\b|"
        r"\b(?:disabled|not enabled|not available|not supported) (?:for|in|by|on) (?:this|the|your|an?) "
        r"(?:workspace|account|metastore|region|tier|admin)",
        (401, 403),
        "This feature is either not supported or it has been disabled explicitly for ai_query.",
        "reported: dbdemos#241",
        remedy=_FEATURE,
    ),
    # --- scopes
    _text(
        "missing_scope_plain",
        _R.MISSING_SCOPE,
        ("invalid scope", "insufficient_scope", "insufficient scope", "invalidscope", "missing scope", "missing_scope"),
        r"\binvalid scope(?!s| name)|\binsufficient[_ ]scope|\bOIDCTokenAuthenticatorInvalidScope\b|"
        rf"\bmissing[_ ](?:the )?scopes?(?:{_SCOPES})?",
        (401, 403),
        "Invalid scope",
        "reported: mobility-attrition, ai-bridge#264; documented: comments of databricks-ai-search",
    ),
    _text(
        "missing_scope_as_invalid_token",
        _R.MISSING_SCOPE,
        "invalid token",
        r"Invalid Token",
        (403,),
        "Invalid Token",
        "reported: fid:59262808423",
        path="/serving-endpoints/responses",
    ),
    _text(
        "oauth_token_endpoint_scope",
        _R.MISSING_SCOPE,
        "not assigned to the client",
        r"Scopes? '?(?P<scopes>[^'\s]{1,200}(?:, ?[^'\s]{1,80}){0,9})'? (?:is|are) not assigned to the client",
        _REFUSED,
        "Scopes 'sql' are not assigned to the client 00000000",
        "reported: G-SQLGO-476",
    ),
    # --- the token
    _text(
        "credential_missing",
        _R.TOKEN_EXPIRED,
        "credential was not sent",
        r"Credential was not sent or was of an unsupported type",
        (401, 403),
        "Credential was not sent or was of an unsupported type for this API. [ReqId: 0]",
        "reported: fid:57907425948, sdk-go#1158",
    ),
    _text(
        "invalid_token",
        _R.TOKEN_EXPIRED,
        "token",
        r"\bInvalid (?:access |OAuth )?token\b|\btoken is expiring within \d{1,6} seconds|"
        r"\btoken (?:has |is |was )?(?:been )?(?:expired|revoked)\b|\bexpired (?:access |OAuth )?token\b|\binvalid_token\b|"
        r"\btoken (?:is|was) (?:not valid|invalid)\b",
        (401, 403),
        "Invalid access token. [ReqId: 00000000-0000-0000-0000-000000000000]",
        "reported: fid:70164141621, G-SDKGO-873, G-CLI-4768, G-VSC-583, sdk-go#1317",
    ),
    _text(
        "invalid_token_as_bad_request",
        _R.TOKEN_EXPIRED,
        "invalid",
        r"(?:\A|< )Invalid (?:access )?token\b(?! \w)",
        (400,),
        "Invalid Token",
        "reported: sdk-go#1709",
    ),
    _text(
        "jwt_expired",
        _R.TOKEN_EXPIRED,
        "jwt",
        r"\bExpiredJwtException\b|\bJWT (?:has |is )?expired\b",
        _REFUSED,
        "io.jsonwebtoken.ExpiredJwtException: JWT expired at 2026-01-01T00:00:00Z.",
        "reported: splunk-integration#55",
    ),
    # --- grants
    _text(
        "serving_permission",
        _R.ACCESS_DENIED,
        "does not have permission",
        rf"does not have permission '?(?P<level>[A-Za-z_ ]{{1,40}}?)'? on (?P<what>(?:serving )?endpoint) {_NAME}",
        _VALUE,
        "User does not have permission 'View' on Endpoint gte-large-en",
        "reported: fid:66975382202",
        kind="serving_endpoint",
        privilege="CAN QUERY",
    ),
    _text(
        "uc_privilege_missing",
        _R.ACCESS_DENIED,
        ("not have ", "lack", "missing "),
        r"\b(?:do(?:es)? not have|lacks?|missing) (?:the )?(?:privileges?:? |permissions?:? )?'?"
        r"(?P<privilege>(?-i:ALL PRIVILEGES|[A-Z][A-Z_ ]{1,40}?(?:(?:, ?| and |, and )[A-Z][A-Z_ ]{1,40}?){0,5}))'?"
        r"(?: privileges?| permissions?)? on (?!any file)"
        rf"{_WHAT}(?: or [A-Za-z]{{1,20}})?:? {_NAME}",
        _VALUE,
        "User does not have USE CATALOG on Catalog 'x'.",
        "reported: fid:59223030272, fid:68862795987, fid:70164141621, fid:48348139623, fid:65843860266, fid:52505147808",
    ),
    _text(
        "uc_privilege_missing_somewhere",
        _R.ACCESS_DENIED,
        "not have ",
        r"\bdo(?:es)? not have (?:the )?(?:privileges? |permissions? )?'?"
        r"(?P<privilege>(?-i:[A-Z][A-Z_ ]{1,40}?(?:, ?[A-Z][A-Z_ ]{1,40}?){0,5}))'?"
        rf"(?:(?: privileges?| permissions?)? on (?P<what>{_NOUN})\b| (?:privileges?|permissions?)\b)",
        _VALUE,
        "Principal does not have USE CONNECTION privilege.",
        "reported: fid:54226642843, fid:53144985989, fid:52878447966, fid:53924841590",
    ),
    _text(
        "access_list",
        _R.ACCESS_DENIED,
        ("permissions on ", 'you need "can', "you need 'can"),
        r"\bdoes not have (?:(?:Admin|Owner|Manage|Manage Run|Edit|Run) or ){0,5}"
        r"(?P<level>Manage|Manage Run|View|Read|Run|Edit|Query|Use|Restart) permissions? on "
        rf"(?:(?P<what>{_LISTED}) )?(?:with ID:? )?(?:ElasticJobId\((?P<name_4>\w{{1,64}})\)|{_NAME})|"
        r"\bYou need ['\"]Can (?P<level_2>[A-Z][a-z]{1,20}(?: Run)?)['\"] permission",
        _VALUE,
        "alice does not have Manage permissions on Job with ID: ElasticJobId(7).",
        "reported: fid:57367877068, fid:70417665475, fid:10654392046, fid:26974639019",
    ),
    _text(
        "genie_no_access",
        _R.ACCESS_DENIED,
        "no access to",
        rf"No access to {_NAME}.{{0,200}}?must have (?P<privilege>SELECT)",
        _VALUE,
        "PERMISSION_DENIED: No access to 'a.b.c'. User must have SELECT",
        "reported: fid:58231455167",
        kind="uc_table",
    ),
    _text(
        "catalog_binding",
        _R.ACCESS_DENIED,
        "not accessible in current workspace",
        rf"(?P<what>Catalog) {_NAME} is not accessible in current workspace",
        (200, 400, 403),
        "Catalog 'main' is not accessible in current workspace",
        "reported: fid:69073153765",
        remedy=_BINDING,
    ),
    _text(
        "warehouse_denied",
        _R.ACCESS_DENIED,
        ("sql endpoint", "sql warehouse"),
        r"\bnot authorized to (?:use|monitor|access)(?: or (?:use|monitor))? (?:this|the) SQL (?:endpoint|warehouse)|"
        r"\bpermissions? to (?:use|access|monitor|run queries on) (?:this|the) SQL (?:endpoint|warehouse)",
        _VALUE,
        "PERMISSION_DENIED: 123 is not authorized to use or monitor this SQL Endpoint",
        "reported: fid:70164141621, fid:58231455167, fid:68619765640",
        kind="sql_warehouse",
        privilege="CAN USE",
    ),
    _text(
        "index_denied",
        _R.ACCESS_DENIED,
        "uc entity",
        rf"Insufficient permissions for UC entity {_NAME}",
        _VALUE,
        "Insufficient permissions for UC entity main.s.idx",
        "reported: fid:56828970741, dao-ai#77",
        kind="vector_search_index",
        privilege="SELECT",
    ),
    _text(
        "storage",
        _R.POLICY,
        ("cloud storage", "storage credential", "accessdeniedexception", "storage provider", "unauthorized access:"),
        r"\b(?:error from cloud storage|cloud storage provider|storage credential|AccessDeniedException)\b|"
        r"\bUnauthorized access: (?:s3a?|abfss?|wasbs?|gs)://",
        (200, 400, 403),
        "PERMISSION_DENIED: Access denied. Cause: AccessDeniedException error from cloud storage provider.",
        "reported: dbdemos#117, fid:35212366723",
        remedy=_STORAGE,
    ),
    _text(
        "sql_engine_denied",
        _R.ACCESS_DENIED,
        ("insufficient_permissions]", "unauthorized_access]", "sqlstate: 42501"),
        r"\[(?:INSUFFICIENT_PERMISSIONS|UNAUTHORIZED_ACCESS)\]|\bSQLSTATE: 42501",
        _VALUE,
        "[INSUFFICIENT_PERMISSIONS] Insufficient privileges: You may not. SQLSTATE: 42501",
        "reported: fid:62830121274, apps-cookbook#18, llm-foundry#1522",
    ),
    _text(
        "genie_set_up",
        None,
        "no longer has access",
        r"The author no longer has access",
        (200,),
        "The author no longer has access to the SQL warehouse configured for this Genie space.",
        "reported: sdk-py#1468",
    ),
    _text(
        "sql_denied_plainly",
        _R.ACCESS_DENIED,
        "permission_denied:",
        r"\A(?:\W|Error|:)*PERMISSION_DENIED:",
        (200,),
        "PERMISSION_DENIED: Cannot use the catalog",
        "reported: fid:70164141621, fid:69073153765",
    ),
    # --- hidden or absent
    _text(
        "hidden_or_absent_object",
        _R.NOT_FOUND_OR_DENIED,
        ("_not_found]", "no_such_catalog"),
        r"\[(?:(?P<what>TABLE_OR_VIEW|SCHEMA|CATALOG|VOLUME|ROUTINE|FUNCTION)_NOT_FOUND|NO_SUCH_CATALOG_EXCEPTION)\]"
        r"(?: The [a-z ]{1,40} (?P<name>[^\s]{1,256}) (?:cannot be|was not) found)?",
        (200, 400, 403, 404),
        "[TABLE_OR_VIEW_NOT_FOUND] The table or view `a`.`b`.`c` cannot be found. SQLSTATE: 42P01",
        "reported: fid:70164141621, fid:69073153765, lakeflow_framework#29",
    ),
    _text(
        "hidden_or_absent_routine",
        _R.NOT_FOUND_OR_DENIED,
        "[unresolved_routine]",
        r"\[UNRESOLVED_ROUTINE\] Cannot resolve (?P<what>routine|function) (?P<name>[^\s.]{1,128}\.[^\s]{1,256})",
        (200, 400, 403, 404),
        "[UNRESOLVED_ROUTINE] Cannot resolve routine `a`.`b`.`c` on search path",
        "documented: the error classes of Databricks SQL; a name of one part is a slip of the pen",
    ),
    _text(
        "hidden_or_absent_endpoint",
        _R.NOT_FOUND_OR_DENIED,
        "given endpoint does not exist",
        r"The given endpoint does not exist",
        (404,),
        "The given endpoint does not exist, please retry after checking the specified model and version deployment exists.",
        "reported: fid:8610548622; with the code of a path that no API serves",
        any_code=True,
        kind="serving_endpoint",
    ),
    _text(
        "hidden_genie_space",
        _R.NOT_FOUND_OR_DENIED,
        "unable to get space",
        r"Unable to get space \[(?P<name>\w{1,64})\]",
        (400, 403, 404),
        "Unable to get space [01f0]. Caused by Node with resource name Some(datarooms/01f0) does not exist.",
        "reported: G-APPKIT-168",
        kind="genie_space",
    ),
    _text(
        "unknown_route",
        None,
        "no api found for",
        r"No API found for '",
        (404,),
        "No API found for 'GET /api/2.0/nothing'",
        "documented: the workspace's answer to a path that no API serves, as databricks-sdk quotes it",
    ),
    _text(
        "hidden_or_denied_by_its_own_words",
        _R.NOT_FOUND_OR_DENIED,
        "does not exist or",
        r"\bdoes not exist or (?:you|the user|user|caller) (?:do|does) not have",
        (400, 403),
        "The space does not exist or you do not have permission to see it.",
        "reported: G-APPKIT-168",
    ),
    _text(
        "hidden_or_absent",
        _R.NOT_FOUND_OR_DENIED,
        ("does not exist", "not found", "not be found", "doesn't exist"),
        rf"(?:(?:\b(?P<what>{_NOUN}) (?:with name |with id )?)?'(?P<name>[^']{{1,256}})' |\b)"
        r"(?:does(?: not|n't) exist|(?:was |were )?not found|(?:cannot|could not) be found)\b",
        (404,),
        "Table 'a.b.c' does not exist.",
        "reported: fid:68862795987, G-APPKIT-168, dbdemos#220, fid:70500337920",
    ),
)


_LOGIN = "/login"
_PRIVATE_LINK = "private-link-validation-error"


def is_login(location: str | None) -> bool:
    """Check whether a redirect leads to the workspace's sign-in page."""
    return urlsplit(location or "").path.startswith(_LOGIN)


def is_private_link(location: str | None) -> bool:
    """Check whether a redirect to the sign-in page says that the caller's network may not reach the workspace."""
    return _PRIVATE_LINK in urlsplit(location or "").query
