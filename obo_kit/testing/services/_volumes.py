"""Volumes of Unity Catalog: their metadata, and their files through the Files API."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

from starlette.responses import Response

from obo_kit.testing._refusals import Refusal, RefusedError, declare
from obo_kit.testing.server._api import Answer, Api, Call
from obo_kit.testing.server._pages import page
from obo_kit.testing.server._service import Core, Mixin, Part, Service
from obo_kit.testing.services._permissions import check_granted

__all__ = ["Volumes", "VolumesMixin"]

_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"

declare(
    {
        "file_missing": Refusal(
            status=404,
            code="NOT_FOUND",
            text="The file being accessed is not found.",
            decision="not found",
            standing="reported",
            source="fid:32214372063",
        ),
        "directory_missing": Refusal(
            status=404,
            code="NOT_FOUND",
            text="The directory being accessed is not found.",
            decision="not found",
            standing="inferred",
            source="as file_missing; the reason FILES_API_DIRECTORY_IS_NOT_FOUND is Databricks' own (fid:68508154480)",
        ),
        "file_exists": Refusal(
            status=409,
            code="ALREADY_EXISTS",
            text="The file being created already exists.",
            decision="bad request",
            standing="reported",
            source="fid:70871141620",
        ),
        "directory_not_empty": Refusal(
            status=400,
            code="INVALID_PARAMETER_VALUE",
            text="The directory being deleted is not empty.",
            decision="bad request",
            standing="inferred",
            source="status, code and the reason FILES_API_DIRECTORY_IS_NOT_EMPTY: fid:200473963; the words are ours",
            details=({"@type": _ERROR_INFO, "reason": "FILES_API_DIRECTORY_IS_NOT_EMPTY"},),
        ),
    }
)

_LIMIT = 256 * 1024 * 1024
"""The maximum number of bytes of a file, or of one part of an upload."""

_BINARY = "application/octet-stream"
# On AWS, the SDK recognizes by this answer that it has to ask for another address.
_EXPIRED = "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, kw_only=True)
class _File:
    content: bytes
    modified: float


@dataclass(kw_only=True)
class _Volume:
    name: str
    id: str
    comment: str
    files: dict[str, _File] = field(default_factory=dict)
    # Paths in the volume, without a slash at either end. The volume itself is the empty path.
    directories: set[str] = field(default_factory=lambda: {""})


@dataclass(frozen=True, kw_only=True)
class _Upload:
    """An upload in parts: where it goes, and whether it may replace a file."""

    volume: _Volume
    path: str
    overwrite: bool
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Address:
    """An address that carries its own authorization, like those of cloud storage."""

    expires: float
    file: tuple[_Volume, str] | None = None
    upload: _Upload | None = None
    number: int = 0


class Volumes(Service):
    """The volumes of one workspace and their files. Lives as long as the workspace; thread-safe."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lock = threading.RLock()
        self._volumes: dict[str, _Volume] = {}
        self._uploads: dict[str, _Upload] = {}
        self._addresses: dict[str, _Address] = {}

    def add(self, name: str, files: Mapping[str, str | bytes], *, comment: str) -> None:
        """Add a volume; see ``LocalWorkspace.add_volume``."""
        parts = name.lower().split(".")
        if len(parts) != 3 or not all(re.fullmatch(r"[^\s./]+", part) for part in parts):
            msg = f"The name of a volume is catalog.schema.volume, not {name!r}"
            raise ValueError(msg)
        volume = _Volume(name=name.lower(), id=secrets.token_hex(16), comment=comment)
        for path, content in files.items():
            if not path.strip("/") or ".." in path.split("/") or not isinstance(content, (str, bytes)):
                msg = f"files= takes the content of each file by its path in the volume, not {path!r}"
                raise ValueError(msg)
            self._write(volume, path.strip("/"), content.encode() if isinstance(content, str) else content)
        self._core.grants.register("volume", volume.name)
        with self._lock:
            self._volumes[volume.name] = volume

    def content(self, path: str) -> bytes:
        """Return the content of a file; see ``LocalWorkspace.volume_file``."""
        match = re.fullmatch(r"/Volumes/([^/]+)/([^/]+)/([^/]+)/(.+)", path)
        with self._lock:
            volume = self._volumes.get(".".join(match.groups()[:3]).lower()) if match else None
            file = volume.files.get(match[4]) if volume and match else None
        if file is None:
            msg = f"No file {path!r} in this workspace"
            raise ValueError(msg)
        return file.content

    def apis(self) -> list[Api]:
        """Return the routes."""
        files, directories = "/api/2.0/fs/files/{path:path}", "/api/2.0/fs/directories/{path:path}"
        unity, storage = "/api/2.1/unity-catalog/volumes", "/local-storage/{address}"
        return [
            Api(method="GET", path=unity, handler=self._list),
            Api(method="GET", path=unity + "/{name}", handler=self._get),
            # Without a route of its own, Starlette would treat a HEAD as a GET.
            Api(method="HEAD", path=files, handler=self._file_metadata),
            Api(method="GET", path=files, handler=self._download),
            Api(method="PUT", path=files, handler=self._upload, limit=_LIMIT),
            Api(method="POST", path=files, handler=self._multipart),
            Api(method="DELETE", path=files, handler=self._delete_file),
            Api(method="HEAD", path=directories, handler=self._directory_metadata),
            Api(method="GET", path=directories, handler=self._list_directory),
            Api(method="PUT", path=directories, handler=self._create_directory),
            Api(method="DELETE", path=directories, handler=self._delete_directory),
            Api(method="POST", path="/api/2.0/fs/create-download-url", handler=self._download_address),
            Api(method="POST", path="/api/2.0/fs/create-upload-part-urls", handler=self._part_addresses),
            Api(method="GET", path=storage, handler=self._stored, open=True),
            Api(method="PUT", path=storage, handler=self._store_part, open=True, limit=_LIMIT),
        ]

    # ------------------------------------------------------------------ metadata

    def _list(self, call: Call) -> Answer:
        place = f"{call.query.get('catalog_name', '')}.{call.query.get('schema_name', '')}.".lower()
        with self._lock:
            volumes = [self._volumes[name] for name in sorted(self._volumes) if name.startswith(place)]
        seen = [_info(each) for each in volumes if self._core.grants.sees(call.user.principal, "volume", each.name)]
        return page(call, "volumes", seen)

    def _get(self, call: Call) -> Answer:
        name = call.params["name"].lower()
        volume = self._volumes.get(name)
        if volume is None:
            raise RefusedError("uc_missing", kind="Volume", name=name)
        if not self._core.grants.holds(call.user.principal, "WRITE VOLUME", "volume", name):
            check_granted(self._core.grants, call.user.principal, "READ VOLUME", "volume", name)
        return Answer(content=_info(volume))

    # ------------------------------------------------------------------ files

    def _file_metadata(self, call: Call) -> Answer:
        file = self._file(*self._place(call, "/" + call.params["path"]))
        return _empty(200, {"content-length": str(len(file.content)), **_headers(file)})

    def _download(self, call: Call) -> Answer:
        return _ranged(call, self._file(*self._place(call, "/" + call.params["path"])))

    def _upload(self, call: Call) -> Answer:
        path = "/" + call.params["path"]
        if "session_token" in call.query:
            upload = self._session(call, path, call.query["session_token"])
            return self._part(upload, call.query.get("part_number", ""), call.raw)
        volume, inside = self._place(call, path, write=True)
        self._check_new(volume, inside, call.query.get("overwrite") != "false")
        self._write(volume, inside, call.raw)
        return _empty(204)

    def _delete_file(self, call: Call) -> Answer:
        volume, path = self._place(call, "/" + call.params["path"], write=True)
        with self._lock:
            self._file(volume, path)
            del volume.files[path]
        return _empty(204)

    def _multipart(self, call: Call) -> Answer:
        path, action = "/" + call.params["path"], call.query.get("action", "")
        if action == "initiate-upload":
            volume, inside = self._place(call, path, write=True)
            overwrite = call.query.get("overwrite") != "false"
            self._check_new(volume, inside, overwrite)
            token = secrets.token_urlsafe(24)
            self._uploads[token] = _Upload(volume=volume, path=inside, overwrite=overwrite)
            return Answer(content={"multipart_upload": {"session_token": token}})
        token = call.query.get("session_token", "")
        upload = self._session(call, path, token)
        if action == "complete-upload":
            self._complete(upload, call.json().get("parts"))
        elif action != "abort-upload":
            raise RefusedError("invalid_parameter", detail="action is initiate-upload, complete-upload or abort-upload")
        self._uploads.pop(token, None)
        return Answer(content={})

    def _complete(self, upload: _Upload, parts: Any) -> None:
        try:
            content = [(upload.parts[int(part["part_number"])], part["etag"]) for part in parts]
        except (KeyError, TypeError, ValueError):
            content = []
        if not content or any(_etag(data) != etag for data, etag in content):
            raise RefusedError("invalid_parameter", detail="parts has the number and etag of each part that was sent")
        self._check_new(upload.volume, upload.path, upload.overwrite)
        self._write(upload.volume, upload.path, b"".join(data for data, _ in content))

    # ------------------------------------------------------------------ directories

    def _directory_metadata(self, call: Call) -> Answer:
        volume, path = self._place(call, "/" + call.params["path"])
        if path not in volume.directories:
            raise RefusedError("directory_missing")
        return _empty(200)

    def _list_directory(self, call: Call) -> Answer:
        volume, path = self._place(call, "/" + call.params["path"])
        if path not in volume.directories:
            raise RefusedError("directory_missing")
        with self._lock:
            entries = [
                *(_entry(volume, each, None) for each in volume.directories if each and _parent(each) == path),
                *(_entry(volume, each, file) for each, file in volume.files.items() if _parent(each) == path),
            ]
        return page(call, "contents", sorted(entries, key=lambda entry: entry["name"]), size="page_size")

    def _create_directory(self, call: Call) -> Answer:
        volume, path = self._place(call, "/" + call.params["path"], write=True)
        with self._lock:
            if path in volume.files:
                raise RefusedError("file_exists")
            self._make_directories(volume, path)
        return _empty(204)

    def _delete_directory(self, call: Call) -> Answer:
        volume, path = self._place(call, "/" + call.params["path"], write=True)
        with self._lock:
            if path not in volume.directories:
                raise RefusedError("directory_missing")
            if not path or any(_parent(each) == path for each in (*volume.files, *volume.directories) if each):
                raise RefusedError("directory_not_empty")
            volume.directories.discard(path)
        return _empty(204)

    # ------------------------------------------------------------------ addresses of storage

    def _download_address(self, call: Call) -> Answer:
        volume, path = self._place(call, call.query.get("path", ""))
        self._file(volume, path)
        address = _Address(expires=_moment(call.query.get("expire_time")), file=(volume, path))
        return Answer(content={"url": self._published(address), "headers": []})

    def _part_addresses(self, call: Call) -> Answer:
        body = call.json()
        upload = self._session(call, call.text(body, "path"), call.text(body, "session_token"))
        first, count = body.get("start_part_number"), body.get("count")
        if not isinstance(first, int) or not isinstance(count, int) or not 0 < count <= 1000:
            raise RefusedError("invalid_parameter", detail="start_part_number and count are numbers")
        expires = _moment(body.get("expire_time"))
        urls = [
            {"part_number": number, "url": self._published(_Address(expires=expires, upload=upload, number=number))}
            for number in range(first, first + count)
        ]
        return Answer(content={"upload_part_urls": [{**each, "headers": []} for each in urls]})

    def _published(self, address: _Address) -> str:
        key = secrets.token_urlsafe(24)
        self._addresses[key] = address
        return f"{self._core.host()}/local-storage/{key}"

    def _stored(self, call: Call) -> Answer:
        address = self._addresses.get(call.params["address"])
        if address is None or address.file is None or address.expires < time.time():
            return _no_longer_signed(address)
        return _ranged(call, self._file(*address.file))

    def _store_part(self, call: Call) -> Answer:
        address = self._addresses.get(call.params["address"])
        if address is None or address.upload is None or address.expires < time.time():
            return _no_longer_signed(address)
        return self._part(address.upload, str(address.number), call.raw)

    @staticmethod
    def _part(upload: _Upload, number: str, content: bytes) -> Answer:
        if not number.isdecimal():
            raise RefusedError("invalid_parameter", detail="part_number is a number")
        upload.parts[int(number)] = content
        return _empty(200, {"etag": _etag(content)})

    def _session(self, call: Call, path: str, token: str) -> _Upload:
        volume, inside = self._place(call, path, write=True)
        upload = self._uploads.get(token)
        if upload is None or upload.volume is not volume or upload.path != inside:
            raise RefusedError("invalid_parameter", detail="session_token is none of an upload to this path")
        return upload

    # ------------------------------------------------------------------ looking things up

    def _place(self, call: Call, path: str, *, write: bool = False) -> tuple[_Volume, str]:
        """Return the volume of a path, and the path in it, if the caller may read it, or read and write it.

        Writing needs READ VOLUME too, as was reported (fid:59127105578).
        """
        parts = path.strip("/").split("/")
        if len(parts) < 4 or parts[0] != "Volumes" or "" in parts or {".", ".."} & set(parts):
            detail = "The path is an absolute one in a volume: /Volumes/catalog/schema/volume/…"
            raise RefusedError("invalid_parameter", detail=detail)
        name = ".".join(parts[1:4]).lower()
        volume = self._volumes.get(name)
        if volume is None:
            raise RefusedError("uc_missing", kind="Volume", name=name)
        for privilege in ("READ VOLUME", "WRITE VOLUME")[: 1 + write]:
            check_granted(self._core.grants, call.user.principal, privilege, "volume", name)
        return volume, "/".join(parts[4:])

    @staticmethod
    def _file(volume: _Volume, path: str) -> _File:
        file = volume.files.get(path)
        if file is None:
            raise RefusedError("file_missing")
        return file

    @staticmethod
    def _check_new(volume: _Volume, path: str, overwrite: bool) -> None:
        if path in volume.directories:
            raise RefusedError("invalid_parameter", detail="The path is that of a directory")
        if path in volume.files and not overwrite:
            raise RefusedError("file_exists")

    def _write(self, volume: _Volume, path: str, content: bytes) -> None:
        with self._lock:
            self._make_directories(volume, _parent(path))
            volume.files[path] = _File(content=content, modified=time.time())

    @staticmethod
    def _make_directories(volume: _Volume, path: str) -> None:
        parts = path.split("/")
        above = ["/".join(parts[: end + 1]) for end in range(len(parts))]
        if any(each in volume.files for each in above):
            raise RefusedError("invalid_parameter", detail="A part of the path is a file")
        volume.directories.update(above)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _moment(text: object) -> float:
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()
    except ValueError:
        raise RefusedError("invalid_parameter", detail="expire_time is a timestamp") from None


def _headers(file: _File) -> dict[str, str]:
    return {"content-type": _BINARY, "last-modified": formatdate(file.modified, usegmt=True), "accept-ranges": "bytes"}


def _empty(status: int, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(content=Response(b"", status, headers=dict(headers or {})))


def _ranged(call: Call, file: _File) -> Answer:
    """Answer with a file, or with the requested range of it (RFC 9110, one range of bytes)."""
    since = call.headers.get("if-unmodified-since")
    if since is not None and int(file.modified) > parsedate_to_datetime(since).timestamp():
        return _empty(412)
    size, headers = len(file.content), _headers(file)
    match = _RANGE.fullmatch(call.headers.get("range", ""))
    if match is None or match[1] == match[2] == "":
        return Answer(content=Response(file.content, headers=headers))
    if match[1] == "":
        first, last = max(size - int(match[2]), 0), size - 1
    else:
        first, last = int(match[1]), min(int(match[2]) if match[2] else size - 1, size - 1)
    if first > last:
        return _empty(416, {"content-range": f"bytes */{size}"})
    headers["content-range"] = f"bytes {first}-{last}/{size}"
    return Answer(content=Response(file.content[first : last + 1], 206, headers=headers))


def _entry(volume: _Volume, path: str, file: _File | None) -> dict[str, Any]:
    whole = "/Volumes/" + volume.name.replace(".", "/") + "/" + path
    entry: dict[str, Any] = {"path": whole, "name": path.rpartition("/")[2], "is_directory": file is None}
    if file is not None:
        entry |= {"file_size": len(file.content), "last_modified": int(file.modified * 1000)}
    return entry


def _info(volume: _Volume) -> dict[str, Any]:
    catalog, schema, name = volume.name.split(".")
    return {
        "name": name,
        "catalog_name": catalog,
        "schema_name": schema,
        "full_name": volume.name,
        "volume_id": volume.id,
        "volume_type": "MANAGED",
        "comment": volume.comment,
        "storage_location": f"s3://local/{volume.id}",
    }


class VolumesMixin(Mixin):
    """Volumes of Unity Catalog."""

    _volumes = Part(Volumes)

    def add_volume(self, name: str, files: Mapping[str, str | bytes] | None = None, *, comment: str = "") -> None:
        """Add a volume of Unity Catalog. ``client.files`` reads its files with READ VOLUME and writes them with WRITE VOLUME.

        Args:
            name: ``catalog.schema.volume``.
            files: Its contents: content by path in the volume, such as ``{"faq/refunds.md": "…"}``. Text becomes UTF-8.
            comment: Its description.

        Raises:
            ValueError: The name is malformed or taken, or a path leads out of the volume.
        """
        self._volumes.add(name, files or {}, comment=comment)

    def volume_file(self, path: str) -> bytes:
        """Return the content of a file, so that a test can check what was written.

        Args:
            path: ``/Volumes/catalog/schema/volume/…``.

        Raises:
            ValueError: There is no such file.
        """
        return self._volumes.content(path)


def _no_longer_signed(address: _Address | None) -> Answer:
    """Refuse an address as a cloud's storage does, which says the same of a guessed one and of one that has expired."""
    decision = "invalid token" if address is None else "expired token"
    return Answer(content=Response(_EXPIRED, 403, media_type="application/xml"), decision=decision)
