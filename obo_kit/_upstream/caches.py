"""Find the caches that keep the running code's answer for the next caller, and read what their keys are made of.

On a miss, a cache runs its function in the thread or task of the caller, so its own frame shows the key. LangGraph runs tools
in threads and tasks of its own, and says in a context variable which task of a graph it is. `functools.lru_cache` has no frame.
Read in streamlit 1.67, langgraph 1.2, joblib 1.6, cachetools 7.3, diskcache 5.6, aiocache 0.12.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

__all__: list[str] = []


@dataclass(frozen=True, slots=True)
class Cached:
    """A function that runs for a cache.

    Attributes:
        cache: The cache's name for its users.
        function: The name of the function.
        key: The values that the key is made of.
        fix: How to make the user a part of it.
    """

    cache: str
    function: str
    key: tuple[Any, ...]
    fix: str = "Pass session.cache_key as an argument that the cache hashes, or remove the cache."


def caches_above() -> Iterator[Cached]:
    """Yield the caches that keep the running code's answer."""
    if sys.modules.keys().isdisjoint(_PACKAGES):
        return
    task = _running_task_of_a_graph()
    if task is not None and (cached := _read(_langgraph, {"task": task})) is not None:
        yield cached
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in _NAMES:
            read = _READERS.get((frame.f_globals.get("__name__"), frame.f_code.co_name))
            cached = _read(read, frame.f_locals) if read is not None else None
            if cached is not None:
                yield cached
        frame = frame.f_back


def _running_task_of_a_graph() -> Any:
    with contextlib.suppress(Exception):  # no graph runs, or another version keeps it elsewhere
        run = sys.modules["langchain_core.runnables.config"].var_child_runnable_config.get()
        return run["configurable"]["__pregel_call"].args[0]()
    return None


def _read(read: Callable[[Any], Cached | None], variables: Any) -> Cached | None:
    with contextlib.suppress(Exception):  # another version has other variables
        return read(variables)
    return None


def _hashed(function: Any, args: Any, kwargs: Any, leaves_out: Callable[[str], bool]) -> tuple[Any, ...]:
    """Return the arguments of a call that a key is made of."""
    bound = inspect.signature(function).bind_partial(*args, **kwargs)
    return tuple(value for name, value in bound.arguments.items() if not leaves_out(name))


def _streamlit(variables: Any) -> Cached | None:
    info = variables["self"]._info
    if getattr(info, "scope", "global") != "global":
        return None  # each browser has its own
    key = _hashed(info.func, variables["func_args"], variables["func_kwargs"], lambda name: name.startswith("_"))
    hashed = {
        name if isinstance(name, str) else f"{name.__module__}.{name.__qualname__}" for name in info.hash_funcs or ()
    }
    key = tuple(value for value in key if f"{type(value).__module__}.{type(value).__qualname__}" not in hashed)
    return Cached(f"st.cache_{info.cache_type.value.lower()}", info.func.__name__, key, _STREAMLIT_FIX)


_STREAMLIT_FIX = (
    "Pass the client or session.cache_key as an argument without '_' before its name (Streamlit leaves the others out of its "
    "key), or remove the cache."
)


def _langgraph(variables: Any) -> Cached | None:
    task = variables["task"]
    if task.cache_key is None or not _is_default_key(task):
        return None
    return Cached("LangGraph's CachePolicy", task.name, (task.input,), _KEY_FUNC)


_KEY_FUNC = (
    'Let the key hold the user: CachePolicy(key_func=lambda state: f"{current_session().cache_key} {state}"). Or remove the '
    "policy."
)


def _is_default_key(task: Any) -> bool:
    """Return whether LangGraph's own function made a task's key. An author's may include the user, which its hash hides."""
    default = inspect.signature(sys.modules["langgraph.types"].CachePolicy).parameters["key_func"].default
    hash_of = sys.modules["langgraph.pregel._algo"].xxh3_128_hexdigest
    calls: list[Any] = [((task.input,), {})]
    if isinstance(task.input, tuple) and len(task.input) == 2 and isinstance(task.input[1], dict):
        calls.append(task.input)  # a task of the functional API
    return any(hash_of(default(*args, **kwargs)) == task.cache_key.key for args, kwargs in calls)


def _joblib(variables: Any) -> Cached:
    memorized = variables["self"]
    key = _hashed(memorized.func, variables["args"], variables["kwargs"], memorized.ignore.__contains__)
    return Cached("joblib.Memory", memorized.func.__name__, key)


def _cachetools(variables: Any) -> Cached:
    return Cached("cachetools", variables["func"].__name__, (variables["k"],))


def _cachetools_method(variables: Any) -> Cached:
    """Read a method's cache. Its object tells users apart if it holds the user, as a helper of one request does."""
    owner = variables["self"]
    owner = getattr(owner, "_obj", owner)
    cache = variables["c"] if "c" in variables else variables["cache"]
    kept = [value for value in getattr(owner, "__dict__", {}).values() if value is not cache]
    key = variables["k"] if "k" in variables else variables["key"]
    return Cached("cachetools", variables["method"].__name__, (key, kept))


def _diskcache(variables: Any) -> Cached:
    return Cached("diskcache", variables.get("func", variables["wrapper"]).__name__, (variables["key"],))


def _aiocache(variables: Any) -> Cached:
    return Cached("aiocache", variables["f"].__name__, (variables["key"],))


_READERS: dict[tuple[Any, str], Callable[[Any], Cached | None]] = {
    ("streamlit.runtime.caching.cache_utils", "_handle_cache_miss"): _streamlit,
    ("streamlit.runtime.caching.cache_utils", "_handle_cache_miss_async"): _streamlit,
    ("langgraph.pregel._retry", "run_with_retry"): _langgraph,
    ("langgraph.pregel._retry", "arun_with_retry"): _langgraph,
    ("joblib.memory", "_cached_call"): _joblib,
    ("cachetools", "wrapper"): lambda variables: (_cachetools_method if "self" in variables else _cachetools)(
        variables
    ),
    ("cachetools._cachedmethod", "wrapper"): _cachetools_method,
    ("cachetools._cachedmethod", "__call__"): _cachetools_method,
    ("cachetools._cached", "wrapper"): _cachetools,
    ("diskcache.core", "wrapper"): _diskcache,
    ("diskcache.recipes", "wrapper"): _diskcache,
    ("aiocache.decorators", "decorator"): _aiocache,
}
_PACKAGES = tuple(sorted({module for module, _ in _READERS}))
_NAMES = frozenset(name for _, name in _READERS)
