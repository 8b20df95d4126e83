"""Compare what an agent's code reaches with what it declares.

Nothing in the rest of the kit imports this package. It imports neither the Databricks SDK nor the agent: it reads their source.
"""

from __future__ import annotations

from obo_kit.analysis.sdk._methods import RequestScopes, SdkRequest, methods, requests_of, scopes_for

__all__ = ["RequestScopes", "SdkRequest", "methods", "requests_of", "scopes_for"]
