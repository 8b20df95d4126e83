"""Decide which Databricks Apps a user's token may go to: those that the author lists, and those that the workspace lists.

Anybody with a Databricks account can have a host under ``databricksapps.com``, so the name proves nothing.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import requests

from obo_kit.clients._connections import pool, proxies_for, shared

if TYPE_CHECKING:
    from obo_kit.identity._credentials import Lease

__all__: list[str] = []

VARIABLE: Final = "OBO_KIT_APPS"
"""URLs of apps, separated by commas or white space."""
_URL = re.compile(r"https://([a-z0-9-]+)(?:\.[a-z0-9-]+)*\.databricksapps\.com(?::443)?", re.IGNORECASE)
_SECONDS: Final = 300.0  # how long the workspace's answer is used


def may_be_app(url: str) -> bool:
    """Return whether a URL may be an app's, by its spelling: https, no port and no user name."""
    parts = urlsplit(url)
    return _URL.fullmatch(f"{parts.scheme}://{parts.netloc}") is not None


def trusts_app(lease: Lease, url: str) -> bool:
    """Return whether a URL belongs to an app that the author or the workspace lists."""
    return may_be_app(url) and (_is_listed_by_author(url) or _is_listed_by_workspace(lease, url))


def is_known(lease: Lease, url: str) -> bool:
    """Return whether `trusts_app` can answer without asking the workspace."""
    return not may_be_app(url) or _is_listed_by_author(url) or _answer(lease.host(), _host(url)) is not None


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").lower()


def _is_listed_by_author(url: str) -> bool:
    listed = re.split(r"[,\s]+", os.environ.get(VARIABLE, ""))
    return _host(url) in {_host(each if "//" in each else f"https://{each}") for each in listed if each}


def _answer(workspace: str, host: str) -> bool | None:
    listed, until = shared().apps.get((workspace, host), (None, 0.0))
    return listed if time.monotonic() < until else None


def _is_listed_by_workspace(lease: Lease, url: str) -> bool:
    """Ask the workspace, as the user, for the app of this name. Return whether this is its URL."""
    workspace, token = lease.credentials()
    host = _host(url)
    listed = _answer(workspace, host)
    if listed is None:
        name = host.partition(".")[0].rpartition("-")[0]  # <name>-<workspace id>.<cloud>.databricksapps.com
        listed = bool(name) and _url_of_app(workspace, token, name) == host
        shared().apps[workspace, host] = (listed, time.monotonic() + _SECONDS)
    return listed


def _url_of_app(workspace: str, token: str, name: str) -> str | None:
    headers = {"Authorization": f"Bearer {token}"}
    request = requests.Request("GET", f"{workspace}/api/2.0/apps/{name}", headers=headers).prepare()
    try:
        answer = pool().send(request, timeout=(2.0, 5.0), proxies=proxies_for(workspace))
        url = answer.json().get("url") if answer.status_code == requests.codes["ok"] else None
    except Exception:  # an app that cannot be looked up is not listed, and no error may keep the request (rule 8)
        return None
    return _host(url) if isinstance(url, str) and may_be_app(url) else None
