"""Answers as the request wants them: heads alone, parts of files, what the client has already, compressed."""
import gzip

import httpx
import pytest

import raw

SIZE = 1_000_000


@pytest.fixture(scope="module")
def rig(programs, tmp_path_factory):
    r = raw.Rig(programs, tmp_path_factory.mktemp("rig"))
    open(r.path("file"), "wb").write(CONTENT)
    yield r
    assert r.end() == 0


CONTENT = bytes(i * 7 % 251 for i in range(SIZE))


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
def client(rig, request):
    with httpx.Client(base_url=rig.url, http1=request.param == "HTTP/1.1", http2=request.param == "HTTP/2") as c:
        yield c


@pytest.mark.parametrize("path", ["/file", "/json?5000", "/json?10", "/peer"])
def test_a_head_is_the_same_without_a_body(client, path):
    for encoding in ("identity", "gzip"):
        whole, head = (client.request(m, path, headers={"accept-encoding": encoding}) for m in ("GET", "HEAD"))
        assert head.status_code == 200 and head.content == b"" and len(whole.content) > 0
        assert {k: v for k, v in head.headers.items() if k != "date"} == {k: v for k, v in whole.headers.items() if k != "date"}


@pytest.mark.parametrize("text, first, last", [
    ("bytes=0-0", 0, 0), ("bytes=0-9", 0, 9), ("bytes=500-", 500, SIZE - 1), ("bytes=-10", SIZE - 10, SIZE - 1), ("bytes=-9999999", 0, SIZE - 1),
    (f"bytes={SIZE - 1}-", SIZE - 1, SIZE - 1), (f"bytes=999990-{SIZE + 5}", 999990, SIZE - 1), ("bytes=5-600000", 5, 600000)])
def test_a_part(client, text, first, last):
    answer = client.get("/file", headers={"range": text})
    assert answer.status_code == 206 and answer.content == CONTENT[first:last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{SIZE}"
    assert int(answer.headers["content-length"]) == last - first + 1


@pytest.mark.parametrize("text", [f"bytes={SIZE}-", f"bytes={SIZE + 5}-{SIZE + 9}", "bytes=-0"])
def test_a_part_that_is_not_there(client, text):
    answer = client.get("/file", headers={"range": text})
    assert answer.status_code == 416 and answer.headers["content-range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize("text", ["bytes=9-5", "bytes=0-1,5-6", "lines=0-1", "bytes=a-b", "bytes=-", "bytes", "bytes=1-2x"])
def test_what_is_no_part_is_the_whole(client, text):
    answer = client.get("/file", headers={"range": text})
    assert answer.status_code == 200 and answer.content == CONTENT and answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("condition, status", [('"one"', 206), ('"two"', 200), ('W/"one"', 200), ("Sun, 06 Nov 1994 08:49:37 GMT", 200)])
def test_a_part_of_what_the_client_has(client, condition, status):
    assert client.get("/file", headers={"range": "bytes=0-9", "if-range": condition}).status_code == status


@pytest.mark.parametrize("path, tags, status", [
    ("/file", '"one"', 304), ("/file", 'W/"one"', 304), ("/file", '"zero", "one"', 304), ("/file", "*", 304), ("/file", '"two"', 200), ("/file", "one", 200),
    ("/json?5000", '"json"', 304), ("/json?5000", '"other"', 200)])
def test_what_the_client_has_already(client, path, tags, status):
    answer = client.get(path, headers={"if-none-match": tags})
    assert answer.status_code == status and (status == 200 or answer.content == b"") and "etag" in answer.headers
    assert client.get("/peer").status_code == 200  # the connection goes on


def test_a_post_is_not_told_that_nothing_changed(client):
    assert client.post("/json?5000", headers={"if-none-match": '"json"'}).status_code == 200


@pytest.mark.parametrize("accepted, packed", [
    ("gzip", True), ("GZIP", True), ("br, gzip", True), ("gzip;q=0.5", True), ("gzip; q=1", True), ("*", True), ("", False), ("identity", False), ("gzip;q=0", False), ("br", False), ("xgzip", False)])
def test_json_is_compressed_where_that_is_taken(client, accepted, packed):
    with client.stream("GET", "/json?5000", headers={"accept-encoding": accepted}) as answer:
        body = b"".join(answer.iter_raw())
    assert ("content-encoding" in answer.headers) == packed and answer.headers["vary"] == "accept-encoding"
    assert (gzip.decompress(body) if packed else body) == b"1" * 5000
    assert answer.headers["etag"] == ('W/"json"' if packed else '"json"') and int(answer.headers["content-length"]) == len(body)


def test_small_json_is_not(client):
    answer = client.get("/json?1000", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in answer.headers and answer.content == b"1" * 1000


def test_large_answers_come_whole(client):
    assert client.get("/json?3000000", headers={"accept-encoding": "identity"}).content == b"1" * 3_000_000
