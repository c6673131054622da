"""The tests' own house: a server that starts, an administrator, users."""


def test_a_user_of_this_test_alone(server, admin, user, other):
    assert user.get("/api/v1/auth/me")["role"] == "user"
    assert other.get("/api/v1/auth/me")["id"] != user.get("/api/v1/auth/me")["id"]
    assert admin.get("/api/v1/auth/me")["role"] == "admin"


def test_a_server_of_this_test_alone(start_server):
    assert start_server("--threads", "1").key
