"""What clients may keep, and ask for again by its tag."""

def test_a_picture_is_asked_for_once(admin, picture_net):
    url = f"/api/v1/datasets/{picture_net.dataset}/sample?class=k0&index=1"
    assert admin.call("GET", url)[0] == 200
    tag = admin.last.headers["etag"]
    assert admin.last.headers["cache-control"] == "private, no-cache"
    assert admin.call("GET", url, headers={"If-None-Match": tag}) == (304, b"")
    assert admin.call("GET", url.replace("index=1", "index=2"), headers={"If-None-Match": tag})[0] == 200


def test_a_file_is_downloaded_once_and_in_parts(admin, picture_net):
    url = f"/api/v1/weights/{picture_net.weights}/file"
    whole = admin.get(url)
    tag = admin.last.headers["etag"]
    assert admin.call("GET", url, headers={"If-None-Match": tag}) == (304, b"")
    status, part = admin.call("GET", url, headers={"Range": "bytes=100-199", "If-Range": tag})
    assert (status, part) == (206, whole[100:200])


def test_what_changes_is_not_kept(admin, picture_net):
    admin.get("/api/v1/models")
    assert admin.last.headers["cache-control"] == "no-store"
