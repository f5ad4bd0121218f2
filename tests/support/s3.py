"""A real S3 server for the tests: moto's, on a free loopback port, found by every client through the environment."""

import logging
import os
import re
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

LINE = re.compile(r"(?P<verb>GET|HEAD|PUT|POST|DELETE) (?P<path>\S+) HTTP")


@dataclass
class S3:
    """The server, and what it was asked: (verb, path) of each request since `asked` was cleared."""

    url: str
    asked: list[tuple[str, str]] = field(default_factory=list)
    when: Callable[[str, str], None] | None = None  # called after each request, before its answer is read

    def client(self):
        import boto3

        return boto3.client("s3", endpoint_url=self.url)

    def bucket(self, name: str) -> str:
        """Make a bucket; its URL."""
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}"

    def upload(self, folder: Path, bucket: str, prefix: str = "") -> None:
        """Put all files of a folder below a prefix such as `data/`."""
        client = self.client()
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                client.upload_file(str(file), bucket, prefix + file.relative_to(folder).as_posix())

    def keys(self, bucket: str) -> dict[str, str]:
        """The ETag of each object of a bucket."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {one["Key"]: one["ETag"] for page in pages for one in page.get("Contents", [])}

    def body(self, bucket: str, key: str) -> bytes:
        return self.client().get_object(Bucket=bucket, Key=key)["Body"].read()

    def reads(self, ending: str = ".png") -> list[str]:
        """The files that were downloaded since `asked` was cleared, by how they end."""
        return [path for verb, path in self.asked if verb == "GET" and path.partition("?")[0].endswith(ending)]


class _Log(logging.Handler):
    def __init__(self, server: S3):
        super().__init__()
        self.server = server

    def emit(self, record: logging.LogRecord) -> None:
        found = LINE.search(record.getMessage())
        if found:
            self.server.asked.append((found["verb"], found["path"]))
            if self.server.when is not None:
                self.server.when(found["verb"], found["path"])


@pytest.fixture(scope="session")
def moto():
    """The URL of one server for all tests of a worker."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def s3(moto, tmp_path_factory):
    """The server without a bucket, for the tests of one file. Credentials and its address are in the environment, as a
    user's would be."""
    urllib.request.urlopen(urllib.request.Request(f"{moto}/moto-api/reset", method="POST")).read()
    found = S3(moto)
    logger, handler = logging.getLogger("werkzeug"), _Log(found)
    logger.addHandler(handler)
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    given = {
        "AWS_ENDPOINT_URL": found.url,
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "LOSSPRINT_CACHE": str(tmp_path_factory.mktemp("cache")),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        forget()
        yield found
    forget()
    logger.removeHandler(handler)
    logger.setLevel(level)
    logger.propagate = propagate


@pytest.fixture
def machine(s3, tmp_path, monkeypatch):
    """machine(name): from now on this process stands for another machine, with a cache of its own."""

    def move(name: str) -> None:
        monkeypatch.setenv("LOSSPRINT_CACHE", str(tmp_path / name / "cache"))

    return move


class Broken:
    """A file system whose line breaks at `times` calls of some kinds, after the first `skip` of them."""

    def __init__(self, fs, calls: tuple[str, ...], times: list[int], skip: list[int]):
        self.fs, self.calls, self.times, self.skip = fs, calls, times, skip

    def __getattr__(self, name: str):
        if name in self.calls and self.skip[0] > 0:
            self.skip[0] -= 1
        elif name in self.calls and self.times[0] > 0:
            self.times[0] -= 1
            raise ConnectionResetError("the line broke")
        return getattr(self.fs, name)


@pytest.fixture
def broken(monkeypatch):
    """broken("put_file"): from now on such calls fail, or `times` of them after `skip`; broken(): all is well again.

    Returns a list with how many will still fail.
    """
    from lossprint.audit.system import urls

    before = urls.Place.connect

    def set_to(*calls: str, times: int = 10**9, skip: int = 0) -> list[int]:
        left, passed = [times], [skip]
        urls._down.clear()
        monkeypatch.setattr(urls, "PAUSES", (0.01, 0.01))
        monkeypatch.setattr(
            urls.Place, "connect", lambda place: (Broken(before(place)[0], calls, left, passed), before(place)[1])
        )
        return left

    yield set_to
    urls._down.clear()


def forget() -> None:
    """Drop what fsspec and we keep of servers: the next use reads the environment anew."""
    from s3fs import S3FileSystem

    from lossprint.audit.system import urls

    S3FileSystem.clear_instance_cache()
    urls._down.clear()
