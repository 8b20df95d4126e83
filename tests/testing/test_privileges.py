"""Privileges of Unity Catalog in the local workspace: strictly, inherited, owned, in groups of groups, by SQL and API."""

from __future__ import annotations

import pytest
from databricks.sdk.errors import InvalidParameterValue, NotFound, PermissionDenied
from databricks.sdk.service.catalog import PermissionsChange, Privilege
from databricks.sdk.service.sql import StatementState
from support import client, last, rows, sql

from obo_kit.testing import LocalWorkspace

READ = "SELECT id FROM main.shop.orders"


@pytest.fixture
def workspace():
    with LocalWorkspace() as workspace:
        for user in ("alice", "bob", "carol"):
            workspace.add_user(user, groups=["emea"] if user == "carol" else [])
        workspace.add_warehouse("wh1")
        workspace.grant("users", "CAN USE", "wh1")
        workspace.add_table("main.shop.orders", [{"id": 1}])
        workspace.add_table("main.shop.prices", [{"id": 1}])
        workspace.add_function("main.shop.twice", "2 * x", parameters={"x": "INT"}, returns="INT")
        yield workspace


def message(answer):
    assert answer.status.state is StatementState.FAILED, answer
    return answer.status.error.message


def works(answer):
    assert answer.status.state is StatementState.SUCCEEDED, answer.status
    return answer


def test_without_strict_privileges_select_is_enough(workspace):
    workspace.grant("alice", "SELECT", "main.shop.orders")
    assert workspace.strict_privileges is False
    assert rows(sql(workspace, "alice", READ)) == [["1"]]
    assert [each.name for each in client(workspace, "alice").catalogs.list()] == ["main"]


def test_strictly_the_catalog_and_the_schema_are_needed_too(workspace):
    workspace.strict_privileges = True
    workspace.grant("alice", "SELECT", "main.shop.orders")
    workspace.grant("alice", "EXECUTE", "main.shop.twice")
    for privilege, kind, name in (("USE CATALOG", "Catalog", "main"), ("USE SCHEMA", "Schema", "main.shop")):
        text = f"User does not have {privilege} on {kind} '{name}'."
        refused = message(sql(workspace, "alice", READ))
        assert refused == f"[INSUFFICIENT_PERMISSIONS] Insufficient privileges:\n{text} SQLSTATE: 42501"
        assert (last(workspace).user, last(workspace).decision) == ("alice", "missing grant")
        assert text in message(sql(workspace, "alice", "SELECT main.shop.twice(1)"))
        with pytest.raises(PermissionDenied, match=text):
            client(workspace, "alice").tables.get("main.shop.orders")
        with pytest.raises(PermissionDenied, match=text):
            client(workspace, "alice").functions.get("main.shop.twice")
        assert list(client(workspace, "alice").tables.list("main", "shop")) == []
        workspace.grant("alice", privilege, name)
    assert rows(sql(workspace, "alice", READ)) == [["1"]]
    assert rows(sql(workspace, "alice", "SELECT main.shop.twice(1)")) == [["2"]]
    assert [each.full_name for each in client(workspace, "alice").tables.list("main", "shop")] == ["main.shop.orders"]
    workspace.revoke("alice", "USE CATALOG", "main")
    assert "USE CATALOG" in message(sql(workspace, "alice", READ))


@pytest.mark.parametrize("how", ["argument", "config"])
def test_strictness_is_an_argument_and_a_setting_of_the_file(how):
    config = {"strict_privileges": True, "users": ["alice"]}
    workspace = LocalWorkspace(strict_privileges=True) if how == "argument" else LocalWorkspace.from_config(config)
    assert workspace.strict_privileges is True
    with pytest.raises(ValueError, match="True or False"):
        workspace.strict_privileges = "yes"


@pytest.mark.parametrize(
    ("privilege", "securable"),
    [
        ("SELECT", "main"),
        ("SELECT", "main.shop"),
        ("ALL PRIVILEGES", "main"),
        ("ALL PRIVILEGES", "main.shop"),
        ("ALL_PRIVILEGES", "main.shop.orders"),
    ],
)
def test_privileges_are_inherited_and_all_privileges_holds_each(workspace, privilege, securable):
    assert "42501" in message(sql(workspace, "alice", READ))
    workspace.grant("alice", privilege, securable)
    assert rows(sql(workspace, "alice", READ)) == [["1"]]
    assert "42501" in message(sql(workspace, "bob", READ))
    workspace.revoke("alice", privilege, securable)
    assert "42501" in message(sql(workspace, "alice", READ))


def test_manage_grants_but_does_not_read(workspace):
    workspace.grant("alice", "MANAGE", "main.shop")
    assert "SELECT on Table" in message(sql(workspace, "alice", READ))
    works(sql(workspace, "alice", "GRANT SELECT ON TABLE main.shop.orders TO bob"))
    assert rows(sql(workspace, "bob", READ)) == [["1"]]


def test_an_owner_holds_everything_on_what_is_theirs(workspace):
    workspace.set_owner("alice", "main.shop.orders")
    assert rows(sql(workspace, "alice", READ)) == [["1"]]
    works(sql(workspace, "alice", "INSERT INTO main.shop.orders VALUES (2)"))
    works(sql(workspace, "alice", "GRANT SELECT ON main.shop.orders TO `carol@example.com`"))
    assert rows(sql(workspace, "carol", f"{READ} ORDER BY id")) == [["1"], ["2"]]
    assert "MANAGE on Table" in message(sql(workspace, "carol", "GRANT SELECT ON main.shop.orders TO bob"))
    assert "SELECT on Table" in message(sql(workspace, "alice", "SELECT * FROM main.shop.prices"))
    works(sql(workspace, "alice", "DROP TABLE main.shop.orders"))
    assert "42P01" in message(sql(workspace, "alice", READ))


def test_groups_are_in_groups(workspace):
    workspace.add_group("emea", groups=["staff"])
    workspace.add_group("staff", groups=["everybody-here"])
    workspace.grant("everybody-here", "SELECT", "main.shop.orders")
    assert rows(sql(workspace, "carol", READ)) == [["1"]]
    assert "42501" in message(sql(workspace, "bob", READ))
    asked = "SELECT is_account_group_member('everybody-here')"
    assert rows(sql(workspace, "carol", asked)) == [["true"]]
    assert rows(sql(workspace, "bob", asked)) == [["false"]]
    workspace.add_user("dan", groups=["emea"])
    assert rows(sql(workspace, "dan", READ)) == [["1"]]


@pytest.mark.parametrize(
    ("name", "groups", "text"),
    [
        ("staff", ["emea"], "cannot be in itself"),
        ("a", ["a"], "cannot be in itself"),
        ("emea", [], "name of its own"),
        ("users", [], "name of its own"),
        ("alice", [], "name of its own"),
        ("x", "staff", "names in a list"),
    ],
)
def test_a_group_that_cannot_be_is_refused(workspace, name, groups, text):
    workspace.add_group("emea", groups=["staff"])
    with pytest.raises(ValueError, match=text):
        workspace.add_group(name, groups=groups)


def test_grant_and_revoke_statements_change_the_same_grants(workspace):
    workspace.grant("alice", "MANAGE", "main")
    for statement in (
        "GRANT USE CATALOG ON CATALOG main TO `bob@example.com`",
        "GRANT USE SCHEMA, SELECT ON SCHEMA main.shop TO bob",
        "GRANT EXECUTE ON FUNCTION main.shop.twice TO emea",
    ):
        works(sql(workspace, "alice", statement))
    workspace.strict_privileges = True
    assert rows(sql(workspace, "bob", READ)) == [["1"]]
    assert rows(sql(workspace, "alice", "SHOW GRANTS `bob@example.com` ON SCHEMA main.shop")) == [
        ["bob@example.com", "SELECT", "SCHEMA", "main.shop"],
        ["bob@example.com", "USE SCHEMA", "SCHEMA", "main.shop"],
    ]
    works(sql(workspace, "alice", "REVOKE SELECT ON SCHEMA main.shop FROM bob"))
    assert "SELECT on Table" in message(sql(workspace, "bob", READ))


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("GRANT SELECT ON TABLE main.shop.orders TO alice", "MANAGE on Table 'main.shop.orders'"),
        ("GRANT USE CATALOG ON CATALOG main TO bob", "MANAGE on Catalog 'main'"),
        ("GRANT SELECT ON TABLE main.shop.absent TO bob", "42P01"),
        ("GRANT SELECT ON SCHEMA main.absent TO bob", "42704"),
        ("GRANT SELECT ON MODEL main.shop.files TO bob", "0A000"),
        ("ALTER TABLE main.shop.orders OWNER TO bob", "MANAGE on Table 'main.shop.orders'"),
    ],
)
def test_nobody_grants_what_is_not_theirs(workspace, statement, text):
    workspace.grant("bob", "SELECT", "main.shop.orders")
    assert text in message(sql(workspace, "bob", statement))
    assert "42501" in message(sql(workspace, "alice", READ))


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("GRANT SELECT ON TABLE main.shop.orders TO `dave@example.com`", "Could not find principal with name dave@"),
        ("GRANT MODIFY, FLY ON TABLE main.shop.orders TO bob", "the privilege FLY on a table is not served"),
        ("ALTER SCHEMA main.shop OWNER TO dave", "Could not find principal with name dave"),
        ("ALTER SCHEMA main.shop SET MANAGED LOCATION 'x'", "ALTER like this is not served"),
    ],
)
def test_a_grant_to_nobody_or_of_nothing_changes_nothing_and_names_nobody_else(workspace, statement, text):
    workspace.grant("alice", "MANAGE", "main")
    said = message(sql(workspace, "alice", statement))
    assert text in said
    assert "carol" not in said
    assert "42501" in message(sql(workspace, "bob", "INSERT INTO main.shop.orders VALUES (2)"))


def test_a_connection_is_granted_by_a_statement(workspace):
    workspace.add_connection("crm", "http://127.0.0.1:9")
    grant = "GRANT USE CONNECTION ON CONNECTION crm TO `bob@example.com`"
    assert "MANAGE on Connection 'crm'" in message(sql(workspace, "alice", grant))
    workspace.set_owner("alice", "crm")
    works(sql(workspace, "alice", grant))
    assert client(workspace, "bob").connections.get("crm").name == "crm"
    works(sql(workspace, "alice", grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM ")))
    with pytest.raises(PermissionDenied):
        client(workspace, "bob").connections.get("crm")
    absent = grant.replace("CONNECTION crm", "CONNECTION erp")
    assert "The connection `erp` cannot be found" in message(sql(workspace, "alice", absent))


def test_what_is_handed_over_belongs_to_its_new_owner(workspace):
    workspace.set_owner("alice", "main.shop")
    workspace.grant("emea", "SELECT", "main.shop.orders")
    works(sql(workspace, "alice", "ALTER TABLE main.shop.orders SET OWNER TO `bob@example.com`"))
    assert rows(sql(workspace, "bob", READ)) == [["1"]]
    works(sql(workspace, "bob", "REVOKE SELECT ON TABLE main.shop.orders FROM emea"))
    works(sql(workspace, "alice", "ALTER SCHEMA main.shop OWNER TO carol"))
    assert "42501" in message(sql(workspace, "alice", "ALTER SCHEMA main.shop OWNER TO alice"))


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("USE CATALOG absent", "[CATALOG_NOT_FOUND] The catalog `absent`"),
        ("USE absent.shop", "[CATALOG_NOT_FOUND] The catalog `absent`"),
        ("USE SCHEMA absent", "[SCHEMA_NOT_FOUND] The schema `main`.`absent`"),
        ("USE main.absent", "[SCHEMA_NOT_FOUND] The schema `main`.`absent`"),
    ],
)
def test_what_does_not_exist_is_not_used(workspace, statement, text):
    assert message(sql(workspace, "alice", statement)).startswith(text)


@pytest.mark.parametrize(
    ("privilege", "securable"),
    [("SELECT", "main.shop.orders"), ("EXECUTE", "main.shop"), ("MODIFY", "main"), ("EXECUTE", "main.shop.twice")],
)
def test_without_strict_privileges_a_place_is_used_by_whoever_has_something_there(workspace, privilege, securable):
    workspace.add_table("dev.x.t", [{"id": 1}])
    uses = ("USE CATALOG main", "USE SCHEMA shop", "USE main.information_schema")
    for statement in uses:
        assert "USE " in message(sql(workspace, "alice", statement))
    workspace.grant("alice", "BROWSE", "main")
    assert "USE CATALOG" in message(sql(workspace, "alice", uses[0]))
    workspace.grant("alice", privilege, securable)
    for statement in uses:
        works(sql(workspace, "alice", statement))
    assert "USE CATALOG on Catalog 'dev'" in message(sql(workspace, "alice", "USE CATALOG dev"))
    api = client(workspace, "alice")
    assert (api.catalogs.get("main").name, api.schemas.get("main.shop").full_name) == ("main", "main.shop")
    for get, name in ((api.catalogs.get, "dev"), (api.schemas.get, "dev.x")):
        with pytest.raises(PermissionDenied, match="does not have USE"):
            get(name)
    with pytest.raises(NotFound, match="'nowhere' does not exist"):
        api.catalogs.get("nowhere")


def test_strictly_a_catalog_and_a_schema_are_used_by_whoever_may(workspace):
    workspace.strict_privileges = True
    for statement in ("USE CATALOG main", "USE main.shop", "USE SCHEMA default"):
        assert "USE CATALOG on Catalog 'main'" in message(sql(workspace, "alice", statement))
        assert (last(workspace).user, last(workspace).decision) == ("alice", "missing grant")
    workspace.grant("alice", "USE CATALOG", "main")
    works(sql(workspace, "alice", "USE CATALOG main"))
    assert "USE SCHEMA on Schema 'main.shop'" in message(sql(workspace, "alice", "USE main.shop"))
    workspace.grant("alice", "USE SCHEMA", "main")
    works(sql(workspace, "alice", "USE main.shop"))


def test_the_permissions_api_works_on_the_same_grants(workspace):
    workspace.grant("alice", "MANAGE", "main.shop")
    workspace.grant("emea", "SELECT", "main")
    changes = [PermissionsChange(principal="bob@example.com", add=[Privilege.SELECT, Privilege.MODIFY])]
    api = client(workspace, "alice").grants
    answer = api.update("table", "main.shop.orders", changes=changes)
    assert [(each.principal, each.privileges) for each in answer.privilege_assignments] == [
        ("bob@example.com", [Privilege.MODIFY, Privilege.SELECT])
    ]
    assert rows(sql(workspace, "bob", READ)) == [["1"]]
    effective = {
        each.principal: [(one.privilege, one.inherited_from_name) for one in each.privileges]
        for each in api.get_effective("table", "main.shop.orders").privilege_assignments
    }
    assert effective["emea"] == [(Privilege.SELECT, "main")]
    for ask in (api.get, api.get_effective):
        answer = ask("table", "main.shop.orders", principal="bob@example.com")
        assert [each.principal for each in answer.privilege_assignments] == ["bob@example.com"]
    assert effective["bob@example.com"] == [(Privilege.MODIFY, None), (Privilege.SELECT, None)]
    api.update(
        "table",
        "main.shop.orders",
        changes=[PermissionsChange(principal="bob@example.com", remove=[Privilege.SELECT])],
    )
    assert "SELECT on Table" in message(sql(workspace, "bob", READ))


def test_the_permissions_api_shows_and_changes_no_more_than_one_may(workspace):
    workspace.grant("bob", "SELECT", "main.shop.orders")
    workspace.grant("carol", "SELECT", "main.shop.orders")
    api = client(workspace, "bob").grants
    assert [each.principal for each in api.get("table", "main.shop.orders").privilege_assignments] == [
        "bob@example.com"
    ]
    with pytest.raises(PermissionDenied, match="User does not have MANAGE on Table"):
        api.update(
            "table",
            "main.shop.orders",
            changes=[PermissionsChange(principal="bob@example.com", add=[Privilege.MODIFY])],
        )
    assert (last(workspace).user, last(workspace).decision) == ("bob", "missing grant")
    with pytest.raises(NotFound):
        api.get("table", "main.shop.absent")
    workspace.grant("bob", "MANAGE", "main.shop.orders")
    changes = [PermissionsChange(principal=each, add=[Privilege.MODIFY]) for each in ("bob@example.com", "dave")]
    with pytest.raises(NotFound, match="Could not find principal with name dave") as raised:
        api.update("table", "main.shop.orders", changes=changes)
    assert (raised.value.error_code, "alice" in str(raised.value)) == ("PRINCIPAL_DOES_NOT_EXIST", False)
    assert "MODIFY on Table" in message(sql(workspace, "bob", "INSERT INTO main.shop.orders VALUES (2)"))
    with pytest.raises(InvalidParameterValue, match="cannot be granted"):
        api.update("table", "main.shop.orders", changes=[PermissionsChange(principal="bob", add=[Privilege.BROWSE])])


def test_writes_need_modify_and_are_seen_by_the_next_statement(workspace):
    workspace.grant("users", "SELECT", "main.shop.orders")
    workspace.grant("alice", "MODIFY", "main.shop.orders")
    assert rows(works(sql(workspace, "alice", "INSERT INTO main.shop.orders VALUES (2), (3)"))) == [["2", "2"]]
    assert rows(works(sql(workspace, "alice", "UPDATE main.shop.orders SET id = id + 10 WHERE id > 1"))) == [["2"]]
    assert rows(works(sql(workspace, "alice", "DELETE FROM main.shop.orders WHERE id = 12"))) == [["1"]]
    merge = """MERGE INTO main.shop.orders o USING (SELECT 13 AS id UNION ALL SELECT 20) s ON o.id = s.id
        WHEN MATCHED THEN UPDATE SET id = s.id + 100 WHEN NOT MATCHED THEN INSERT *"""
    assert rows(works(sql(workspace, "alice", merge))) == [["2", "1", "0", "1"]]
    assert rows(sql(workspace, "bob", f"{READ} ORDER BY id")) == [["1"], ["20"], ["113"]]
    for statement in ("INSERT INTO main.shop.orders VALUES (9)", "DELETE FROM main.shop.orders", merge):
        assert "MODIFY on Table 'main.shop.orders'" in message(sql(workspace, "bob", statement))
    works(sql(workspace, "alice", "INSERT OVERWRITE main.shop.orders SELECT 7"))
    assert rows(sql(workspace, "bob", READ)) == [["7"]]
    works(sql(workspace, "alice", "TRUNCATE TABLE main.shop.orders"))
    assert rows(sql(workspace, "bob", READ)) == []


def test_tables_are_made_with_create_table_and_belong_to_who_made_them(workspace):
    workspace.grant("users", "SELECT", "main.shop.orders")
    make = "CREATE TABLE main.shop.copy AS SELECT id, count(*) AS n, sum(id) AS s FROM main.shop.orders GROUP BY id"
    assert "CREATE TABLE on Schema 'main.shop'" in message(sql(workspace, "alice", make))
    workspace.grant("alice", "CREATE TABLE", "main.shop")
    works(sql(workspace, "alice", make))
    assert rows(sql(workspace, "alice", "SELECT * FROM main.shop.copy")) == [["1", "1", "1"]]
    assert "SELECT on Table 'main.shop.copy'" in message(sql(workspace, "bob", "SELECT * FROM main.shop.copy"))
    described = client(workspace, "alice").tables.get("main.shop.copy")
    assert [(each.name, each.type_text) for each in described.columns] == [
        ("id", "BIGINT"),
        ("n", "BIGINT"),
        ("s", "BIGINT"),
    ]
    assert "42P07" in message(sql(workspace, "alice", make))
    works(sql(workspace, "alice", make.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS")))
    keys = "CONSTRAINT pk PRIMARY KEY (id), FOREIGN KEY (other) REFERENCES main.shop.orders (id)"
    works(sql(workspace, "alice", f"CREATE TABLE main.shop.keyed (id INT NOT NULL, other INT, {keys})"))
    assert rows(sql(workspace, "alice", "DESCRIBE main.shop.keyed")) == [["id", "int", None], ["other", "int", None]]
    checked = "CREATE TABLE main.shop.checked (id INT, CONSTRAINT positive CHECK (id > 0))"
    assert "a table constraint is not served" in message(sql(workspace, "alice", checked))
    works(sql(workspace, "alice", "CREATE OR REPLACE TABLE main.shop.copy (id INT NOT NULL, name STRING COMMENT 'x')"))
    none = "INSERT INTO main.shop.copy VALUES (NULL, 'y')"
    assert "[DELTA_NOT_NULL_CONSTRAINT_VIOLATED]" in message(sql(workspace, "alice", none))
    works(sql(workspace, "alice", "INSERT INTO main.shop.copy (name, id) VALUES ('tea', 1)"))
    assert rows(sql(workspace, "alice", "SELECT id, name FROM main.shop.copy")) == [["1", "tea"]]
    workspace.grant("bob", "CREATE TABLE", "main.shop")
    replace = "CREATE OR REPLACE TABLE main.shop.copy AS SELECT 1 AS id"
    assert "MANAGE on Table 'main.shop.copy'" in message(sql(workspace, "bob", replace))
    assert "42501" in message(sql(workspace, "bob", "DROP TABLE main.shop.copy"))
    works(sql(workspace, "alice", "DROP TABLE main.shop.copy"))
    works(sql(workspace, "alice", "DROP TABLE IF EXISTS main.shop.copy"))
    assert "42704" in message(sql(workspace, "alice", "CREATE TABLE main.absent.copy AS SELECT 1 AS id"))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE main.shop.mine SET owner = 'x'",
        "DELETE FROM main.shop.mine",
        "MERGE INTO main.shop.mine m USING (SELECT 1 AS id) s ON m.id = s.id WHEN MATCHED THEN DELETE",
    ],
)
def test_what_a_filter_hides_is_not_changed(workspace, statement):
    workspace.add_table("main.shop.mine", [{"id": 1, "owner": "bob@example.com"}], row_filter="owner = current_user()")
    workspace.grant("alice", "ALL PRIVILEGES", "main.shop.mine")
    assert "0A000" in message(sql(workspace, "alice", statement))
    workspace.grant("bob", "SELECT", "main.shop.mine")
    assert rows(sql(workspace, "bob", "SELECT id FROM main.shop.mine")) == [["1"]]


def test_many_users_write_at_once_and_nothing_is_lost(workspace):
    from concurrent.futures import ThreadPoolExecutor

    workspace.grant("users", "ALL PRIVILEGES", "main.shop.orders")
    users = ["alice", "bob", "carol"] * 6

    def write(pair):
        number, user = pair
        works(sql(workspace, user, f"INSERT INTO main.shop.orders VALUES ({100 + number})"))
        works(sql(workspace, user, "UPDATE main.shop.orders SET id = id + 1000 WHERE id = 1"))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, enumerate(users)))
    assert rows(sql(workspace, "alice", "SELECT count(*), count(DISTINCT id) FROM main.shop.orders")) == [["19", "19"]]


def test_a_temporary_view_lives_in_its_session_and_reads_with_the_rights_of_its_user(workspace):
    workspace.grant("alice", "SELECT", "main.shop.orders")
    api = client(workspace, "alice").api_client
    session = api.do("POST", "/api/2.0/sql/sessions", body={"warehouse_id": "wh1"})["session_id"]

    def run(statement, *, session=session):
        body = {"statement": statement, "warehouse_id": "wh1", "session_id": session}
        answer = api.do("POST", "/api/2.0/sql/statements", body=body)
        return answer.get("result", {}).get("data_array"), answer["status"].get("sql_state")

    assert run("CREATE TEMPORARY VIEW v (number) AS SELECT id FROM main.shop.orders") == ([], None)
    assert run("SELECT number FROM v WHERE number = 1") == ([["1"]], None)
    assert run("SHOW VIEWS")[0] == [["", "v", "true", "false"]]
    assert run("CREATE TEMPORARY VIEW v AS SELECT 1")[1] == "42P07"
    assert run("SELECT * FROM v", session=None)[1] == "42P01"
    assert run("CREATE TEMPORARY VIEW w AS SELECT * FROM main.shop.prices")[1] == "42501"
    workspace.revoke("alice", "SELECT", "main.shop.orders")
    assert run("SELECT * FROM v")[1] == "42501"
    assert run("DROP VIEW v") == ([], None)
    assert run("SELECT * FROM v")[1] == "42P01"


def test_comments_and_new_columns_are_shown_and_need_modify(workspace):
    workspace.grant("alice", "CREATE TABLE", "main.shop")
    make = "CREATE TABLE main.shop.notes (id INT COMMENT 'the key', text STRING) COMMENT 'what was noted'"
    works(sql(workspace, "alice", make))
    workspace.grant("bob", "SELECT", "main.shop.notes")
    changes = (
        "COMMENT ON COLUMN main.shop.notes.Text IS 'the words'",
        "ALTER TABLE main.shop.notes ADD COLUMNS (at DATE COMMENT 'the day', n INT)",
        "ALTER TABLE main.shop.notes ALTER COLUMN n COMMENT 'how many'",
        "COMMENT ON TABLE main.shop.notes IS 'notes of a day'",
    )
    described = "DESCRIBE main.shop.notes"
    for change in changes:
        assert "MODIFY on Table 'main.shop.notes'" in message(sql(workspace, "bob", change))
    assert rows(sql(workspace, "bob", described)) == [["id", "int", "the key"], ["text", "string", None]]
    for change in changes:
        works(sql(workspace, "alice", change))
    works(sql(workspace, "alice", "INSERT INTO main.shop.notes VALUES (1, 'tea', DATE'2026-01-02', 3)"))
    assert rows(sql(workspace, "bob", "SELECT * FROM main.shop.notes")) == [["1", "tea", "2026-01-02", "3"]]
    assert rows(sql(workspace, "bob", described)) == [
        ["id", "int", "the key"],
        ["text", "string", "the words"],
        ["at", "date", "the day"],
        ["n", "int", "how many"],
    ]
    assert ["Comment", "notes of a day", ""] in rows(sql(workspace, "bob", described.replace(" ", " EXTENDED ", 1)))
    of_tables = "SELECT comment FROM main.information_schema.tables WHERE table_name = 'notes'"
    assert rows(sql(workspace, "bob", of_tables)) == [["notes of a day"]]
    of_columns = "SELECT column_name, comment FROM main.information_schema.columns WHERE table_name = 'notes'"
    assert rows(sql(workspace, "bob", f"{of_columns} AND comment LIKE 'the %' ORDER BY 1")) == [
        ["at", "the day"],
        ["id", "the key"],
        ["text", "the words"],
    ]
    assert "42703" in message(sql(workspace, "alice", "COMMENT ON COLUMN main.shop.notes.nothing IS 'x'"))
    works(sql(workspace, "alice", "CREATE OR REPLACE TABLE main.shop.notes AS SELECT 1 AS id"))
    assert rows(sql(workspace, "alice", described)) == [["id", "int", None]]


def test_lists_and_information_schema_show_what_the_user_sees(workspace):
    workspace.add_table("hidden.other.things", [{"id": 1}])
    workspace.grant("alice", "SELECT", "main.shop.orders")
    workspace.grant("alice", "EXECUTE", "main.shop.twice")
    shown = {
        "SHOW CATALOGS": [["main"]],
        "SHOW SCHEMAS IN main": [["shop"]],
        "SHOW TABLES IN main.shop": [["shop", "orders", "false"]],
        "SHOW TABLES IN main.shop LIKE 'x*'": [],
        "SHOW COLUMNS IN main.shop.orders": [["id"]],
        "SHOW USER FUNCTIONS IN main.shop": [["main.shop.twice"]],
        "SELECT table_name FROM main.information_schema.tables": [["orders"]],
        "SELECT table_schema, table_name FROM system.information_schema.tables": [["shop", "orders"]],
        "SELECT column_name, data_type FROM main.information_schema.columns WHERE table_name = 'orders'": [
            ["id", "LONG"]
        ],
        "SELECT schema_name FROM main.information_schema.schemata": [["shop"]],
        "SELECT routine_name FROM main.information_schema.routines": [["twice"]],
        "DESCRIBE TABLE main.shop.orders": [["id", "bigint", None]],
        "DESCRIBE SCHEMA main.shop": [["Catalog Name", "main"], ["Namespace Name", "shop"], ["Owner", None]],
    }
    for statement, expected in shown.items():
        assert rows(sql(workspace, "alice", statement)) == expected, statement
    for statement in ("SHOW CATALOGS", "SHOW TABLES IN main.shop", "SELECT * FROM main.information_schema.tables"):
        assert rows(sql(workspace, "bob", statement)) == [], statement
    assert "42501" in message(sql(workspace, "bob", "DESCRIBE main.shop.orders"))
    assert "0A000" in message(sql(workspace, "bob", "SHOW PARTITIONS main.shop.orders"))
    assert "42P01" in message(sql(workspace, "bob", "SELECT * FROM main.information_schema.nosuch"))
    extended = rows(sql(workspace, "alice", "DESCRIBE TABLE EXTENDED main.shop.orders"))
    assert ["Type", "MANAGED", ""] in extended
    plan = rows(sql(workspace, "alice", "EXPLAIN SELECT * FROM main.shop.orders"))[0][0]
    assert plan.startswith("== Physical Plan ==")
    assert "42501" in message(sql(workspace, "bob", "EXPLAIN SELECT * FROM main.shop.orders"))
