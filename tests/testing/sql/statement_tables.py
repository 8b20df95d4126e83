"""The tables that ``statements.jsonl`` asks about besides ``orders``: of a shop and its users' events, of people, of devices.

Per table the columns with their types, as a schema of Spark, and the rows.
"""

from __future__ import annotations

import datetime
import decimal

_D, _DAY, _AT = decimal.Decimal, datetime.date, datetime.datetime


def _rows(columns, *rows):
    names = [column.split()[0] for column in columns.split(", ")]
    return columns, [dict(zip(names, row, strict=True)) for row in rows]


TABLES = {
    "customers": _rows(
        "customer_id BIGINT, name STRING, email STRING, country STRING, segment STRING, signup DATE, "
        "active BOOLEAN, balance DECIMAL(5,2)",
        (1, "Anna Berg", "anna@example.com", "DE", "Consumer", _DAY(2025, 1, 15), True, _D("120.50")),
        (2, "Bruno Costa", "BRUNO@Example.com", "BR", "Corporate", _DAY(2025, 1, 31), True, _D("-15.25")),
        (3, "Chen Li", None, "CN", "Consumer", _DAY(2025, 2, 28), False, _D("0.00")),
        (4, "Dana O'Neil", "dana@example.org", "US", "Home Office", _DAY(2025, 3, 3), True, _D("980.00")),
        (5, "Émile Zola", "emile@example.fr", "FR", "Consumer", _DAY(2025, 3, 30), True, None),
        (6, "Farah Khan", "farah@example.com", "US", "Corporate", _DAY(2024, 12, 24), False, _D("45.10")),
    ),
    "sales": _rows(
        "order_id BIGINT, customer_id BIGINT, ordered DATE, status STRING, channel STRING, "
        "amount DECIMAL(6,2), discount DOUBLE",
        (1001, 1, _DAY(2025, 1, 20), "shipped", "web", _D("250.00"), 0.0),
        (1002, 2, _DAY(2025, 2, 2), "shipped", "store", _D("99.99"), 0.1),
        (1003, 1, _DAY(2025, 2, 14), "returned", "web", _D("40.00"), 0.0),
        (1004, 4, _DAY(2025, 3, 5), "shipped", "web", _D("1200.00"), 0.25),
        (1005, 3, _DAY(2025, 3, 9), "cancelled", "phone", _D("15.75"), None),
        (1006, 2, _DAY(2025, 3, 31), "shipped", "store", _D("310.40"), 0.05),
        (1007, 4, _DAY(2025, 4, 1), "pending", "web", _D("75.00"), 0.0),
        (1008, 5, _DAY(2025, 4, 18), "shipped", "phone", _D("60.20"), 0.15),
        (1009, 6, _DAY(2024, 4, 18), "shipped", "web", _D("500.00"), 0.0),
        (1010, 1, _DAY(2024, 3, 1), "shipped", "store", _D("89.90"), 0.0),
    ),
    "lines": _rows(
        "order_id BIGINT, sku STRING, qty BIGINT, price DECIMAL(5,2)",
        (1001, "TEA-001", 2, _D("25.00")),
        (1001, "CUP-010", 4, _D("50.00")),
        (1002, "TEA-002", 1, _D("99.99")),
        (1004, "POT-100", 3, _D("400.00")),
        (1006, "CUP-010", 2, _D("50.00")),
        (1006, "TEA-001", 8, _D("26.30")),
        (1008, "TEA-002", 1, _D("60.20")),
    ),
    "events": _rows(
        "user_id STRING, event STRING, at TIMESTAMP, props STRING",
        ("u1", "visit", _AT(2025, 3, 1, 9, 0, 0), '{"page": "/home", "ref": null}'),
        ("u1", "add_to_cart", _AT(2025, 3, 1, 9, 5, 30), '{"sku": "TEA-001", "qty": 2, "price": 25.0}'),
        ("u1", "purchase", _AT(2025, 3, 1, 9, 9, 0), '{"total": 50.0, "items": [{"sku": "TEA-001", "qty": 2}]}'),
        ("u2", "visit", _AT(2025, 3, 1, 23, 50, 0), '{"page": "/tea", "ref": "ad"}'),
        ("u2", "visit", _AT(2025, 3, 2, 0, 40, 0), '{"page": "/cups"}'),
        ("u2", "add_to_cart", _AT(2025, 3, 2, 0, 45, 0), '{"sku": "CUP-010", "qty": 1, "price": 50.0}'),
        ("u3", "visit", _AT(2025, 3, 8, 12, 0, 0), "not json"),
        ("u1", "visit", _AT(2025, 3, 9, 8, 0, 0), '{"page": "/home", "utm": {"source": "mail", "tags": ["a", "b"]}}'),
    ),
    "staff": _rows(
        "id BIGINT, name STRING, boss BIGINT, dept STRING, salary DOUBLE, hired DATE",
        (1, "Ola", None, "board", 9000.0, _DAY(2015, 5, 1)),
        (2, "Per", 1, "sales", 5200.0, _DAY(2018, 9, 15)),
        (3, "Quinn", 1, "it", 6100.5, _DAY(2020, 2, 29)),
        (4, "Rosa", 2, "sales", 4100.0, _DAY(2021, 12, 31)),
        (5, "Sam", 2, "sales", 4100.0, _DAY(2023, 7, 1)),
        (6, "Tove", 3, "it", 4800.0, _DAY(2024, 1, 8)),
    ),
    "readings": _rows(
        "device STRING, at TIMESTAMP, temp DOUBLE, tags ARRAY<STRING>, place STRUCT<site: STRING,floor: BIGINT>",
        ("d1", _AT(2025, 6, 1, 0, 0), 20.5, ["raw", "ok"], {"site": "A", "floor": 1}),
        ("d1", _AT(2025, 6, 1, 1, 0), None, ["raw"], {"site": "A", "floor": 1}),
        ("d1", _AT(2025, 6, 1, 2, 30), 22.0, [], {"site": "A", "floor": 1}),
        ("d2", _AT(2025, 6, 1, 0, 15), 18.25, ["ok", "cal"], {"site": "B", "floor": 2}),
        ("d2", _AT(2025, 6, 1, 3, 0), 19.75, None, {"site": "B", "floor": None}),
    ),
    "contacts": _rows(
        "id STRING, full_name STRING, phone STRING, born STRING, revenue STRING, score STRING",
        ("001", "  anna   SMITH ", "+49 (0)30 123-456", "01/02/1990", "$1,234.50", "7"),
        ("002", "Bob Jones", "555.867.5309", "1985-12-31", "N/A", "8.5"),
        ("003", "carla de la Cruz", None, "31/12/1979", "$99", ""),
        ("004", "ÅSA Ek", "070-1234567", "", "1 500", None),
        ("005", "Bob Jones", "555 867 5309", "1985-12-31", "$0.00", "10"),
    ),
}
