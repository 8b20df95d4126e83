"""A server that answers every request as it is told, for the tests of what people met."""

from __future__ import annotations

import json
from dataclasses import dataclass, field


@dataclass
class Server:
    """Answers every request alike."""

    host: str
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def refuse(self, status: int, text: str, code: object = None, details: object = None, **headers: str) -> None:
        body = {"message": text, **({"error_code": code} if code else {}), **({"details": details} if details else {})}
        self.status, self.body, self.headers = status, json.dumps(body).encode(), {"Content-Type": "application/json"}
        self.headers |= headers

    def say(self, status: int, text: str, **headers: str) -> None:
        self.status, self.body, self.headers = status, text.encode(), {"Content-Type": "text/plain", **headers}
