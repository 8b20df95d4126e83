"""Vector search in the local workspace (design 6), by each client of it: alice may write, bob may read, carol nothing."""

from __future__ import annotations

import datetime
import json
import warnings

import pytest
from databricks.ai_search.client import AISearchClient
from databricks.ai_search.exceptions import BadRequest, NotFound
from databricks.ai_search.exceptions import PermissionDenied as SearchDenied
from databricks.ai_search.reranker import DatabricksReranker
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import InvalidParameterValue, PermissionDenied
from databricks.sdk.service.vectorsearch import (
    EndpointType,
    RerankerConfig,
    RerankerConfigRerankerParameters,
    VectorIndexType,
)

from obo_kit.testing import LocalWorkspace

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it says that it is called databricks-ai-search now
    from databricks.vector_search.client import VectorSearchClient

pytestmark = pytest.mark.usefixtures("no_traces")

ARTICLES = [
    {
        "id": 1,
        "text": "How to ask for a refund and how long refunds take",
        "topic": "money",
        "year": 2024,
        "price": 10.0,
        "open": True,
        "tags": ["refund", "bank"],
        "changed": datetime.datetime(2024, 5, 1, 12),
        "extra": '{"lang":"en"}',
    },
    {
        "id": 2,
        "text": "Shipping times and carriers by country",
        "topic": "delivery",
        "year": 2025,
        "price": 20.0,
        "open": False,
        "tags": ["parcel"],
        "changed": datetime.datetime(2025, 5, 1, 12),
        "extra": '{"lang":"de"}',
    },
    {
        "id": 10,
        "text": "Changing the password of an account",
        "topic": "account",
        "year": 2026,
        "price": None,
        "open": True,
        "tags": None,
        "changed": None,
        "extra": None,
    },
]
MANAGED, OWN, DIRECT, LARGE = "main.s.managed", "main.s.own", "main.s.direct", "main.s.large"
SCOPE = ["vectorsearch.vector-search-indexes", "vectorsearch.vector-search-endpoints"]


@pytest.fixture(scope="module")
def shared():
    with LocalWorkspace() as workspace:
        for user in ("alice", "bob", "carol"):
            workspace.add_user(user)
        workspace.add_search_endpoint("large", storage_optimized=True)
        workspace.add_embedding_endpoint("gte")
        workspace.add_index(MANAGED, ARTICLES, primary_key="id", text_column="text")
        workspace.add_index(OWN, ARTICLES, primary_key="id", text_column="text", vector_column="vector")
        workspace.add_index(LARGE, ARTICLES, primary_key="id", text_column="text", endpoint="large")
        for index in (MANAGED, OWN, LARGE):
            workspace.grant("alice", "SELECT", index)
            workspace.grant("bob", "SELECT", index)
        workspace.grant("alice", "CAN QUERY", "gte")
        workspace.grant("bob", "CAN QUERY", "gte")
        yield workspace


@pytest.fixture
def workspace(shared):
    shared.log.clear()
    yield shared
    shared.search_page_size = 1000


@pytest.fixture
def direct(workspace):
    """An empty direct-access index of two-dimensional vectors, which alice may write and bob may read."""
    if workspace._grants.exists("vector_search_index", DIRECT):
        index = workspace._search._indexes[DIRECT]
        index.content.remove([str(row["id"]) for row in index.content.now().rows])
    else:
        schema = {"id": "string", "text": "string", "vector": "array<float>", "year": "int"}
        workspace.add_index(
            DIRECT, primary_key="id", text_column="text", vector_column="vector", dimension=2, schema=schema,
            kind="direct-access",
        )  # fmt: skip
        workspace.grant("alice", "SELECT", DIRECT)
        workspace.grant("alice", "MODIFY", DIRECT)
        workspace.grant("bob", "SELECT", DIRECT)
    return DIRECT


def sdk(workspace, user, scopes=("all-apis",)):
    token = workspace.token(user, scopes=scopes)
    config = Config(host=workspace.host, token=token, auth_type="pat", retry_timeout_seconds=2, http_timeout_seconds=10)
    return WorkspaceClient(config=config)


def search(workspace, user, scopes=("all-apis",), client=VectorSearchClient):
    return client(
        workspace_url=workspace.host,
        personal_access_token=workspace.token(user, scopes=scopes),
        disable_notice=True,
    )


def ids(answer):
    rows = answer["result"]["data_array"] if isinstance(answer, dict) else answer.result.data_array
    return [row[0] for row in rows]


def seen(workspace, path="/api/2.0/vector-search"):
    return [(record.user, record.status, record.decision) for record in workspace.log.filter(path=path)]


# ---------------------------------------------------------------------------------------------- each client, each user


@pytest.mark.parametrize(
    ("client", "endpoint", "scopes"),
    # The address that names the endpoint takes no dotted scope.
    [(VectorSearchClient, None, SCOPE), (AISearchClient, "local-vs", ["vector-search"])],
)
def test_the_search_client_asks_as_its_user(workspace, client, endpoint, scopes):
    index = search(workspace, "bob", scopes, client).get_index(endpoint_name=endpoint, index_name=MANAGED)
    assert index.describe()["delta_sync_index_spec"]["embedding_source_columns"] == [{"name": "text"}]
    found = index.similarity_search(query_text="Where is my refund?", columns=["id", "text"], num_results=2)
    assert ids(found)[0] == 1
    assert [column["name"] for column in found["manifest"]["columns"]] == ["id", "text", "score"]
    assert "next_page_token" not in found
    assert seen(workspace) == [("bob", 200, "allowed")] * 3


@pytest.mark.parametrize("endpoint", [None, "local-vs"])
def test_the_search_client_is_refused_as_its_user(workspace, endpoint):
    with pytest.raises(SearchDenied, match=f"Insufficient permissions for UC entity {MANAGED}") as denied:
        search(workspace, "carol").get_index(endpoint_name=endpoint, index_name=MANAGED)
    assert (denied.value.status_code, denied.value.error_code) == (403, "PERMISSION_DENIED")
    with pytest.raises(SearchDenied, match="does not have required scopes: "):
        search(workspace, "bob", ["genie"]).get_index(endpoint_name=endpoint, index_name=MANAGED)
    with pytest.raises(NotFound, match=r"Vector search index main\.s\.gone does not exist"):
        search(workspace, "bob").get_index(endpoint_name=endpoint, index_name="main.s.gone")
    assert seen(workspace) == [
        ("carol", 403, "missing grant"),
        ("bob", 403, "missing scope"),
        ("bob", 404, "not found"),
    ]


def test_an_index_is_found_on_its_own_endpoint_only(workspace):
    assert not search(workspace, "bob").index_exists(endpoint_name="large", index_name=MANAGED)
    assert search(workspace, "bob").index_exists(endpoint_name="large", index_name=LARGE)


async def test_the_async_index_asks_as_its_user(workspace, direct):
    async with search(workspace, "bob", SCOPE, AISearchClient).get_async_index(index_name=MANAGED) as index:
        found = await index.similarity_search(query_text="which carrier", columns=["id"], num_results=1)
        assert ids(found) == [2]
        assert (await index.describe())["name"] == MANAGED
        assert len((await index.scan(num_results=2))["data"]) == 2
        with pytest.raises(SearchDenied, match="Insufficient permissions"):
            await index.upsert([{"id": 5}])
    async with search(workspace, "alice", client=AISearchClient).get_async_index(index_name=direct) as index:
        assert (await index.upsert([{"id": "a", "vector": [1, 0]}]))["status"] == "SUCCESS"
        assert (await index.delete(["a"]))["result"]["success_row_count"] == 1
    with pytest.raises(SearchDenied):
        search(workspace, "carol", client=AISearchClient).get_async_index(index_name=MANAGED)
    assert [who for who, *_ in seen(workspace)] == ["bob"] * 5 + ["alice"] * 3 + ["carol"]


def test_the_sdk_asks_as_its_user(workspace):
    indexes = sdk(workspace, "bob", SCOPE).vector_search_indexes
    assert indexes.get_index(MANAGED).index_type is VectorIndexType.DELTA_SYNC
    assert ids(indexes.query_index(MANAGED, ["id"], query_text="I forgot my passwords", num_results=1)) == [10]
    assert [index.name for index in indexes.list_indexes("local-vs")][:2] == [MANAGED, OWN]
    assert seen(workspace) == [("bob", 200, "allowed")] * 3


@pytest.mark.parametrize(
    "act",
    [
        lambda indexes: indexes.get_index(MANAGED),
        lambda indexes: indexes.query_index(MANAGED, ["id"], query_text="x"),
        lambda indexes: indexes.query_next_page(MANAGED, page_token="x"),
        lambda indexes: indexes.scan_index(MANAGED),
        lambda indexes: indexes.upsert_data_vector_index(MANAGED, "[]"),
        lambda indexes: indexes.delete_data_vector_index(MANAGED, ["1"]),
    ],
)
def test_the_sdk_is_refused_as_its_user(workspace, act):
    with pytest.raises(PermissionDenied, match="Insufficient permissions for UC entity"):
        act(sdk(workspace, "carol").vector_search_indexes)
    with pytest.raises(PermissionDenied, match="does not have required scopes: "):
        act(sdk(workspace, "alice", ["sql"]).vector_search_indexes)
    assert seen(workspace) == [("carol", 403, "missing grant"), ("alice", 403, "missing scope")]


def retriever(package, workspace, user, index=MANAGED, scopes=("all-apis",), **settings):
    module = pytest.importorskip(package, reason=f"{package} is an optional extra")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tools' own dependencies warn
        client = sdk(workspace, user, scopes)
        return module.VectorSearchRetrieverTool(index_name=index, workspace_client=client, **settings)


def ask(tool, question, **more):
    return tool.invoke({"query": question, **more}) if hasattr(tool, "invoke") else tool.execute(question, **more)


@pytest.mark.parametrize("package", ["databricks_langchain", "databricks_openai"])
def test_the_retriever_tools_ask_as_their_user(workspace, package):
    tool = retriever(package, workspace, "bob", num_results=1, columns=["topic"], include_score=True)
    found = str(ask(tool, "refund"))
    assert "How to ask for a refund" in found
    assert "money" in found
    assert "score" in found
    assert {who for who, *_ in seen(workspace)} == {"bob"}
    filtered = retriever(package, workspace, "bob", filters={"topic": "account"})
    assert "refund" not in str(ask(filtered, "refund"))


@pytest.mark.parametrize("package", ["databricks_langchain", "databricks_openai"])
def test_the_retriever_tools_learn_the_columns_for_filters_of_the_models_own(workspace, package):
    tool = retriever(package, workspace, "bob", dynamic_filter=True)
    schema = json.dumps(tool.args_schema.model_json_schema() if hasattr(tool, "args_schema") else tool.tool)
    assert "year (LONG)" in schema
    found = str(ask(tool, "refund", filters=[{"key": "year >", "value": 2024}]))
    assert "password" in found
    assert "How to ask for a refund" not in found


@pytest.mark.parametrize("package", ["databricks_langchain", "databricks_openai"])
def test_the_retriever_tools_are_refused_as_their_user(workspace, package):
    with pytest.raises(SearchDenied, match="Insufficient permissions"):
        retriever(package, workspace, "carol")
    with pytest.raises(SearchDenied, match="required scopes"):
        retriever(package, workspace, "bob", scopes=["model-serving"])
    assert seen(workspace) == [("carol", 403, "missing grant"), ("bob", 403, "missing scope")]


def test_a_retriever_tool_embeds_where_the_index_does_not(workspace):
    langchain = pytest.importorskip("databricks_langchain")
    openai = pytest.importorskip("databricks_openai")
    with workspace.as_notebook("bob"):
        embedding = langchain.DatabricksEmbeddings(endpoint="gte")
        tool = retriever(
            "databricks_langchain", workspace, "bob", OWN, embedding=embedding, text_column="text", num_results=1
        )
        assert "How to ask for a refund" in str(ask(tool, "how to get a refund"))
    tool = retriever("databricks_openai", workspace, "bob", OWN, embedding_model_name="gte", text_column="text",
                     num_results=1)  # fmt: skip
    with openai.DatabricksOpenAI(workspace_client=sdk(workspace, "bob")) as client:
        assert "password" in str(ask(tool, "changing a password", openai_client=client))
    assert {who for who, *_ in seen(workspace, "/")} - {None} == {"bob"}


# ---------------------------------------------------------------------------------------------- queries


def query(workspace, **arguments):
    index = search(workspace, "bob").get_index(index_name=arguments.pop("index", MANAGED))
    return index.similarity_search(**{"columns": ["id"], **arguments})


def test_own_vectors_are_searched_by_vector(workspace):
    vector = sdk(workspace, "bob").serving_endpoints.query("gte", input=["how to get a refund"]).data[0].embedding
    found = query(workspace, index=OWN, query_vector=vector, num_results=2, columns=["id", "vector"])
    assert ids(found)[0] == 1
    assert len(found["result"]["data_array"][0][1]) == 256
    spec = search(workspace, "bob").get_index(index_name=OWN).describe()["delta_sync_index_spec"]
    assert spec["embedding_vector_columns"] == [{"name": "vector", "embedding_dimension": 256}]


@pytest.mark.parametrize(
    "arguments",
    [
        {"query_vector": [1.0] * 3},
        {"query_vector": [1.0] * 255 + ["x"]},
        {"query_vector": [1.0] * 255 + [True]},
        {"query_vector": [1.0] * 255 + [10**400]},
        {"query_vector": [1.0] * 255 + [[1.0]]},
        {"query_text": "refund"},
        {"query_vector": [1.0] * 256, "query_type": "HYBRID"},
        {"query_type": "FULL_TEXT"},
    ],
)
def test_a_query_of_own_vectors_needs_what_its_type_needs(workspace, arguments):
    with pytest.raises(BadRequest, match=r"needs a vector of 256 numbers|query_text is required"):
        query(workspace, index=OWN, **arguments)


def test_the_score_is_the_documented_one(workspace, direct):
    search(workspace, "alice").get_index(index_name=direct).upsert(
        [{"id": "near", "vector": [1, 0]}, {"id": "far", "vector": [4, 4]}]
    )
    found = query(workspace, index=direct, query_vector=[1, 0])
    assert found["result"]["data_array"] == [["near", 1.0], ["far", pytest.approx(1 / (1 + 25))]]
    huge = query(workspace, index=direct, query_vector=[1e308, -1e308])
    assert [row[-1] for row in huge["result"]["data_array"]] == [0.0, 0.0]


def test_full_text_finds_rows_with_the_words_and_no_others(workspace):
    assert sorted(ids(query(workspace, query_text="refunds carriers", query_type="FULL_TEXT"))) == [1, 2]
    assert ids(query(workspace, query_text="delivery", query_type="full_text")) == [2]
    assert ids(query(workspace, query_text="delivery", query_type="FULL_TEXT", query_columns=["text"])) == []
    assert ids(query(workspace, query_text="nowhere", query_type="FULL_TEXT")) == []


def test_hybrid_counts_both_and_scores_the_best_with_one(workspace):
    # The text resembles the first article, the keyword is in the second one's topic.
    found = query(workspace, query_text="delivery", query_type="HYBRID")["result"]["data_array"]
    assert found[0][0] == 2
    assert found[0][1] <= 1.0
    assert len(found) == 3
    best = query(workspace, query_text="refund", query_type="HYBRID")["result"]["data_array"][0]
    assert best == [1, 1.0]


def test_hybrid_and_full_text_return_two_hundred_at_most(workspace):
    workspace.add_index(
        "main.s.many", [{"id": number, "text": f"word {number}"} for number in range(250)],
        primary_key="id", text_column="text",
    )  # fmt: skip
    workspace.grant("bob", "SELECT", "main.s.many")
    for kind, count in (("ANN", 250), ("HYBRID", 200), ("FULL_TEXT", 200)):
        found = query(workspace, index="main.s.many", query_text="word", query_type=kind, num_results=500)
        assert found["result"]["row_count"] == count


def test_a_threshold_cuts_off_what_is_worse(workspace):
    scores = [row[-1] for row in query(workspace, query_text="refund")["result"]["data_array"]]
    kept = query(workspace, query_text="refund", score_threshold=scores[1])["result"]["data_array"]
    assert [row[-1] for row in kept] == scores[:2]


def test_long_results_come_in_pages(workspace):
    workspace.search_page_size = 2
    assert len(ids(query(workspace, query_text="x"))) == 3
    assert [record.path.rpartition("/")[2] for record in workspace.log][1:] == ["query", "query-next-page"]

    indexes = sdk(workspace, "bob").vector_search_indexes
    first = indexes.query_index(MANAGED, ["id"], query_text="x", num_results=3)
    assert (first.result.row_count, bool(first.next_page_token)) == (2, True)
    rest = indexes.query_next_page(MANAGED, page_token=first.next_page_token)
    assert (rest.result.row_count, rest.next_page_token) == (1, "")
    for user, index in (("alice", MANAGED), ("bob", OWN)):
        with pytest.raises(InvalidParameterValue, match="page_token is unknown"):
            sdk(workspace, user).vector_search_indexes.query_next_page(index, page_token=first.next_page_token)


def test_a_scan_walks_through_the_rows_by_primary_key(workspace):
    index = search(workspace, "bob").get_index(index_name=MANAGED)
    first = index.scan(num_results=2)
    fields = {field["key"]: field["value"] for field in first["data"][0]["fields"]}
    assert fields["id"] == {"number_value": 1}
    assert fields["open"] == {"bool_value": True}
    assert fields["tags"] == {"list_value": {"values": [{"string_value": "refund"}, {"string_value": "bank"}]}}
    assert first["last_primary_key"] == "2"
    rest = sdk(workspace, "bob").vector_search_indexes.scan_index(MANAGED, last_primary_key="2")
    assert [field.value.number_value for row in rest.data for field in row.fields if field.key == "id"] == [10]
    assert "data" in index.scan(last_primary_key="10")
    assert index.scan(last_primary_key="10")["data"] == []
    with pytest.raises(BadRequest, match="no row with the primary key '99'"):
        index.scan(last_primary_key="99")


def test_a_scan_sorts_keys_of_text_and_shows_values_of_all_kinds(workspace):
    rows = [{"id": "b", "text": "!!!", "more": {"x": 1}}, {"id": "a", "text": "???", "more": None}]
    workspace.add_index("main.s.odd", rows, primary_key="id", text_column="text")
    workspace.grant("bob", "SELECT", "main.s.odd")
    scanned = search(workspace, "bob").get_index(index_name="main.s.odd").scan()["data"]
    fields = [{field["key"]: field["value"] for field in row["fields"]} for row in scanned]
    assert [row["id"]["string_value"] for row in fields] == ["a", "b"]
    assert fields[1]["more"] == {"struct_value": {"fields": [{"key": "x", "value": {"number_value": 1}}]}}
    # Nothing in it is a word.
    asked = {"query_text": "a", "query_type": "FULL_TEXT", "query_columns": ["text"]}
    assert ids(query(workspace, index="main.s.odd", **asked)) == []


def test_the_oldest_page_is_forgotten_first(workspace, monkeypatch):
    monkeypatch.setattr(workspace._search, "kept", 1)
    workspace.search_page_size = 1
    indexes = sdk(workspace, "bob").vector_search_indexes
    first, second = (indexes.query_index(MANAGED, ["id"], query_text="x").next_page_token for _ in range(2))
    with pytest.raises(InvalidParameterValue, match="unknown or too old"):
        indexes.query_next_page(MANAGED, page_token=first)
    assert indexes.query_next_page(MANAGED, page_token=second).result.row_count == 1


def test_a_reranker_reorders_by_its_columns_and_says_that_it_is_no_model(workspace):
    asked = {"query_text": "password delivery", "filters": {"topic": ["delivery", "account"]}}
    assert ids(query(workspace, **asked)) == [10, 2]
    after = query(workspace, **asked, reranker=DatabricksReranker(columns_to_rerank=["topic", "tags"]), debug_level=1)
    assert ids(after) == [2, 10]
    assert "no reranker model" in after["debug_info"]["warnings"][0]
    assert query(workspace, query_text="refund", debug_level=1)["debug_info"] == {}
    reranker = RerankerConfig(
        model="databricks_reranker", parameters=RerankerConfigRerankerParameters(columns_to_rerank=["topic"])
    )
    indexes = sdk(workspace, "bob").vector_search_indexes
    assert ids(indexes.query_index(MANAGED, ["id"], query_text="account", reranker=reranker))[0] == 10
    assert ids(indexes.query_index(MANAGED, ["id"], query_text="account", columns_to_rerank=["topic"]))[0] == 10
    with pytest.raises(BadRequest, match="not present in index: nope"):
        query(workspace, query_text="x", reranker=DatabricksReranker(columns_to_rerank=["nope"]))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"columns": ["id", "nope", "score"]}, "Requested columns to fetch are not present in index: nope, score"),
        ({"columns": []}, "columns must be a list"),
        ({"query_type": "MAGIC"}, "query_type must be one of ANN, HYBRID, FULL_TEXT"),
        ({"num_results": 0}, "num_results must be from 1 to 10000"),
        ({"score_threshold": "high"}, "score_threshold must be a number"),
        ({"facets": ["topic"]}, "does not serve facets"),
        ({"sort_columns": ["year DESC"]}, "does not serve sort_columns"),
        ({"query_vector": [1.0]}, "computes its own vectors"),
        ({"query_text": ""}, "query_text is required"),
        ({"filters": "topic = 'money'"}, r"A standard endpoint takes filters as filters_json \(a dict\) only"),
        ({"filters": {"topic IN": ["money"]}}, "Invalid operator used in filter: topic IN"),
        ({"filters": {"price <= ": 10}}, "Invalid operator used in filter: price <= "),
        ({"filters": {"nope": 1}}, "Filter columns are not in the index: nope"),
        ({"filters": {"topic OR year": "money"}}, "needs a list with one value per column"),
        (
            {"index": LARGE, "filters": {"topic": "money"}},
            r"A storage-optimized endpoint takes filters as filter_string",
        ),
        ({"index": LARGE, "filters": "topic ="}, "Could not read the filter: "),
        ({"index": LARGE, "filters": "nope = 1"}, "Could not read the filter: "),
        ({"index": LARGE, "filters": "1=1) UNION SELECT 1 --"}, "Could not read the filter: "),
        ({"index": LARGE, "filters": "text = (SELECT content FROM read_text('/etc/hosts'))"}, "Could not read"),
    ],
)
def test_a_bad_query_is_refused_with_the_reason(workspace, arguments, text):
    with pytest.raises(BadRequest, match=text):
        query(workspace, **{"query_text": "refund", **arguments})
    assert seen(workspace)[-1] == ("bob", 400, "bad request")


# ---------------------------------------------------------------------------------------------- filters


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"topic": "money"}, {1}),
        ({"topic": ["money", "account"]}, {1, 10}),
        ({"topic NOT": "money"}, {2, 10}),
        ({"year >=": 2025}, {2, 10}),
        ({"price >": 5, "price <": 15}, {1}),
        ({"price <": "x"}, set()),
        ({"open": True}, {1, 10}),
        ({"open": 1}, set()),
        ({"text LIKE": "password"}, {10}),
        ({"text LIKE": "pass"}, set()),
        ({"text LIKE": "pass%"}, set()),
        ({"tags": "bank"}, {1}),
        ({"tags": ["bank", "parcel"]}, {1, 2}),
        ({"changed >": "2024-06-01T00:00:00Z"}, {2}),
        ({"changed": "2024-05-01T12:00:00"}, {1}),
        ({"changed >": "yesterday"}, set()),
        ({"topic OR year": ["money", 2026]}, {1, 10}),
        ({"topic OR price <=": ["account", 10]}, {1, 10}),
    ],
)
def test_a_standard_endpoint_filters_by_dict(workspace, filters, expected):
    assert set(ids(query(workspace, query_text="anything", filters=filters))) == expected
    through_sdk = sdk(workspace, "bob").vector_search_indexes.query_index(
        MANAGED, ["id"], query_text="anything", filters_json=json.dumps(filters)
    )
    assert set(ids(through_sdk)) == expected


@pytest.mark.parametrize(
    ("filters", "expected"),
    [([{"extra LIKE": '%"lang":"en"%'}, {"price <": 50}], {1}), ([{"year >": 2024}, {"year <": 2026}], {2})],
)
def test_a_list_of_dicts_all_hold_and_knows_patterns(workspace, filters, expected):
    assert set(ids(query(workspace, query_text="anything", filters=filters))) == expected


@pytest.mark.parametrize("filters", ["{", "7", '["x"]', '"x"'])
def test_what_is_no_dict_is_refused(workspace, filters):
    with pytest.raises(InvalidParameterValue, match="filters_json must be a JSON object"):
        sdk(workspace, "bob").vector_search_indexes.query_index(MANAGED, ["id"], query_text="x", filters_json=filters)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("topic = 'money'", {1}),
        ("topic IN ('money', 'account') AND year > 2024", {10}),
        ("topic = 'delivery' OR (topic = 'money' AND price > 60)", {2}),
        ("text LIKE '%pass%'", {10}),
        ("price IS NULL", {10}),
        ("open IS TRUE", {1, 10}),
        ("changed > TO_TIMESTAMP('2024-06-01T00:00:00')", {2}),
    ],
)
def test_a_storage_optimised_endpoint_filters_by_sql(workspace, filters, expected):
    assert set(ids(query(workspace, index=LARGE, query_text="anything", filters=filters))) == expected


@pytest.mark.parametrize("name", ["filters_json", "filter_string"])
def test_a_filter_that_is_no_text_is_refused(workspace, name):
    body = {"columns": ["id"], "query_text": "x", name: {"topic": "money"}}
    path = f"/api/2.0/vector-search/indexes/{MANAGED}/query"
    with pytest.raises(InvalidParameterValue, match=f"{name} must be text"):
        sdk(workspace, "bob").api_client.do("POST", path, body=body)


# ---------------------------------------------------------------------------------------------- writing


def test_a_direct_access_index_is_written_by_those_who_may(workspace, direct):
    index = search(workspace, "alice", SCOPE).get_index(index_name=direct)
    spec = index.describe()["direct_access_index_spec"]
    assert json.loads(spec["schema_json"])["vector"] == "array<float>"
    assert index.describe()["status"]["detailed_state"] == "ONLINE_DIRECT_ACCESS"
    assert ids(index.similarity_search(query_vector=[1, 0], columns=["id"])) == []
    written = index.upsert(
        [
            {"id": "a", "text": "one", "vector": [1, 0], "year": 1},
            {"id": "b", "text": "two", "vector": [0, 1]},
            {"id": "c", "vector": [0, 1, 2]},
            {"id": "d", "vector": [0, 1], "nope": 1},
        ]
    )
    assert written == {
        "status": "PARTIAL_SUCCESS",
        "result": {"success_row_count": 2, "failed_primary_keys": ["c", "d"]},
    }
    assert index.upsert([{"id": "c"}])["status"] == "FAILURE"
    assert ids(index.similarity_search(query_vector=[0, 1], columns=["id"])) == ["b", "a"]
    sdk(workspace, "alice").vector_search_indexes.upsert_data_vector_index(
        direct, json.dumps([{"id": "b", "vector": [9, 9]}])
    )
    assert ids(index.similarity_search(query_vector=[0, 1], columns=["id"])) == ["a", "b"]
    assert index.delete(["b", "gone"])["result"]["success_row_count"] == 1
    gone = sdk(workspace, "alice").vector_search_indexes.delete_data_vector_index(direct, ["a", "b"])
    assert gone.result.success_row_count == 1
    assert ids(index.similarity_search(query_vector=[0, 1], columns=["id"])) == []
    assert {who for who, *_ in seen(workspace)} == {"alice"}


def test_a_reader_may_not_write(workspace, direct):
    index = search(workspace, "bob").get_index(index_name=direct)
    for act in (lambda: index.upsert([{"id": "a", "vector": [1, 0]}]), lambda: index.delete(["a"])):
        with pytest.raises(SearchDenied, match="Insufficient permissions"):
            act()
    assert seen(workspace)[1:] == [("bob", 403, "missing grant")] * 2


def test_a_delta_sync_index_is_not_written(workspace):
    workspace.grant("alice", "MODIFY", OWN)
    index = search(workspace, "alice").get_index(index_name=OWN)
    with pytest.raises(BadRequest, match="is no Direct Vector Access index"):
        index.upsert([{"id": 7}])


@pytest.mark.parametrize("inputs", ["{", "7", "[7]", '[{"id": "x", "vector": [NaN, 1]}]'])
def test_what_is_no_list_of_rows_is_refused(workspace, direct, inputs):
    with pytest.raises(InvalidParameterValue, match="inputs_json must be a JSON array of objects"):
        sdk(workspace, "alice").vector_search_indexes.upsert_data_vector_index(direct, inputs)


def test_deleting_needs_keys(workspace, direct):
    for keys in ([], [None]):
        with pytest.raises((InvalidParameterValue, BadRequest), match="at least one key"):
            search(workspace, "alice").get_index(index_name=direct).delete(keys)


def test_half_a_character_goes_in_and_out_again(workspace, direct):
    index = search(workspace, "alice").get_index(index_name=direct)
    index.upsert([{"id": "a", "text": "\ud800", "vector": [1, 0]}])
    assert index.similarity_search(query_vector=[1, 0], columns=["text"])["result"]["data_array"][0][0] == "\ud800"


def test_langchains_vector_store_adds_and_finds_texts(workspace):
    langchain = pytest.importorskip("databricks_langchain")
    workspace.add_index(
        "main.s.store", primary_key="id", text_column="text", vector_column="vector", kind="direct-access",
        schema={"id": "string", "text": "string", "vector": "array<float>"},
    )  # fmt: skip
    for privilege in ("SELECT", "MODIFY"):
        workspace.grant("alice", privilege, "main.s.store")
    with workspace.as_notebook("alice"):
        store = langchain.DatabricksVectorSearch(
            index_name="main.s.store", embedding=langchain.DatabricksEmbeddings(endpoint="gte"), text_column="text",
            workspace_client=sdk(workspace, "alice"),
        )  # fmt: skip
        first, _ = store.add_texts(["How refunds work", "How parcels travel"])
        assert store.similarity_search("refund", k=1)[0].page_content == "How refunds work"
        store.delete([first])
        assert store.similarity_search("refund", k=1)[0].page_content == "How parcels travel"


# ---------------------------------------------------------------------------------------------- endpoints


def test_endpoints_are_seen_by_those_who_use_them(workspace):
    endpoints = sdk(workspace, "bob").vector_search_endpoints
    assert endpoints.get_endpoint("large").endpoint_type is EndpointType.STORAGE_OPTIMIZED
    assert sorted(endpoint.name for endpoint in endpoints.list_endpoints()) == ["large", "local-vs"]
    listed = search(workspace, "bob").list_endpoints()["endpoints"]
    assert {endpoint["name"] for endpoint in listed} == {"large", "local-vs"}
    assert [index["name"] for index in search(workspace, "bob").list_indexes("large")["vector_indexes"]] == [LARGE]
    assert search(workspace, "carol").list_endpoints()["endpoints"] == []
    assert search(workspace, "carol").list_indexes("large")["vector_indexes"] == []
    with pytest.raises(SearchDenied, match="CAN_USE on vector search endpoint large"):
        search(workspace, "carol").get_endpoint("large")
    with pytest.raises(NotFound):
        search(workspace, "bob").get_endpoint("none")
    with pytest.raises(SearchDenied, match="required scopes"):
        search(workspace, "bob", ["genie"]).list_endpoints()


# ---------------------------------------------------------------------------------------------- what an author hands over


def test_rows_come_from_a_csv(workspace, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("id,text,year\n1,How refunds work,2024\n2,How parcels travel,\n")
    workspace.add_index("main.s.csv", path, primary_key="id", text_column="text")
    workspace.grant("bob", "SELECT", "main.s.csv")
    found = query(workspace, index="main.s.csv", query_text="parcel", columns=["id", "year"], num_results=1)
    assert found["result"]["data_array"][0][:2] == [2, None]
    columns = sdk(workspace, "bob").tables.get("main.s.csv").columns
    assert [(column.name, column.type_name.value) for column in columns] == [
        ("id", "LONG"),
        ("text", "STRING"),
        ("year", "LONG"),
    ]


def test_a_missing_number_is_null(workspace):
    workspace.add_index(
        "main.s.nan", [{"id": 1, "text": "x", "price": float("nan")}], primary_key="id", text_column="text"
    )
    workspace.grant("bob", "SELECT", "main.s.nan")
    found = query(workspace, index="main.s.nan", query_text="x", columns=["price"])
    assert found["result"]["data_array"][0][0] is None


def test_vectors_may_be_arrays(workspace):
    numpy = pytest.importorskip("numpy")
    rows = [{"id": 1, "vector": numpy.array([1.0, 0.0])}, {"id": 2, "vector": numpy.array([0.0, 1.0])}]
    workspace.add_index("main.s.arrays", rows, primary_key="id", vector_column="vector")
    workspace.grant("bob", "SELECT", "main.s.arrays")
    assert ids(query(workspace, index="main.s.arrays", query_vector=[0.0, 1.0])) == [2, 1]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"rows": "/no/such.csv", "text_column": "text"}, "cannot be read from '/no/such.csv'"),
        ({"rows": [], "text_column": "text"}, "needs at least one row"),
        ({"rows": [{"id": 1}]}, "needs text_column= .* or vector_column="),
        (
            {"rows": [{"id": 1}], "text_column": "text"},
            "Every row of index 'main.s.bad' needs a value in column 'text'",
        ),
        ({"kind": "other", "text_column": "text"}, "not 'other'"),
        ({"kind": "direct-access", "text_column": "text"}, "pass vector_column="),
        ({"schema": {"id": "int"}, "text_column": "text"}, "schema= is for a direct-access index"),
        (
            {"kind": "direct-access", "vector_column": "v", "schema": {"id": "int", "v": "vector"}},
            "unknown types: vector",
        ),
        ({"kind": "direct-access", "vector_column": "v", "schema": {"id": "int"}}, "lacks the column 'v'"),
        ({"rows": [{"id": 1, "v": [1, 2]}, {"id": 2, "v": [1]}], "vector_column": "v"}, "a vector of 2 numbers, not 1"),
        ({"rows": [{"id": 1, "v": "x"}], "vector_column": "v"}, "a vector of 256 numbers, not 'x'"),
    ],
)
def test_an_unusable_index_is_refused_and_leaves_nothing_behind(workspace, arguments, text):
    arguments = {"rows": (), "primary_key": "id", **arguments}
    with pytest.raises(ValueError, match=text):
        workspace.add_index("main.s.bad", arguments.pop("rows"), **arguments)
    assert "main.s.bad" not in workspace._grants.names("vector_search_index")
    assert "main.s.bad" not in workspace._engine._store.tables


def test_settings_are_checked(workspace):
    with pytest.raises(ValueError, match="search_page_size must be a number of rows"):
        workspace.search_page_size = 0
    with pytest.raises(ValueError, match="already another vector search endpoint named 'large'"):
        workspace.add_search_endpoint("large")
