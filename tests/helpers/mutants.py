"""Deliberate breakages of the rules that keep users apart, each with the test that must notice.

``python tests/mutants.py`` applies them one at a time to a copy of the package and runs the test against the copy. What
all runs need is imported once, and each run is a fork of that.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PACKAGE = TESTS.parent / "obo_kit"
_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One breakage: the first `old` in `module` becomes `new`, and `test` must fail."""

    rule: int
    module: str
    old: str
    new: str
    test: str

    @property
    def file(self) -> Path:
        """The module's file, from the package's folder."""
        return Path(*self.module.split(".")[1:]).with_suffix(".py")


MUTANTS = {
    "verify sends what is not on its list": Mutant(
        rule=8,
        module="obo_kit.analysis.verify._transport",
        old='if _origin(request.url or "") != self._origin or not listed:',
        new='if _origin(request.url or "") != self._origin:',
        test="analysis/verify/test_verify_list.py::test_a_sender_sends_only_its_list",
    ),
    "verify sends the token to another host": Mutant(
        rule=8,
        module="obo_kit.analysis.verify._transport",
        old='if _origin(request.url or "") != self._origin or not listed:',
        new="if not listed:",
        test="analysis/verify/test_verify_list.py::test_the_transport_lets_nothing_else_out",
    ),
    "a recording keeps what stands in quotation marks": Mutant(
        rule=8,
        module="obo_kit.scopes._placeholders",
        old=", text) else _value(text)",
        new=", text) else text",
        test="scopes/test_recording.py::test_nothing_of_a_workspace_survives",
    ),
    "the user's client looks as no library wants it": Mutant(
        rule=9,
        module="obo_kit.clients._workspace",
        old='        return "pat"\n',
        new='        return "oauth-m2m"\n',
        test="clients/test_clients.py::test_the_one_client_looks_as_each_library_wants_it",
    ),
    "a decorated generator is a plain function": Mutant(
        rule=12,
        module="obo_kit.context._wrapping",
        old="    make = _kind_of(fn) if not plain else None",
        new="    make = None",
        test="tools/test_with_user_client.py::test_the_kind_is_kept",
    ),
    "the model supplies the client": Mutant(
        rule=13,
        module="obo_kit.tools._spec",
        old="            if name in kwargs:\n                raise TypeError(",
        new="            if False:\n                raise TypeError(",
        test="tools/test_with_user_client.py::test_a_value_is_refused_where_the_function_takes_any_keyword",
    ),
    "the deployer's mistake is said quietly": Mutant(
        rule=18,
        module="obo_kit.tools._fallback",
        old='        logger.error("%s: %s (%s) Fix: %s"',
        new='        logger.info("%s: %s (%s) Fix: %s"',
        test="tools/test_optional_tool.py::test_the_log_s_level_says_whose_mistake_it_is",
    ),
    "what may have had an effect is repeated": Mutant(
        rule=19,
        module="obo_kit.tools._retry",
        old="        if self._call.evidence.effects != self._effects:\n",
        new="        if False:\n",
        test="tools/test_retry.py::test_an_effect_before_the_failure_counts",
    ),
    "a policy asks for scopes that another one implies": Mutant(
        rule=21,
        module="obo_kit.policy._policy",
        old="    return minimise(scopes)\n",
        new="    return tuple(sorted(scopes))\n",
        test="policy/test_policy.py::test_what_is_declared_is_what_is_in_the_policy",
    ),
    "a span does not say what became of a tool": Mutant(
        rule=25,
        module="obo_kit.instrumentation._events",
        old='        "obo.outcome": event.outcome,\n',
        new='        "obo.outcome": None,\n',
        test="instrumentation/test_events.py::test_the_tool_s_span_says_what_became_of_it",
    ),
    "the playground's page gets a token that an agent answers with": Mutant(
        rule=8,
        module="obo_kit.cli.playground._answers",
        old='return _TOKEN.sub("[token]", text)',
        new="return text",
        test="cli/test_playground.py::test_an_agent_that_fails_says_so_without_a_token",
    ),
    "the playground answers under any name for this machine": Mutant(
        rule=8,
        module="obo_kit.cli.playground._page",
        old="        if host not in hosts:",
        new="        if False:",
        test="cli/test_playground.py::test_another_name_for_this_machine_is_refused",
    ),
    "the playground answers another page of the browser": Mutant(
        rule=8,
        module="obo_kit.cli.playground._page",
        old='        if origin is not None and origin != f"http://{host}":',
        new="        if False:",
        test="cli/test_playground.py::test_another_page_is_refused",
    ),
    "the playground answers whoever does not know its address": Mutant(
        rule=8,
        module="obo_kit.cli.playground._page",
        old="        if not secrets.compare_digest(first.encode(), self._token.encode()):",
        new="        if False:",
        test="cli/test_playground.py::test_nothing_is_answered_without_the_token_of_the_address",
    ),
    "a fallback object is shared": Mutant(
        rule=4,
        module="obo_kit.tools._fallback",
        old="return copy.deepcopy(self.value)\n",
        new="return self.value\n",
        test="tools/test_optional_tool.py::test_each_user_gets_a_fallback_of_their_own",
    ),
    "control characters reach the log": Mutant(
        rule=17,
        module="obo_kit.exceptions",
        old="            if isinstance(value, str) and not value.isprintable():",
        new="            if False:",
        test="test_control_characters.py::test_no_log_line_has_them",
    ),
    "a catalogue file that links elsewhere is read": Mutant(
        rule=20,
        module="obo_kit.scopes._lookup",
        old="overridden(_BUILT_IN, file, inside=folder)",
        new="overridden(_BUILT_IN, file)",
        test="test_hostile_files.py::test_a_catalogue_that_is_found_and_links_elsewhere_is_refused",
    ),
    "in-band keys of a server are evidence": Mutant(
        rule=16,
        module="obo_kit._upstream.errors",
        old='refusal.get("seal") != SEAL or ',
        new="",
        test="denials/test_bounds.py::test_keys_that_a_server_sends_of_itself_are_no_evidence",
    ),
    "any link to sign in at": Mutant(
        rule=17,
        module="obo_kit.denials._remedies",
        old="and _origin(finding.url) == _origin(host)",
        new="",
        test="denials/test_bounds.py::test_a_tool_s_text_names_no_grant_no_scope_and_no_link",
    ),
    "a tool's text names a grant": Mutant(
        rule=17,
        module="obo_kit.denials._remedies",
        old="    if not finding.refusal.own:\n        return _OF_A_SERVER.get",
        new="    if False:\n        return _OF_A_SERVER.get",
        test="denials/test_bounds.py::test_a_tool_s_text_names_no_grant_no_scope_and_no_link",
    ),
    "policy is forgiven": Mutant(
        rule=15,
        module="obo_kit.tools._fallback",
        old="frozenset(DenialReason) - {DenialReason.POLICY}",
        new="frozenset(DenialReason)",
        test="denials/test_wordings.py::test_a_block_does_not_forgive_it_either",
    ),
    "texts are matched whole": Mutant(
        rule=16,
        module="obo_kit._upstream.wordings",
        old="return plain(text, _MAX_TEXT).partition(_ECHO)[0]",
        new="return text",
        test="denials/test_bounds.py::test_a_megabyte_of_a_pattern_s_own_start_is_classified_at_once",
    ),
    "a statement needs no privileges": Mutant(
        rule=6,
        module="obo_kit.testing.sql._engine",
        old="            lack = self._grants.missing(principal, access.privilege, access.kind, access.name)\n",
        new="            lack = None\n",
        test="testing/test_privileges.py::test_writes_need_modify_and_are_seen_by_the_next_statement",
    ),
    "row filters and masks are left out": Mutant(
        rule=6,
        module="obo_kit.testing.sql._rewriter",
        old="        if table.policed:\n",
        new="        if False:\n",
        test="testing/test_local_workspace_sql.py::test_each_user_sees_their_rows_and_nothing_else",
    ),
    "rows that a filter hides are changed": Mutant(
        rule=6,
        module="obo_kit.testing.sql._writes",
        old="    if reading and table.policed:\n",
        new="    if False:\n",
        test="testing/test_privileges.py::test_what_a_filter_hides_is_not_changed",
    ),
    "constructs that nobody looked at pass": Mutant(
        rule=6,
        module="obo_kit.testing.sql._rewriter",
        old="        if type(node).__name__ not in allowed:\n",
        new="        if False:\n",
        test="testing/sql/test_statements.py::test_what_is_not_served_is_refused_by_its_name",
    ),
    "what is no table is read as one of the engine's": Mutant(
        rule=6,
        module="obo_kit.testing.sql._rewriter",
        old="        if isinstance(node, (exp.From, exp.Join)) and not isinstance(node.this, _SOURCES):\n",
        new="        if False:\n",
        test="testing/sql/test_statements.py::test_only_tables_and_queries_are_read",
    ),
    "any function of the engine is called": Mutant(
        rule=6,
        module="obo_kit.testing.sql._functions",
        old="    if name in _SAME:\n",
        new="    if True:\n",
        test="testing/sql/test_statements.py::test_what_is_not_served_is_refused_by_its_name",
    ),
    "what macros consist of is called": Mutant(
        rule=6,
        module="obo_kit.testing.sql._functions",
        old='    if is_macro(name) and not name.startswith("_"):\n',
        new="    if is_macro(name):\n",
        test="testing/sql/test_statements.py::test_what_is_not_served_is_refused_by_its_name",
    ),
    "strict privileges ask for no USE CATALOG": Mutant(
        rule=6,
        module="obo_kit.testing.iam._grants",
        old="        if self.strict:\n            for parent_kind",
        new="        if False:\n            for parent_kind",
        test="testing/test_privileges.py::test_strictly_the_catalog_and_the_schema_are_needed_too",
    ),
    "anybody grants by SQL": Mutant(
        rule=6,
        module="obo_kit.testing.sql._writes",
        old="    if not grants.manages(principal, kind, name):\n",
        new="    if False:\n",
        test="testing/test_privileges.py::test_nobody_grants_what_is_not_theirs",
    ),
    "anybody grants by the permissions API": Mutant(
        rule=6,
        module="obo_kit.testing.services._permissions",
        old="        if not self._grants.manages(call.user.principal, kind, name):\n",
        new="        if False:\n",
        test="testing/test_privileges.py::test_the_permissions_api_shows_and_changes_no_more_than_one_may",
    ),
    "collection imports what a function would import": Mutant(
        rule=22,
        module="obo_kit.policy._uncalled",
        old="    return sys.modules.get(name, _MISSING)",
        new="    return importlib.import_module(name)",
        test="policy/test_collect.py::test_nothing_runs_that_nobody_called",
    ),
    "collection computes what a function would compute": Mutant(
        rule=22,
        module="obo_kit.policy._uncalled",
        old="        result: Any = _MISSING\n",
        new="        result: Any = eval(compile(ast.Expression(node), '', 'eval'), dict(self._globals))\n",
        test="policy/test_collect.py::test_nothing_runs_that_nobody_called",
    ),
    "what only a request imports is left out in silence": Mutant(
        rule=22,
        module="obo_kit.policy._reachable",
        old="            if (declaring := declaring_module(module)) is not None:",
        new="            if (declaring := None) is not None:",
        test="policy/test_collect.py::test_a_module_that_only_a_request_imports_is_loaded_where_it_declares",
    ),
    "the lease reads the runtime again": Mutant(
        rule=4,
        module="obo_kit.identity._credentials",
        old="return resolve(identity)",
        new="return resolve(__import__('obo_kit.identity._sources').identity._sources.capture())",
        test="session/test_session.py::test_what_the_runtime_says_later_does_not_matter",
    ),
    "no fence": Mutant(
        rule=5,
        module="obo_kit.identity._credentials",
        old="        if self.closed:",
        new="        if False:",
        test="session/test_fork.py::test_a_session_counts_as_closed_in_a_forked_child",
    ),
    "a session stays open in a forked child": Mutant(
        rule=5,
        module="obo_kit.identity._credentials",
        old="return self._open_in is not _process",
        new="return self._open_in is None",
        test="session/test_fork.py::test_a_session_counts_as_closed_in_a_forked_child",
    ),
    "Model Serving without a token falls back": Mutant(
        rule=2,
        module="obo_kit.identity._sources",
        old='except Exception as error:\n            raise NoUserIdentityError(\n                f"Model Serving',
        new='except Exception as error:\n            return None\n            raise NoUserIdentityError(\n                f"',
        test="identity/test_identity.py::test_model_serving_without_a_token_refuses_and_sends_nothing",
    ),
    "the official class's fallback is taken for the user": Mutant(
        rule=2,
        module="obo_kit.identity._sources",
        old='if strategy.auth_type() != "model_serving_user_credentials":',
        new="if False:",
        test="identity/test_identity.py::test_model_serving_is_recognised_in_any_case_of_letters",
    ),
    "an app without headers falls back": Mutant(
        rule=2,
        module="obo_kit.identity._sources",
        old="        if headers is None or not headers.value:\n",
        new="        if headers is None or not headers.value:\n            return None\n",
        test="identity/test_identity.py::test_an_app_without_a_request_refuses_and_sends_nothing",
    ),
    "token=None is ignored": Mutant(
        rule=2,
        module="obo_kit.session._entry",
        old="token = None if token is _UNSET else Hidden(token)",
        new="token = None if token is _UNSET or not token else Hidden(token); host = host if token else None",
        test="identity/test_identity.py::test_a_missing_token_is_refused_where_others_could_step_in",
    ),
    "headers=None is ignored": Mutant(
        rule=2,
        module="obo_kit.session._entry",
        old="headers = None if headers is _UNSET else Hidden(headers)",
        new="headers = None if headers is _UNSET or not headers else Hidden(headers)",
        test="identity/test_identity.py::test_headers_without_a_user_are_refused_where_a_developer_could_step_in",
    ),
    "one of two different headers is taken": Mutant(
        rule=2,
        module="obo_kit.identity._headers",
        old="    if len(tokens) > 1:",
        new="    if False:",
        test="identity/test_identity.py::test_two_different_tokens_in_the_headers_are_refused",
    ),
    "a malformed token is taken": Mutant(
        rule=3,
        module="obo_kit.identity._token",
        old="    if _TOKEN.fullmatch(token.value) is None:",
        new="    if False:",
        test="identity/test_identity.py::test_a_malformed_token_is_refused_and_not_repeated",
    ),
    "a new token of another user is taken": Mutant(
        rule=4,
        module="obo_kit.identity._credentials",
        old="        if not same_user(renewed, identity):",
        new="        if False:",
        test="identity/test_long_requests.py::test_without_a_new_token_of_the_same_user_it_is_said_and_nothing_is_sent",
    ),
    "an expired token is sent": Mutant(
        rule=4,
        module="obo_kit.identity._credentials",
        old="if token_state(identity) is not TokenState.FRESH:",
        new="if False:",
        test="identity/test_long_requests.py::test_an_explicit_token_cannot_be_renewed",
    ),
    "a token that does not say whose it is renews one that does": Mutant(
        rule=4,
        module="obo_kit.identity._user",
        old="return first.principal is not None and first.principal == second.principal",
        new="return None in (first.principal, second.principal) or first.principal == second.principal",
        test="identity/test_long_requests.py::test_in_doubt_about_whose_a_new_token_is_it_is_nobody_s",
    ),
    "a worker acts as whoever started it for whatever is in its queue": Mutant(
        rule=6,
        module="obo_kit.session._queues",
        old="worker.others = session is not worker.session and not (",
        new="worker.others = False and not (",
        test="session/test_edges.py::test_a_worker_is_nobody_for_what_another_request_put_into_its_queue",
    ),
    "a queue is not watched where its item is waited for in a task": Mutant(
        rule=6,
        module="obo_kit._upstream.patches.queues",
        old="return get(self) if note is None else noted(self, note)",
        new="return get(self)",
        test="session/test_edges.py::test_a_worker_is_nobody_for_what_another_request_put_into_its_queue",
    ),
    "a worker opens its starter's session anew for another's work": Mutant(
        rule=6,
        module="obo_kit.session._opening",
        old="""    if does_others_work():
        raise NoUserIdentityError""",
        new="""    if False:
        raise NoUserIdentityError""",
        test="session/test_edges.py::test_a_worker_is_nobody_for_what_another_request_put_into_its_queue",
    ),
    "a worker that outlives its request is not told of": Mutant(
        rule=6,
        module="obo_kit.session._session",
        old="                self._say_who_goes_on()\n",
        new="                pass\n",
        test="session/test_edges.py::test_a_worker_that_a_request_started_is_told_of_and_has_no_user_afterwards",
    ),
    "a process that a request starts acts as the developer": Mutant(
        rule=1,
        module="obo_kit.identity._process",
        old="        _tell_children()\n",
        new="        pass\n",
        test="session/test_edges.py::test_a_process_that_a_request_starts_acts_as_nobody_else[spawn]",
    ),
    "a client that copied the session's token goes its own way": Mutant(
        rule=8,
        module="obo_kit.identity._credentials",
        old='lease_of(config) or lease_of(getattr(config, "token", None))',
        new="lease_of(config)",
        test="clients/test_derived_clients.py::test_a_client_that_copies_the_session_s_token_is_behind_the_fence_too"
        "[workspace_client]",
    ),
    "a cache gives one user's answer to the next": Mutant(
        rule=4,
        module="obo_kit.clients._pipeline",
        old="        refuse_shared_cache(lease)\n",
        new="",
        test="clients/test_shared_caches.py::test_a_cache_that_does_not_know_the_user_is_refused[cachetools]",
    ),
    "a method's cache gives one user's answer to the next": Mutant(
        rule=4,
        module="obo_kit._upstream.caches",
        old='    ("cachetools._cachedmethod", "wrapper"): _cachetools_method,\n',
        new="",
        test="clients/test_shared_caches.py::test_a_cache_that_does_not_know_the_user_is_refused[cachetools_method]",
    ),
    "a client that another request keeps gives its header away": Mutant(
        rule=5,
        module="obo_kit.clients._workspace",
        old="""        _check(self._lease)
        return {""",
        new="""        return {""",
        test="clients/test_scope_guard.py::test_the_credentials_of_a_client_that_another_request_keeps_are_refused",
    ),
    "a kept client acts for another request": Mutant(
        rule=5,
        module="obo_kit.clients._pipeline",
        old="        refuse_another_s(lease)\n",
        new="",
        test="clients/test_scope_guard.py::test_a_client_that_another_request_keeps_is_refused_while_both_are_served"
        "[workspace_client]",
    ),
    "an expired token opens a session": Mutant(
        rule=4,
        module="obo_kit.session._opening",
        old="        session._lease.check_entry()\n",
        new="",
        test="session/test_edges.py::test_an_expired_token_is_refused_at_entry_with_a_leeway_for_clocks",
    ),
    "every framework is told the same": Mutant(
        rule=7,
        module="obo_kit.session._advice",
        old='    return _BY_FRAMEWORK.get(serving_framework() or "", _GENERAL)',
        new="    return _GENERAL",
        test="integrations/test_advice.py::test_a_stream_of_flask_s_is_told_to_decorate_the_generator",
    ),
    "a synchronous MCP client sends nobody": Mutant(
        rule=8,
        module="obo_kit.clients._mcp",
        old="        return sync_flow(self._lease, request)\n",
        new="        yield request\n",
        test="clients/test_mcp_auth.py::test_bearer_sends_the_user_in_either_kind_of_client_and_nothing_afterwards",
    ),
    "anybody resumes a tool": Mutant(
        rule=6,
        module="obo_kit.tools._resumed",
        old="    same = same_user(owner, identity)\n",
        new="    same = True\n",
        test="tools/test_resumed.py::test_another_user_is_refused_where_that_is_set_and_the_first_may_go_on",
    ),
    "a retriever tool that copied the token shares cookies": Mutant(
        rule=10,
        module="obo_kit.clients._vector_search",
        old="    if lease is not None:\n        client.__class__",
        new="    if False:\n        client.__class__",
        test="clients/test_built_by_hand.py::test_retriever_tools_built_by_hand_share_no_cookies",
    ),
    "all users make one key of a cache": Mutant(
        rule=6,
        module="obo_kit.identity._credentials",
        old="        return str, (lease.cache_key(),)",
        new='        return str, ("user",)',
        test="session/test_edges.py::test_what_a_session_hands_out_reduces_to_its_user_s_key",
    ),
    "a memoizer goes on without the user": Mutant(
        rule=8,
        module="obo_kit.identity._token",
        old='sys._getframe(1).f_globals.get("__name__") == "pickle"',
        new="False",
        test="session/test_edges.py::test_no_memoizer_makes_one_key_for_all",
    ),
    "a tool that copied the token is not fenced": Mutant(
        rule=5,
        module="obo_kit.session._session",
        old="        if index is not None:",
        new="        if False:",
        test="identity/test_long_requests.py::test_a_store_whose_index_copied_the_token_is_adopted",
    ),
    "overlap on the process's token is allowed": Mutant(
        rule=4,
        module="obo_kit.session._opening",
        old='if overlap and os.environ.get("OBO_KIT_PROCESS_TOKEN", "")',
        new='if False and os.environ.get("OBO_KIT_PROCESS_TOKEN", "")',
        test="session/test_session.py::test_overlapping_requests_on_a_process_s_one_token_can_be_refused",
    ),
    "the context is held across a yield": Mutant(
        rule=6,
        module="obo_kit.context._wrapping",
        old="        finally:\n            FRAME.reset(token)\n        try:\n            payload = yield item",
        new="        finally:\n            pass\n        try:\n            payload = yield item",
        test="session/test_streams.py::test_interleaved_streams_stay_apart_and_leave_nothing_behind",
    ),
    "a closed session counts": Mutant(
        rule=6,
        module="obo_kit.context._frame",
        old="if frame is None or (session := frame.session) is None or session.closed:",
        new="if frame is None or (session := frame.session) is None:",
        test="session/test_session.py::test_a_copied_context_does_not_keep_a_session_open",
    ),
    "what a request left behind takes the process's next token": Mutant(
        rule=4,
        module="obo_kit.session._opening",
        old="if from_process_token(identity) and not (",
        new="if False and not (",
        test="session/test_concurrency.py::test_what_a_request_left_behind_does_not_take_the_next_one_s_token",
    ),
    "what a request left behind captures anew": Mutant(
        rule=7,
        module="obo_kit.session._opening",
        old=" or ended_session(UserSession) is not None",
        new="",
        test="session/test_concurrency.py::test_a_task_that_outlives_its_request_has_no_user_and_is_told_so",
    ),
    "a pool forked inside a request goes on as its user": Mutant(
        rule=4,
        module="obo_kit.session._opening",
        old="if ended._lease.foreign:",
        new="if False:",
        test="session/test_fork.py::test_a_pool_forked_inside_a_request_does_not_go_on_as_its_user",
    ),
    "headers outlive their request": Mutant(
        rule=4,
        module="obo_kit.integrations.asgi",
        old="headers.value = None",
        new="pass",
        test="integrations/test_asgi.py::test_a_task_left_behind_has_a_user_only_if_its_session_began_during_the_request",
    ),
    "a session that nobody can close stays open": Mutant(
        rule=5,
        module="obo_kit.session._session",
        old="            self.close()\n            if self._ends_with_call:",
        new="            if self._ends_with_call:",
        test="session/test_session.py::test_a_session_never_closed_warns_and_is_fenced_when_nothing_refers_to_it",
    ),
    "a stream's session stays open": Mutant(
        rule=6,
        module="obo_kit.session._entry",
        old="        if self._owned and self._session is not None:\n            self._session.close()",
        new="        pass",
        test="session/test_streams.py::test_a_stream_s_session_ends_with_it_however_it_ends",
    ),
    "another user inside is not noticed": Mutant(
        rule=6,
        module="obo_kit.session._entry",
        old="if named is not None and not session._lease.has_token_of(named) and not",
        new="if False and not",
        test="session/test_session.py::test_naming_another_user_inside_is_refused",
    ),
    "tokens that say nothing are one user's": Mutant(
        rule=6,
        module="obo_kit.identity._user",
        old="return first is second or (bool(first._fingerprint) and first._fingerprint == second._fingerprint)",
        new="return True",
        test="session/test_session.py::test_naming_another_user_inside_is_refused",
    ),
    "a with block's session does not make bare tools strict": Mutant(
        rule=7,
        module="obo_kit.session._entry",
        old="        PROCESS.sessions_opened = True\n",
        new="",
        test="session/test_edges.py::test_one_token_per_process_is_not_captured_anew_in_a_pool",
    ),
    "a developer acts where users were named": Mutant(
        rule=1,
        module="obo_kit.identity._sources",
        old="if developer is None and user_was_named():",
        new="if False:",
        test="session/test_edges.py::test_a_source_s_user_counts_as_named",
    ),
    "a deployment asks for its developer": Mutant(
        rule=2,
        module="obo_kit.identity._sources",
        old='    where = deployed_in() if developer == "person" else None\n',
        new="    where = None\n",
        test="session/test_edges.py::test_nowhere_deployed_is_a_laptop",
    ),
    "a machine is a developer": Mutant(
        rule=2,
        module="obo_kit.identity._sources",
        old="if not machine and kind not in _PERSONS:",
        new="if False:",
        test="session/test_edges.py::test_a_machine_is_no_developer",
    ),
    "a request goes on in the session around it": Mutant(
        rule=6,
        module="obo_kit.integrations.asgi",
        old="FRAME.set(None)",
        new="FRAME.set(FRAME.get())",
        test="session/test_edges.py::test_a_request_inside_a_session_is_not_in_it",
    ),
    "the agent server's request joins the session around it": Mutant(
        rule=6,
        module="obo_kit.session._entry",
        old="        if session is None or of_another_request(session):\n",
        new="        if session is None:\n",
        test="session/test_edges.py::test_the_agent_server_s_request_opens_its_own_session_in_whatever_context",
    ),
    "a request is the user of the stream that sent it": Mutant(
        rule=6,
        module="obo_kit.session._opening",
        old="    if block is not None and of_another_request(block):\n",
        new="    if False:\n",
        test="session/test_edges.py::test_a_stream_that_sends_a_request_is_not_the_request_s_user",
    ),
    "the agent server's request is the user of the middleware's around it": Mutant(
        rule=6,
        module="obo_kit.identity._headers",
        old="    if request is None or (request.value is not None and headers not in (None, request.around.value)):\n",
        new="    if request is None:\n",
        test="session/test_edges.py::test_a_request_inside_another_server_s_request_is_its_own_user_s",
    ),
    "a message to an MCP server is its connection's": Mutant(
        rule=23,
        module="obo_kit._upstream.patches.mcp",
        old="        token = frame.set(made_in if made_in is not None else frame.get())\n",
        new="        token = frame.set(frame.get())\n",
        test="clients/test_mcp_auth.py::test_a_tool_is_narrowed_on_a_connection_that_was_opened_earlier",
    ),
    "a deployed agent is a laptop": Mutant(
        rule=2,
        module="obo_kit.identity._runtime",
        old='return "a container" if any(',
        new="return None if any(",
        test="session/test_edges.py::test_nowhere_deployed_is_a_laptop",
    ),
    "a cluster's server in a task is not seen": Mutant(
        rule=1,
        module="obo_kit.identity._runtime",
        old="for module in (*modules, *_modules_of_tasks(loop))",
        new="for module in modules",
        test="session/test_edges.py::test_a_cluster_that_serves_is_no_laptop",
    ),
    "a refusal may quote the token": Mutant(
        rule=8,
        module="obo_kit.clients._pipeline",
        old='return content.replace(token, b"***") if len(token) >= _LEAST_TOKEN else content',
        new="return content",
        test="identity/test_secrets.py::test_a_refusal_that_quotes_the_request_s_headers_loses_the_token",
    ),
    "an unverified name opens a cache": Mutant(
        rule=6,
        module="obo_kit.identity._user",
        old="if self.verified and self.principal:",
        new="if self.principal:",
        test="session/test_edges.py::test_a_key_for_caches_is_the_token_s_where_nobody_vouches",
    ),
    "a suspended stream's block is in force": Mutant(
        rule=6,
        module="obo_kit.session._opening",
        old="return None if left else session",
        new="return session",
        test="session/test_edges.py::test_a_suspended_stream_s_block_is_in_force_for_nobody_else",
    ),
    "what hides a token can be pickled": Mutant(
        rule=8,
        module="obo_kit.identity._token",
        old="    def __reduce_ex__(self, protocol: Any, /) -> NoReturn:",
        new="    def _unused(self, protocol: Any, /) -> NoReturn:",
        test="session/test_edges.py::test_what_holds_a_token_refuses_to_be_pickled_and_copied",
    ),
    "a tool outside captures anew": Mutant(
        rule=7,
        module="obo_kit.session._opening",
        old=" or PROCESS.entry_point_declared or PROCESS.sessions_opened",
        new="",
        test="session/test_session.py::test_with_an_entry_point_a_tool_outside_of_any_session_refuses",
    ),
    "a SQL connection outlives its session": Mutant(
        rule=5,
        module="obo_kit.clients._sql",
        old='        self._exchange = begin(self._lease, "POST", self._url)\n',
        new='        self._exchange = self._exchange or begin(self._lease, "POST", self._url)\n',
        test="clients/test_sql_connection.py::test_a_connection_kept_after_its_session_sends_nothing",
    ),
    "what a service behind the platform refuses is the user's": Mutant(
        rule=15,
        module="obo_kit.denials._classify",
        old=" or _is_another_s(refusal, text):\n",
        new=":\n",
        test="denials/test_explain_answers.py::test_what_a_service_behind_the_platform_refuses_is_not_the_user_s",
    ),
    "headers that are kept outlive their session": Mutant(
        rule=5,
        module="obo_kit.identity._credentials",
        old="return self._current().encode(encoding, errors)",
        new="return super().encode(encoding, errors)",
        test="clients/test_built_by_hand.py::test_headers_that_a_session_of_requests_keeps_are_sent_by_nobody_else",
    ),
    "words that an error quotes are a refusal": Mutant(
        rule=15,
        module="obo_kit.denials._classify",
        old="    if _is_about_the_call(refusal, match) or ",
        new="    if ",
        test="denials/test_explain_answers.py::test_words_that_an_answer_quotes_are_no_refusal",
    ),
    "a configuration built by hand keeps its header": Mutant(
        rule=5,
        module="obo_kit._upstream.patches.databricks_sdk",
        old="if type(config) is sdk.core.Config and whose(config) is not None:",
        new="if type(config) is sdk.core.Config and whose(config) is config:",
        test="clients/test_built_by_hand.py::test_a_configuration_built_by_hand_reads_the_token_again",
    ),
    "the first SQL connection of a process is not adopted": Mutant(
        rule=5,
        module="obo_kit.session._opening",
        old="    if _BY_HAND in sys.modules:\n",
        new="    if not _BY_HAND:\n",
        test="clients/test_sql_connection.py::test_the_first_connection_of_a_process_is_adopted_too",
    ),
    "a SQL connection built by hand keeps its token": Mutant(
        rule=5,
        module="obo_kit.clients._sql",
        old='lease = lease_behind(getattr(headers, "__self__", None))',
        new="lease = lease_behind(None)",
        test="clients/test_sql_connection.py::test_a_connection_built_by_hand_is_adopted_and_ends_with_its_session",
    ),
    "a token that is kept outlives its session": Mutant(
        rule=5,
        module="obo_kit.identity._credentials",
        old="return format(self._current(), spec)",
        new="return format(str.__str__(self), spec)",
        test="clients/test_built_by_hand.py::test_a_token_that_is_kept_is_written_into_no_other_request",
    ),
    "settings leave room for another's token": Mutant(
        rule=2,
        module="obo_kit.clients._workspace",
        old='return {**self._inner, "token": ',
        new='return {**self._inner, "profile": ',
        test="clients/test_built_by_hand.py::test_settings_that_are_copied_are_the_user_s_and_nobody_else_s",
    ),
    "settings are the same for all sessions": Mutant(
        rule=4,
        module="obo_kit.clients._workspace",
        old="self._number = next(_NUMBERS)",
        new="self._number = 0",
        test="clients/test_built_by_hand.py::test_settings_tell_sessions_apart",
    ),
    "a SQL connection keeps the token of its session": Mutant(
        rule=8,
        module="obo_kit.clients._sql",
        old="_transport.setCustomHeaders({})",
        new="_transport.isOpen()",
        test="clients/test_sql_connection.py::test_a_connection_that_has_ended_holds_no_token",
    ),
    "what is hidden shows": Mutant(
        rule=8,
        module="obo_kit.identity._token",
        old='return "<hidden>"',
        new="return repr(self.value)",
        test="identity/test_secrets.py::test_no_refusal_shows_the_token_not_even_in_its_tracebacks_locals",
    ),
    "a lease can be pickled": Mutant(
        rule=8,
        module="obo_kit.identity._credentials",
        old="class Lease(Confidential):",
        new="class Lease:",
        test="identity/test_secrets.py::test_a_lease_cannot_be_pickled",
    ),
    "the environment enters a user's configuration": Mutant(
        rule=10,
        module="obo_kit.clients._workspace",
        old="    def _load_from_env(self) -> None:\n        pass",
        new="    def _load_from_env(self) -> None:\n        super()._load_from_env()",
        test="clients/test_clients.py::test_nothing_of_the_app_rides_along_in_a_user_s_configuration",
    ),
    "configurations share what they hold": Mutant(
        rule=10,
        module="obo_kit.clients._workspace",
        old="        super().__init__(**settings)",
        new="        super().__init__(**settings)\n"
        "        self._inner = shared().__dict__.setdefault('inner', self._inner)",
        test="clients/test_clients.py::test_what_one_user_s_configuration_is_given_reaches_no_other",
    ),
    "one configuration for all": Mutant(
        rule=10,
        module="obo_kit.clients._workspace",
        old="return _UserWorkspaceClient(config=_config(lease))",
        new='return _UserWorkspaceClient(config=shared().__dict__.setdefault("config", _config(lease)))',
        test="clients/test_clients.py::test_what_one_user_s_configuration_is_given_reaches_no_other",
    ),
    "one cookie jar for all": Mutant(
        rule=10,
        module="obo_kit.clients._transport",
        old="    session.trust_env = False\n",
        new='    session.trust_env = False\n    session.cookies = shared().__dict__.setdefault("jar", session.cookies)\n',
        test="clients/test_clients.py::test_cookies_of_one_user_never_ride_with_another_s_request[workspace_client]",
    ),
    "the token goes wherever the request goes": Mutant(
        rule=8,
        module="obo_kit.clients._pipeline",
        old="    if not _is_own(host, url) and not trusts_app(lease, url):\n",
        new="    if _origin(url) is None:\n",
        test="clients/test_clients.py::test_the_token_goes_to_the_user_s_workspace_and_no_other_host",
    ),
    "the token goes to a host whose name begins alike": Mutant(
        rule=8,
        module="obo_kit.clients._pipeline",
        old='    return url.startswith(f"{host}/")',
        new="    return url.startswith(host)",
        test="clients/test_clients.py::test_the_token_does_not_go_to_a_host_whose_name_begins_alike",
    ),
    "answers hold the request with the token": Mutant(
        rule=8,
        module="obo_kit.clients._transport",
        old="    response.request = request\n",
        new="",
        test="identity/test_secrets.py::test_an_answer_holds_a_request_without_the_token",
    ),
    "a pool is used on both sides of a fork": Mutant(
        rule=10,
        module="obo_kit.clients._connections",
        old="    os.register_at_fork(after_in_child=renew)",
        new="    pass",
        test="session/test_fork.py::test_forked_workers_share_no_connection_and_no_answers",
    ),
    "every client asks the host who it is": Mutant(
        rule=10,
        module="obo_kit.clients._workspace",
        old="    def _resolve_host_metadata(self) -> None:\n        pass",
        new="    _asks = True",
        test="clients/test_clients.py::test_a_host_is_asked_once_who_it_is_however_many_users_and_clients",
    ),
    "the guard stands aside": Mutant(
        rule=23,
        module="obo_kit.clients._pipeline",
        old="            _guard(call, method, self._path, match)\n",
        new="            pass\n",
        test="clients/test_scope_guard.py::test_raise_sends_nothing",
    ),
    "a client leaves its tool in a plain thread": Mutant(
        rule=23,
        module="obo_kit.clients._pipeline",
        old="        in_force, handed = current_call(), lease.narrowing\n",
        new="        in_force, handed = current_call(), None\n",
        test="clients/test_derived_clients.py::test_a_tool_s_client_stays_narrowed[plain_thread]",
    ),
    "a derived client has a way of its own": Mutant(
        rule=23,
        module="obo_kit._upstream.patches.databricks_sdk",
        old="            attach(client._api_client._session, credentials)\n",
        new="            pass\n",
        test="clients/test_derived_clients.py::test_a_tool_s_client_stays_narrowed[workspace_client_of_the_config]",
    ),
    "what the catalogue does not know is let through": Mutant(
        rule=23,
        module="obo_kit.clients._pipeline",
        old="        if opens_unknown(declared.spellings):\n",
        new="        if True:\n",
        test="tools/test_requires_scopes.py::test_a_route_that_the_catalogue_does_not_know_is_outside",
    ),
    "the token goes to any app": Mutant(
        rule=8,
        module="obo_kit.clients._apps",
        old="    return may_be_app(url) and (",
        new="    return may_be_app(url) or (",
        test="clients/test_mcp_auth.py::test_the_token_goes_to_databricks_alone",
    ),
    "the token goes over plain http": Mutant(
        rule=8,
        module="obo_kit.identity._user",
        old="    if not _is_private(host):\n",
        new="    if not host:\n",
        test="clients/test_derived_clients.py::test_the_token_goes_to_no_host_by_plain_http",
    ),
    "a configuration is turned to another host": Mutant(
        rule=8,
        module="obo_kit.clients._workspace",
        old="        if value is None or origin_of(str(value)) != bound:\n",
        new="        if value is None:\n",
        test="clients/test_derived_clients.py::test_a_configuration_keeps_its_host",
    ),
    "dbutils are the runtime's": Mutant(
        rule=2,
        module="obo_kit._upstream.patches.databricks_sdk",
        old="return make_dbutils(config) if whose(config) is None else",
        new="return make_dbutils(config) if True else",
        test="clients/test_derived_clients.py::test_dbutils_on_a_cluster_are_the_user_s",
    ),
    "frames hold the token": Mutant(
        rule=8,
        module="obo_kit.clients._transport",
        old="        raise without_frames(error)",
        new="        raise error",
        test="clients/test_derived_clients.py::test_no_frame_holds_the_token_whatever_passes",
    ),
    "an idle connection is kept for ever": Mutant(
        rule=11,
        module="obo_kit.clients._connections",
        old="            if time.monotonic() - since < IDLE_SECONDS:\n",
        new="            if since:\n",
        test="clients/test_dead_connections.py::test_a_connection_that_was_idle_for_long_is_not_used_again",
    ),
    "a dead connection is waited for": Mutant(
        rule=11,
        module="obo_kit.clients._transport",
        old="    patience = None if slow.get(name, 0.0) > time.monotonic() else FIRST_BYTE_SECONDS\n",
        new="    patience = None\n",
        test="clients/test_dead_connections.py::test_a_dead_connection_holds_nothing_that_only_reads",
    ),
    "a finalizer waits for its own thread": Mutant(
        rule=10,
        module="obo_kit.clients._connections",
        old="    QueueCls: Any = IdleConnections\n",
        new="    QueueCls: Any = queue.LifoQueue\n",
        test="clients/test_dropped_streams.py::test_the_collector_may_run_inside_a_pool[half_read-queue]",
    ),
    "a finalizer changes the context that it interrupts": Mutant(
        rule=10,
        module="obo_kit._utils.collector",
        old="        return contextvars.copy_context().run(work, *args)\n",
        new="        return work(*args)\n",
        test="session/test_collector.py::test_a_dropped_stream_changes_nothing_in_the_context_that_it_interrupts",
    ),
    "a tool object asks with its own client": Mutant(
        rule=14,
        module="obo_kit.tools._adapters",
        old="        return fn(copy_of(self), *args, **kwargs)",
        new="        return fn(self, *args, **kwargs)",
        test="tools/test_tool_objects_user_client.py::test_a_retriever_tool_of_the_agent_s_asks_as_the_user",
    ),
    "all users share the connection of an MCP server": Mutant(
        rule=14,
        module="obo_kit.integrations.openai",
        old="(AsyncExitStack, asyncio.Lock)",
        new="(asyncio.Lock,)",
        test="tools/test_tool_objects_user_client.py::test_one_server_of_the_agents_sdk_serves_every_user",
    ),
    "a project's file takes the place of Python's own module where an agent is collected": Mutant(
        rule=22,
        module="obo_kit.policy._agent_file",
        old="key=lambda folder: not is_stdlib_folder(folder)",
        new="key=lambda folder: 0",
        test="policy/test_agent_process.py::test_files_of_the_working_directory_take_no_library_s_place",
    ),
    "what Python loaded before the agent counts as the agent's": Mutant(
        rule=22,
        module="obo_kit.policy._agent_process",
        old="        if name not in before\n        and module is not agent\n",
        new="        if module is not agent\n",
        test="policy/test_agent_process.py::test_what_was_loaded_before_the_agent_is_not_the_agent_s",
    ),
}


EDGES = {
    "who lost the session is nobody": (
        "a with block's session does not make bare tools strict",
        "a tool outside captures anew",
        "a developer acts where users were named",
        "a process that a request starts acts as the developer",
        "a machine is a developer",
    ),
    "a user's token in a request is that user, and a deployment is no laptop": (
        "a deployed agent is a laptop",
        "a suspended stream's block is in force",
        "headers outlive their request",
    ),
    "a request opens its own session": (
        "a request goes on in the session around it",
        "the agent server's request joins the session around it",
        "a worker acts as whoever started it for whatever is in its queue",
        "a worker that outlives its request is not told of",
    ),
    "claims that nobody verified authorize nothing": (
        "another user inside is not noticed",
        "an unverified name opens a cache",
        "tokens that say nothing are one user's",
    ),
    "the guard follows the client": (
        "a client leaves its tool in a plain thread",
        "a derived client has a way of its own",
        "a message to an MCP server is its connection's",
        "what the catalogue does not know is let through",
    ),
    "the token goes nowhere else": (
        "the token goes wherever the request goes",
        "the token goes to any app",
        "the token goes over plain http",
        "a configuration is turned to another host",
        "a client that copied the session's token goes its own way",
    ),
    "nothing leaves the client for the runtime's credentials": ("dbutils are the runtime's",),
    "no token in any frame or pickle": (
        "frames hold the token",
        "answers hold the request with the token",
        "what hides a token can be pickled",
    ),
    "texts are bounded": ("texts are matched whole",),
    "others' words stay others' words": (
        "any link to sign in at",
        "a tool's text names a grant",
        "in-band keys of a server are evidence",
        "control characters reach the log",
    ),
    "the right words at each edge": (
        "every framework is told the same",
        "an expired token opens a session",
        "a synchronous MCP client sends nobody",
        "anybody resumes a tool",
    ),
    "answers are not shared by caches": (
        "a cache gives one user's answer to the next",
        "all users make one key of a cache",
        "a memoizer goes on without the user",
        "a retriever tool that copied the token shares cookies",
    ),
    "a developer stands in on a laptop alone": ("a deployment asks for its developer",),
    "fallbacks are fresh, and files are no traps": (
        "a fallback object is shared",
        "a catalogue file that links elsewhere is read",
    ),
}
"""The promises at the edges of identity, each with the mutants that break it."""


def stale() -> list[str]:
    """Return, for each mutant that no longer applies, what has changed: the code that it breaks, or the test."""
    reasons = []
    for name, mutant in MUTANTS.items():
        file, (test, _, function) = PACKAGE / mutant.file, mutant.test.partition("::")
        if not file.exists() or mutant.old not in file.read_text("utf-8"):
            reasons.append(f"{name}: {mutant.module} no longer has this code:\n{mutant.old}")
        if not (TESTS / test).exists() or f"def {function.partition('[')[0].rpartition('::')[2]}" not in (
            TESTS / test
        ).read_text("utf-8"):
            reasons.append(f"{name}: there is no test {mutant.test}")
    reasons += [f"{edge}: there is no mutant {name!r}" for edge in EDGES for name in EDGES[edge] if name not in MUTANTS]
    return reasons


def _start(tests: list[str], mutant: Mutant | None) -> tuple[int, tempfile.TemporaryDirectory[str]]:
    """Run the tests in a fork of this process, against a copy of the package: its process id, and where the copy is."""
    where = tempfile.TemporaryDirectory()
    copied = Path(where.name) / "obo_kit"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    if mutant is not None:
        file = copied / mutant.file
        text = file.read_text("utf-8")
        file.write_text(text.replace(mutant.old, mutant.new, 1), "utf-8")
    child = os.fork()
    if child == 0:
        status = 98  # an exception here is no failed test
        try:
            status = _in_child(where.name, tests, _SECONDS if mutant is not None else 4 * _SECONDS)
        finally:
            os._exit(status)
    return child, where


def _in_child(where: str, tests: list[str], seconds: int) -> int:
    import pytest

    signal.alarm(seconds)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    sys.path.insert(0, where)
    sys.dont_write_bytecode = True
    import obo_kit

    if not str(obo_kit.__file__).startswith(where):
        return 99
    arguments = [
        "-W",
        "ignore:Module already imported",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "pytest_asyncio.plugin",
        "-p",
        "pytest_timeout",  # the configuration sets its option, and it shares the process's one timer: the alarm's
        "--timeout=0",
        "-m",
        "",
        f"--rootdir={TESTS.parent}",
    ]
    return int(pytest.main([*arguments, *(str(TESTS / test) for test in tests)]))


def main() -> None:
    """Print, as JSON, pytest's exit status per mutant, and of the unmodified copy under the name ``none``."""
    # Everything that takes long to import, and starts no thread.
    import databricks.ai_search.client
    import databricks.sdk
    import databricks_ai_bridge
    import duckdb
    import hypothesis.stateful
    import pytest
    import pytest_asyncio
    import sklearn.feature_extraction.text
    import uvicorn

    for extra in ("databricks_openai", "databricks_mcp"):
        if importlib.util.find_spec(extra) is not None:
            importlib.import_module(extra)
    del databricks, databricks_ai_bridge, duckdb, hypothesis, pytest, pytest_asyncio, sklearn, uvicorn
    wanted = sys.argv[1:] or [*MUTANTS]
    if reasons := stale():
        raise SystemExit("Bring these mutants up to date.\n" + "\n".join(reasons))
    todo = [(name, [MUTANTS[name].test], MUTANTS[name]) for name in reversed(wanted)]
    todo.append(("none", sorted({MUTANTS[name].test for name in wanted}), None))
    running: dict[int, tuple[str, tempfile.TemporaryDirectory[str]]] = {}
    found: dict[str, int] = {}
    while todo or running:
        while todo and len(running) < (os.cpu_count() or 1):
            name, tests, mutant = todo.pop()
            child, where = _start(tests, mutant)
            running[child] = name, where
        child, status = os.wait()
        name, where = running.pop(child)
        where.cleanup()
        found[name] = os.waitstatus_to_exitcode(status)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
