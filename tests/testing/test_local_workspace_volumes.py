"""Volumes as alice (may read and write), bob (may read) and carol (may nothing), with the SDK's own ways of transfer."""

from __future__ import annotations

import hashlib
import io
import time
from email.utils import formatdate

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import AlreadyExists, InvalidParameterValue, NotFound, PermissionDenied
from databricks.sdk.service.sql import StatementState
from support import client, last

from obo_kit import explain, optional_tool, requires_scopes, with_user_client
from obo_kit.testing import LocalWorkspace

ROOT = "/Volumes/main/shop/docs"


@pytest.fixture
def workspace():
    with LocalWorkspace() as workspace:
        for user in ("alice", "bob", "carol"):
            workspace.add_user(user)
        workspace.add_volume(
            "main.shop.docs", {"refunds.md": "Within 14 days.", "old/2025.bin": bytes(range(256))}, comment="Answers"
        )
        for privilege in ("READ VOLUME", "WRITE VOLUME"):
            workspace.grant("alice", privilege, "main.shop.docs")
        workspace.grant("bob", "READ VOLUME", "main.shop.docs")
        yield workspace


def files(workspace, user, **settings):
    api = client(workspace, user, scopes=["files"]).files
    for name, value in settings.items():  # the SDK's own settings of transfers, which it takes from no argument
        assert hasattr(api._config, name)
        setattr(api._config, name, value)
    return api


def paths(workspace):
    return [
        record.path for record in workspace.log.entries if record.path.startswith(("/api/2.0/fs", "/local-storage"))
    ]


def test_a_reader_reads_and_may_not_write(workspace):
    api = files(workspace, "bob")
    answer = api.download(f"{ROOT}/refunds.md")
    assert (answer.contents.read(), answer.content_length) == (b"Within 14 days.", 15)
    assert [(entry.name, entry.is_directory, entry.file_size) for entry in api.list_directory_contents(ROOT)] == [
        ("old", True, None),
        ("refunds.md", False, 15),
    ]
    assert api.get_metadata(f"{ROOT}/old/2025.bin").content_length == 256
    api.get_directory_metadata(f"{ROOT}/old")
    for change in (
        lambda: api.upload(f"{ROOT}/new.txt", io.BytesIO(b"x")),
        lambda: api.delete(f"{ROOT}/refunds.md"),
        lambda: api.create_directory(f"{ROOT}/new"),
        lambda: api.delete_directory(f"{ROOT}/old"),
    ):
        with pytest.raises(PermissionDenied, match="does not have WRITE VOLUME on Volume") as caught:
            change()
        assert explain(caught.value).reason.value == "access_denied"
        assert (last(workspace).user, last(workspace).decision) == ("bob", "missing grant")
    assert workspace.volume_file(f"{ROOT}/refunds.md") == b"Within 14 days."


def test_somebody_without_a_privilege_sees_nothing(workspace):
    api = files(workspace, "carol")
    for look in (
        lambda: api.download(f"{ROOT}/refunds.md"),
        lambda: [*api.list_directory_contents(ROOT)],
        lambda: api.get_metadata(f"{ROOT}/refunds.md"),
        lambda: api.get_directory_metadata(ROOT),
    ):
        with pytest.raises(PermissionDenied) as caught:
            look()
        assert explain(caught.value).reason.value == "access_denied"
        assert last(workspace).user == "carol"
    workspace.grant("carol", "WRITE VOLUME", "main.shop.docs")
    with pytest.raises(PermissionDenied, match="READ VOLUME"):  # a writer has to read, too
        api.upload(f"{ROOT}/new.txt", io.BytesIO(b"x"))


def test_the_scope_is_files(workspace):
    for scopes in (["sql"], ["unity-catalog"]):
        with pytest.raises(PermissionDenied, match="required scopes: files"):
            client(workspace, "alice", scopes=scopes).files.download(f"{ROOT}/refunds.md")
    assert last(workspace).scopes_missing == ("files",)


def test_a_writer_changes_files_and_directories(workspace):
    api = files(workspace, "alice")
    api.create_directory(f"{ROOT}/a/b")
    api.create_directory(f"{ROOT}/a/b")
    api.upload(f"{ROOT}/a/b/c.txt", io.BytesIO(b"one"))
    api.upload(f"{ROOT}/made/on/the/way.txt", io.BytesIO(b""))
    assert workspace.volume_file(f"{ROOT}/a/b/c.txt") == b"one"
    with pytest.raises(AlreadyExists, match="already exists"):
        api.upload(f"{ROOT}/a/b/c.txt", io.BytesIO(b"two"), overwrite=False)
    api.upload(f"{ROOT}/a/b/c.txt", io.BytesIO(b"three"), overwrite=True)
    assert api.download(f"{ROOT}/a/b/c.txt").contents.read() == b"three"
    with pytest.raises(InvalidParameterValue, match="not empty"):
        api.delete_directory(f"{ROOT}/a/b")
    api.delete(f"{ROOT}/a/b/c.txt")
    api.delete_directory(f"{ROOT}/a/b")
    with pytest.raises(NotFound):
        api.get_directory_metadata(f"{ROOT}/a/b")
    for absent in (lambda: api.download(f"{ROOT}/a/b/c.txt"), lambda: api.delete(f"{ROOT}/a/b/c.txt")):
        with pytest.raises(NotFound, match="being accessed is not found"):
            absent()


def test_large_files_go_in_parts_to_addresses_of_their_own(workspace, tmp_path):
    content = bytes(range(256)) * 16_384  # 4 MiB
    source, target = tmp_path / "in.bin", tmp_path / "out.bin"
    source.write_bytes(content)
    api = files(workspace, "alice", files_ext_multipart_upload_min_stream_size=1024 * 1024)
    api.upload_from(f"{ROOT}/big.bin", str(source), part_size=1024 * 1024)
    parts = [path for path in paths(workspace) if path.startswith("/local-storage")]
    assert len(parts) == 4
    assert hashlib.sha256(workspace.volume_file(f"{ROOT}/big.bin")).digest() == hashlib.sha256(content).digest()
    assert not workspace._volumes._uploads

    workspace.log.clear()
    ranges = {"files_ext_parallel_download_min_file_size": 1024, "files_ext_parallel_download_default_part_size": 2**20}
    files(workspace, "bob", **ranges).download_to(f"{ROOT}/big.bin", str(target), use_parallel=True, parallelism=2)
    assert target.read_bytes() == content
    assert len([path for path in paths(workspace) if path.startswith("/local-storage")]) >= 4


def test_parts_without_addresses_are_taken_too(workspace):
    """As the storage proxy has it: parts go to the Files API itself."""
    headers = {"Authorization": f"Bearer {workspace.token('alice', scopes=['files'])}"}
    url = f"{workspace.host}/api/2.0/fs/files{ROOT}/parts.txt"

    def send(method, data=None, **query):
        json = data if method == "POST" else None
        body = data if method == "PUT" else None
        return requests.request(method, url, headers=headers, params=query, json=json, data=body, timeout=60)

    token = send("POST", action="initiate-upload").json()["multipart_upload"]["session_token"]
    session = {"session_token": token, "upload_type": "multipart"}
    etags = [send("PUT", text, part_number=n, **session).headers["etag"] for n, text in ((1, b"one "), (2, b"two"))]
    wrong = [{"part_number": 1, "etag": "x"}]
    assert send("POST", {"parts": wrong}, action="complete-upload", **session).status_code == 400
    parts = [{"part_number": n, "etag": etag} for n, etag in enumerate(etags, 1)]
    assert send("POST", {"parts": parts}, action="complete-upload", **session).status_code == 200
    assert workspace.volume_file(f"{ROOT}/parts.txt") == b"one two"
    assert send("PUT", b"x", part_number=1, **session).status_code == 400  # it is over
    token = send("POST", action="initiate-upload").json()["multipart_upload"]["session_token"]
    assert send("POST", {}, action="abort-upload", session_token=token).status_code == 200
    assert send("POST", {}, action="abort-upload", session_token=token).status_code == 400
    assert send("POST", {}, action="sing", session_token=token).status_code == 400
    bob = {"Authorization": f"Bearer {workspace.token('bob', scopes=['files'])}"}
    assert requests.post(url, headers=bob, params={"action": "initiate-upload"}, timeout=60).status_code == 403


@pytest.mark.parametrize(
    ("asked", "status", "content"),
    [
        ("bytes=0-3", 206, b"With"),
        ("bytes=7-", 206, b"14 days."),
        ("bytes=-5", 206, b"days."),
        ("bytes=10-99", 206, b"days."),
        ("bytes=99-", 416, b""),
        ("words=1", 200, b"Within 14 days."),
    ],
)
def test_ranges(workspace, asked, status, content):
    headers = {"Authorization": f"Bearer {workspace.token('bob', scopes=['files'])}", "Range": asked}
    answer = requests.get(f"{workspace.host}/api/2.0/fs/files{ROOT}/refunds.md", headers=headers, timeout=60)
    assert (answer.status_code, answer.content) == (status, content)
    earlier = {**headers, "If-Unmodified-Since": formatdate(time.time() - 3600, usegmt=True)}
    url = f"{workspace.host}/api/2.0/fs/files{ROOT}/refunds.md"
    assert requests.get(url, headers=earlier, timeout=60).status_code == 412


def test_an_address_opens_what_it_is_for_until_it_expires(workspace):
    headers = {"Authorization": f"Bearer {workspace.token('bob', scopes=['files'])}"}

    def published(seconds):
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        query = {"path": f"{ROOT}/refunds.md", "expire_time": at}
        url = f"{workspace.host}/api/2.0/fs/create-download-url"
        return requests.post(url, headers=headers, params=query, timeout=60)

    address = published(60).json()["url"]
    assert requests.get(address, timeout=60).text == "Within 14 days."
    assert requests.put(address, data=b"x", timeout=60).status_code == 403
    expired = requests.get(published(-60).json()["url"], timeout=60)
    assert (expired.status_code, "Request has expired" in expired.text) == (403, True)
    assert requests.get(f"{workspace.host}/local-storage/guessed", timeout=60).status_code == 403
    carol = {"Authorization": f"Bearer {workspace.token('carol', scopes=['files'])}"}
    query = {"path": f"{ROOT}/refunds.md", "expire_time": "2030-01-01T00:00:00Z"}
    url = f"{workspace.host}/api/2.0/fs/create-download-url"
    assert requests.post(url, headers=carol, params=query, timeout=60).status_code == 403


@pytest.mark.parametrize(
    "path", ["/Volumes/main/shop", "/Users/alice/x", f"{ROOT}/../other/x", f"{ROOT}//x", "/Volumes/main/shop/docs/./x"]
)
def test_a_path_is_one_in_a_volume(workspace, path):
    headers = {"Authorization": f"Bearer {workspace.token('alice', scopes=['files'])}"}
    query = {"path": path, "expire_time": "2030-01-01T00:00:00Z"}
    url = f"{workspace.host}/api/2.0/fs/create-download-url"
    answer = requests.post(url, headers=headers, params=query, timeout=60)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_metadata_of_volumes(workspace):
    workspace.add_volume("main.shop.drafts")
    for user, seen in (("alice", ["docs"]), ("bob", ["docs"]), ("carol", [])):
        api = client(workspace, user, scopes=["unity-catalog"]).volumes
        assert [volume.name for volume in api.list("main", "shop")] == seen
    found = client(workspace, "bob", scopes=["unity-catalog"]).volumes.read("main.shop.docs")
    assert (found.full_name, found.comment, found.volume_type.value) == ("main.shop.docs", "Answers", "MANAGED")
    with pytest.raises(PermissionDenied, match="READ VOLUME on Volume"):
        client(workspace, "carol", scopes=["unity-catalog"]).volumes.read("main.shop.docs")
    with pytest.raises(NotFound, match=r"Volume .* does not exist"):
        client(workspace, "bob", scopes=["unity-catalog"]).volumes.read("main.shop.absent")
    with pytest.raises(NotFound, match=r"Volume .* does not exist"):
        files(workspace, "bob").download("/Volumes/main/shop/absent/x")


def test_privileges_of_what_it_lies_in(workspace):
    workspace.strict_privileges = True
    api = files(workspace, "bob")
    for privilege, securable in (("USE CATALOG", "main"), ("USE SCHEMA", "main.shop")):
        with pytest.raises(PermissionDenied, match=privilege):
            api.download(f"{ROOT}/refunds.md")
        workspace.grant("bob", privilege, securable)
    assert api.download(f"{ROOT}/refunds.md").contents.read() == b"Within 14 days."


def test_grants_by_statement_and_by_the_permissions_api(workspace):
    workspace.add_warehouse("wh1")
    workspace.grant("alice", "CAN USE", "wh1")
    workspace.set_owner("alice", "main.shop.docs")
    api = client(workspace, "alice")

    def run(statement):
        answer = api.statement_execution.execute_statement(statement, "wh1")
        assert answer.status.state is StatementState.SUCCEEDED, answer.status
        return answer.result.data_array if answer.result else None

    run("GRANT READ VOLUME ON VOLUME main.shop.docs TO `carol@example.com`")
    assert files(workspace, "carol").download(f"{ROOT}/refunds.md").contents.read()
    assert any("READ VOLUME" in row and "VOLUME" in row for row in run("SHOW GRANTS ON VOLUME main.shop.docs"))
    run("REVOKE READ VOLUME ON VOLUME main.shop.docs FROM `carol@example.com`")
    with pytest.raises(PermissionDenied):
        files(workspace, "carol").download(f"{ROOT}/refunds.md")
    held = api.grants.get("volume", "main.shop.docs").privilege_assignments
    assert {each.principal for each in held} == {"alice@example.com", "bob@example.com"}


def test_a_tool_reads_as_the_user(workspace, monkeypatch):
    monkeypatch.setenv("OBO_KIT_SCOPE_GUARD", "raise")

    @optional_tool(fallback="The answers are not available to you.")
    @requires_scopes("files")
    @with_user_client
    def read(client: WorkspaceClient, name: str) -> str:
        return client.files.download(f"{ROOT}/{name}").contents.read().decode()

    @requires_scopes("files")
    @with_user_client
    def write(client: WorkspaceClient, name: str, text: str) -> None:
        client.files.upload(f"{ROOT}/{name}", io.BytesIO(text.encode()), overwrite=True)

    answers = {}
    for user in ("alice", "bob", "carol"):
        with workspace.as_user(user, runtime="apps", scopes=["files"]):
            answers[user] = read("refunds.md")
    refused = "The answers are not available to you."
    assert answers == {"alice": "Within 14 days.", "bob": "Within 14 days.", "carol": refused}
    with workspace.as_user("alice", runtime="apps", scopes=["files"]):
        write("note.txt", "hello")
    assert workspace.volume_file(f"{ROOT}/note.txt") == b"hello"
    with (
        workspace.as_user("bob", runtime="apps", scopes=["files"]),
        pytest.raises(PermissionDenied, match="WRITE VOLUME"),
    ):
        write("note.txt", "bye")


def test_dbutils_lists_a_volume(workspace):
    found = client(workspace, "bob", scopes=["files"]).dbutils.fs.ls(ROOT)
    assert sorted(entry.name for entry in found) == ["old", "refunds.md"]


def test_mistakes_of_the_author_are_said(workspace):
    for name in ("docs", "main.shop", "a.b.c.d", "a.b. c"):
        with pytest.raises(ValueError, match="The name of a volume is"):
            workspace.add_volume(name)
    with pytest.raises(ValueError, match="another volume"):
        workspace.add_volume("main.shop.docs")
    for path in ("", "../x", "/"):
        with pytest.raises(ValueError, match="by its path"):
            workspace.add_volume("main.shop.more", {path: "x"})
    for path in (f"{ROOT}/absent", "/Volumes/main/shop/absent/x", "refunds.md"):
        with pytest.raises(ValueError, match="No file"):
            workspace.volume_file(path)
    api = files(workspace, "alice")
    for mistaken in (
        lambda: api.upload(f"{ROOT}/old", io.BytesIO(b"x")),
        lambda: api.upload(f"{ROOT}/refunds.md/below", io.BytesIO(b"x")),
    ):
        with pytest.raises(InvalidParameterValue):
            mistaken()
    with pytest.raises(AlreadyExists):
        api.create_directory(f"{ROOT}/refunds.md")


def test_a_file_of_a_workspace_has_volumes():
    workspace = LocalWorkspace.from_config(
        {
            "users": ["alice"],
            "volumes": {"main.shop.docs": {"files": {"a.txt": "one"}}},
            "grants": {"alice": {"READ VOLUME": "main.shop.docs"}},
        }
    )
    with workspace:
        assert files(workspace, "alice").download(f"{ROOT}/a.txt").contents.read() == b"one"
