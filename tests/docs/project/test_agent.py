from agent import count_orders


def test_alice_sees_the_orders(as_user):
    with as_user("alice", scopes=["sql"]):
        assert count_orders() == "There are 2 orders."
