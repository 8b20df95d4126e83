"""The same statements on Spark, the engine whose dialect it is: `make test-sql` runs it, in an environment of its own.

Where both give rows, they are the same, or the difference is listed with its reason in ``statements.jsonl``.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from pathlib import Path

import pytest

pyspark = pytest.importorskip("pyspark", reason="make test-sql installs it")
protocol = pytest.importorskip("py4j.protocol", reason="pyspark brings it")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java"),
    pytest.mark.skipif(
        not any(importlib.metadata.distributions(name="pyspark")), reason="this pyspark is that of databricks-connect"
    ),
    pytest.mark.filterwarnings("ignore"),
    # Spark takes a minute to start on a busy machine.
    pytest.mark.timeout(600),
]

sys.path.insert(0, str(Path(__file__).parent))
from statement_rows import ORDERS, STATEMENTS, same, short_types  # noqa: E402
from statement_tables import TABLES  # noqa: E402


@pytest.fixture(scope="module")
def spark():
    os.environ["TZ"] = "UTC"
    builder = pyspark.sql.SparkSession.builder.master("local[1]")
    for name, value in (
        ("spark.driver.bindAddress", "127.0.0.1"),
        ("spark.driver.host", "127.0.0.1"),
        ("spark.driver.memory", "1g"),
        ("spark.sql.session.timeZone", "UTC"),
        ("spark.sql.shuffle.partitions", "1"),
        ("spark.ui.enabled", "false"),
    ):
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    columns = "id BIGINT, item STRING, amount DOUBLE, ts TIMESTAMP, tags STRING, js STRING"
    session.createDataFrame([tuple(row.values()) for row in ORDERS], columns).createOrReplaceTempView("orders")
    for name, (schema, rows) in TABLES.items():
        values = [tuple(row.values()) for row in rows]
        session.createDataFrame(values, schema).createOrReplaceTempView(name)
    yield session
    session.stop()


@pytest.mark.parametrize("case", STATEMENTS, ids=lambda case: case["sql"][:60])
def test_spark_gives_the_same(spark, case):
    if case.get("differs"):
        pytest.skip(case["differs"])
    if case.get("error"):
        # Some errors of a running statement reach Python as the JVM's own.
        with pytest.raises((pyspark.errors.PySparkException, protocol.Py4JJavaError)):
            spark.sql(case["sql"]).collect()
    else:
        frame = spark.sql(case["sql"])
        found = [list(row) for row in frame.collect()]
        types = short_types(field.dataType.simpleString() for field in frame.schema.fields)
        assert types == case.get("types", types)
        assert frame.columns == case.get("names", frame.columns)
        assert same(found, case["rows"], any_order=case.get("any_order", False)), found
