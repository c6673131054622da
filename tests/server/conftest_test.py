"""The tests' own house: a server that starts, an administrator, a user."""


def test_a_user_of_this_test_alone(server, admin, user):
    assert user.call("GET", "/api/v1/auth/me")[1]["role"] == "user"
    assert admin.call("GET", "/api/v1/auth/me")[1]["role"] == "admin"


def test_a_server_of_this_test_alone(start_server):
    assert start_server("--threads", "1").key
