"""Who the user is: sources, tokens, headers, and the credentials of a session."""

from obo_kit.identity._credentials import DEFAULT_LIMITS, Lease, Limits, lease_of
from obo_kit.identity._headers import REQUEST_HEADERS
from obo_kit.identity._process import PROCESS, reset_process_state
from obo_kit.identity._runtime import in_apps, in_model_serving
from obo_kit.identity._sources import IdentitySource, capture, register_identity_source
from obo_kit.identity._token import Hidden
from obo_kit.identity._user import TokenState, UserIdentity, origin_of, token_state

__all__ = [
    "DEFAULT_LIMITS",
    "PROCESS",
    "REQUEST_HEADERS",
    "Hidden",
    "IdentitySource",
    "Lease",
    "Limits",
    "TokenState",
    "UserIdentity",
    "capture",
    "in_apps",
    "in_model_serving",
    "lease_of",
    "origin_of",
    "register_identity_source",
    "reset_process_state",
    "token_state",
]
