"""Patch a module when it is imported, once, and a class in place.

Loading those packages takes longer than a request, so the kit does not load them. It waits until their users import them.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

__all__: list[str] = []

_PATCHED = "obo_kit_patched"


def once(patch: Callable[..., None]) -> Callable[..., None]:
    """Make a patch skip a module that was patched before."""

    @functools.wraps(patch)
    def patch_once(module: Any, *parts: Any) -> None:
        if not getattr(module, _PATCHED, False):
            setattr(module, _PATCHED, True)
            patch(module, *parts)

    return patch_once


def when_imported(patches: Mapping[str, Callable[[Any], None]]) -> None:
    """Call each patch with the module of its name: now, if that is imported already, or when it is."""
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    for name, patch in patches.items():
        if name not in _FINDER.patches:
            _FINDER.patches[name] = patch
        module = sys.modules.get(name)
        if module is not None and not getattr(module, _PATCHED, False):
            patch(module)


class _Finder(MetaPathFinder):
    """Patches modules at their import: it lets the other finders find them, and patches what was loaded."""

    def __init__(self) -> None:
        self.patches: dict[str, Callable[[Any], None]] = {}

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        patch = self.patches.get(fullname)
        if patch is None:
            return None
        others = (finder.find_spec(fullname, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, others), None)
        loader: Any = spec.loader if spec is not None else None
        if loader is not None:
            load = loader.exec_module

            def exec_module(module: Any) -> None:
                load(module)
                patch(module)

            loader.exec_module = exec_module
        return spec


_FINDER = _Finder()


def after_init(kind: Any, act: Callable[[Any], None]) -> None:
    """Make a class call a function with each of its objects, once the object is built."""
    theirs = kind.__init__

    @functools.wraps(theirs)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        theirs(self, *args, **kwargs)
        act(self)

    kind.__init__ = __init__


def in_place_of(
    theirs: Callable[..., Any], whose: Callable[[Any], Any], make: Callable[[Any, bool], Any]
) -> Callable[..., Any]:
    """Return a maker of HTTP clients that builds the user's client for a user's object, and the original one otherwise.

    Args:
        theirs: The original maker.
        whose: Returns the credentials of the user that an object belongs to; `None` if it belongs to no user.
        make: Makes the client for these credentials. Its second argument says whether to follow redirects.
    """

    @functools.wraps(theirs)
    def made(source: Any, *args: Any, **kwargs: Any) -> Any:
        credentials = whose(source)
        if credentials is None:
            return theirs(source, *args, **kwargs)
        # The older versions cannot be asked, and do not follow redirects.
        follow = args[0] if args else kwargs.get("follow_redirects", theirs.__defaults__ is not None)
        return make(credentials, bool(follow))

    return made
