"""A page on this machine to ask an agent as several users, and to see the requests that it really sends.

``obo-kit playground agent.py`` serves it; `Playground` is the same for a program.
"""

from __future__ import annotations

from obo_kit.cli.playground._playground import Playground

__all__ = ["Playground"]
