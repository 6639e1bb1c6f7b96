"""A depot on a real HTTP server: one that behaves, and one that does everything wrong."""

import contextlib
import hashlib
import http.server
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path

import pytest

import vib_samples as samples
from chronovisor.errors import (
    ChronovisorError,
    Conflict,
    Denied,
    NotFound,
    ProtocolError,
    Unavailable,
)
from chronovisor.image import depot
from chronovisor.image.depot import remote, unfinished
from chronovisor.image.depot.remote import Remote
from chronovisor.image.depot.source import Depot
from chronovisor.image.limits import Limits

NOISE = os.urandom(600_000)
VENDOR = depot.Vendor("Example", "exa")


@dataclass
class Site:
    """What the server does. `faults` are taken one for each request of a package."""

    root: Path
    url: str = ""
    faults: list[str] = field(default_factory=list)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    with_ranges: bool = True
    with_tags: bool = True


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves files with ranges and entity tags, and misbehaves as told."""

    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        site = self.site
        headers = self.headers
        site.requests.append((self.path, headers.get("Range", ""), headers.get("If-Range", "")))
        file = site.root / self.path.lstrip("/")
        if not file.is_file():
            self.send_error(404)
            return
        is_package = self.path.endswith(".vib")
        fault = site.faults.pop(0) if site.faults and is_package else ""
        with contextlib.suppress(OSError):
            self.answer(file.read_bytes(), fault)

    def answer(self, body: bytes, fault: str) -> None:
        if fault.isdecimal():
            self.send_error(int(fault))
            return
        if fault.startswith("redirect "):
            self.send_response(302)
            self.send_header("Location", fault.removeprefix("redirect "))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        start = self.start(tag)
        self.send_response(206 if start else 200)
        if start:
            shift = 1000 if fault == "wrong range" else 0
            end = len(body) - 1
            self.send_header("Content-Range", f"bytes {start + shift}-{end}/{len(body)}")
        if self.site.with_tags:
            self.send_header("ETag", tag)
        if fault == "coding":
            self.send_header("Content-Encoding", "gzip")
        self.send(body[start:], fault)

    def start(self, tag: str) -> int:
        wanted = self.headers.get("Range", "")
        if not self.site.with_ranges or self.headers.get("If-Range") != tag:
            return 0
        return int(wanted.removeprefix("bytes=").removesuffix("-"))

    def send(self, part: bytes, fault: str) -> None:
        lengths = {"declares more": len(part) + 10, "declares less": len(part) - 10}
        if fault == "endless":
            self.send_header("Connection", "close")
            part += bytes(5_000_000)
        else:
            self.send_header("Content-Length", str(lengths.get(fault, len(part))))
        self.end_headers()
        if fault == "break":
            self.wfile.write(part[: min(len(part) // 2, 150_000)])
            self.cut()
        elif fault == "stall":
            self.wfile.write(part[:1000])
            self.connection.recv(1)  # until the client has had enough
        else:
            self.wfile.write(part)
            if fault == "declares more":
                self.cut()

    def cut(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    root = tmp_path / "www"
    path = samples.written(tmp_path, sample())
    depot.publish([path], root, VENDOR)
    served = Site(root)
    handler = type("Scripted", (Handler,), {"site": served})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = Remote.__dataclass_fields__
    monkeypatch.setattr(Remote.__init__, "__defaults__", (fields["stall_s"].default, _no_pause))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def _no_pause(_: float) -> None:
    pass


def sample(version: str = "1.0-1") -> bytes:
    payloads = [samples.Stored.of(samples.tree([("opt/noise", NOISE)]))]
    text = samples.descriptor(payloads, ["opt/noise"], version=version)
    return samples.package(text, payloads)


def fetched(opened: Depot, directory: Path) -> Path:
    return opened.fetch(opened.packages[0], directory)


def left(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name.startswith("."))


def test_a_depot_is_listed_and_fetched(site: Site, tmp_path: Path) -> None:
    for url in (site.url, site.url + "/", site.url + "/index.xml"):
        with depot.opened(url) as opened:
            path = fetched(opened, tmp_path)
    assert path.read_bytes() == sample()
    assert not left(tmp_path)
    before = len(site.requests)
    with depot.opened(site.url) as opened:
        opened.fetch(opened.packages[0], tmp_path)
    assert len(site.requests) == before + 3, "the package itself is not fetched again"


def test_what_breaks_off_is_resumed(site: Site, tmp_path: Path) -> None:
    site.faults = ["break", "break", "503", "break", ""]
    with depot.opened(site.url) as opened:
        path = fetched(opened, tmp_path)
    assert path.read_bytes() == sample()
    ranges = [request[1] for request in site.requests[3:]]
    assert ranges[0] == ""
    assert ranges[1].startswith("bytes=1")
    assert int(ranges[-1][6:-1]) > int(ranges[1][6:-1])
    assert not left(tmp_path)


def test_a_later_command_resumes(site: Site, tmp_path: Path) -> None:
    site.faults = ["break", *["503"] * 9]
    with (
        depot.opened(site.url) as opened,
        pytest.raises(Unavailable, match="broke off 5 times") as caught,
    ):
        fetched(opened, tmp_path)
    assert "it resumes" in (caught.value.hint or "")
    assert len(left(tmp_path)) == 2
    site.faults = []
    with depot.opened(site.url) as opened:
        assert fetched(opened, tmp_path).read_bytes() == sample()
    assert site.requests[-1][1] == "bytes=150000-"
    assert not left(tmp_path)


def test_without_ranges_or_tags_it_starts_again(site: Site, tmp_path: Path) -> None:
    site.with_ranges = False
    site.faults = ["break", ""]
    with depot.opened(site.url) as opened:
        assert fetched(opened, tmp_path).read_bytes() == sample()
    site.with_tags = False
    site.faults = ["break", ""]
    (tmp_path / "two").mkdir()
    with depot.opened(site.url) as opened:
        assert fetched(opened, tmp_path / "two").read_bytes() == sample()
    assert site.requests[-1][1] == "", "without a tag nothing tells that it is the same file"


FAULTS = {
    "declares less": (Conflict, "bytes, the index says"),
    "endless": (ProtocolError, "the server sends more than"),
    "coding": (ProtocolError, "sent in the coding 'gzip'"),
    "404": (NotFound, "there is no such file on the server"),
    "403": (Denied, "the server does not allow it"),
    "418": (ProtocolError, "the server answered 418"),
    "redirect file:///etc/passwd": (Denied, "something that is not HTTP"),
    "redirect ftp://127.0.0.1/x": (Denied, "less safe"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_server_may_not_do(site: Site, tmp_path: Path, fault: str) -> None:
    kind, words = FAULTS[fault]
    site.faults = [fault]
    target = tmp_path / "target"
    target.mkdir()
    with depot.opened(site.url) as opened, pytest.raises(kind) as caught:
        fetched(opened, target)
    assert words in caught.value.message
    assert not [path for path in target.iterdir() if path.suffix == ".vib"]


def test_a_length_that_is_not_kept_is_resumed_or_given_up(site: Site, tmp_path: Path) -> None:
    site.faults = ["declares more"]
    with depot.opened(site.url) as opened, pytest.raises(Conflict, match="the index says"):
        fetched(opened, tmp_path)


def test_a_wrong_range_is_refused(site: Site, tmp_path: Path) -> None:
    site.faults = ["break", "wrong range"]
    with depot.opened(site.url) as opened, pytest.raises(ProtocolError, match="sends the range"):
        fetched(opened, tmp_path)


def test_redirects_are_followed_only_so_far(site: Site, tmp_path: Path) -> None:
    with depot.opened(site.url) as opened:
        path = f"/{opened.packages[0].relative_path}"
        site.faults = [f"redirect {path}", ""]
        assert fetched(opened, tmp_path).read_bytes() == sample()
        (tmp_path / "two").mkdir()
        site.faults = [f"redirect {path}"] * 20
        with pytest.raises(ChronovisorError):
            fetched(opened, tmp_path / "two")


def test_a_stalling_server_is_left(site: Site, tmp_path: Path) -> None:
    site.faults = ["stall", ""]
    place = Remote(site.url + "/", stall_s=0.3)
    raw = sample()
    path = next(site.root.rglob("*.vib")).relative_to(site.root)
    digest = hashlib.sha256(raw).hexdigest()
    place.save(str(path), tmp_path / "x.vib", len(raw), digest, lambda _done, _all: None)
    assert (tmp_path / "x.vib").read_bytes() == raw


def test_a_trickling_server_is_left(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(0, 10**9, 20))
    monkeypatch.setattr("chronovisor.image.depot.remote.time.monotonic", lambda: float(next(ticks)))
    monkeypatch.setattr(remote, "SLOWEST_BYTES_PER_S", 10**9)
    monkeypatch.setattr(remote, "READ_BYTES", 64)
    with pytest.raises(Unavailable, match=r"only \d+ bytes in \d+ s"), depot.opened(site.url):
        pass


def changed(site: Site, raw: bytes) -> None:
    next(site.root.rglob("*.vib")).write_bytes(raw)


@pytest.mark.parametrize("same_size", [True, False])
def test_a_file_changed_after_it_was_listed(site: Site, tmp_path: Path, same_size: bool) -> None:
    with depot.opened(site.url) as opened:
        raw = sample().replace(b"For tests", b"for tests") if same_size else sample("2.0-1") + b"\n"
        changed(site, raw)
        with pytest.raises(Conflict, match="not the file that was listed"):
            fetched(opened, tmp_path)
    assert not list(tmp_path.glob("*_bootbank_*"))
    assert not left(tmp_path) or not same_size


def test_a_file_changed_between_two_halves(site: Site, tmp_path: Path) -> None:
    site.faults = ["break", *["503"] * 9]
    with depot.opened(site.url) as opened:
        with pytest.raises(Unavailable):
            fetched(opened, tmp_path)
        changed(site, sample().replace(b"For tests", b"for tests"))
        site.faults = []
        with pytest.raises(Conflict, match="not the file that was listed"):
            fetched(opened, tmp_path)
    assert site.requests[-1][1] == "bytes=150000-", "it was sent whole, once"


def test_halves_of_two_files_are_thrown_away_once(site: Site, tmp_path: Path) -> None:
    """The server takes an old half for one of the new file: the digest tells, all is fetched."""
    with depot.opened(site.url) as opened:
        package = opened.packages[0]
        partial = tmp_path / f".{package.sha256[:32]}.partial"
        partial.write_bytes(b"z" * 1000)
        tag = hashlib.sha256(sample()).hexdigest()[:16]
        partial.with_suffix(".validator").write_text(f'"{tag}"')
        assert fetched(opened, tmp_path).read_bytes() == sample()
    assert [request[1] for request in site.requests[-2:]] == ["bytes=1000-", ""]


def test_two_commands_do_not_write_one_file(site: Site, tmp_path: Path) -> None:
    with depot.opened(site.url) as opened:
        package = opened.packages[0]
        partial = tmp_path / f".{package.sha256[:32]}.partial"
        with (
            unfinished.locked(partial),
            pytest.raises(Unavailable, match="by another command"),
        ):
            fetched(opened, tmp_path)


def test_a_link_in_the_way_is_not_followed(site: Site, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    with depot.opened(site.url) as opened:
        (tmp_path / f".{opened.packages[0].sha256[:32]}.partial").symlink_to(victim)
        with pytest.raises(ChronovisorError):
            fetched(opened, tmp_path)
    assert victim.read_text() == "precious"


def test_an_index_that_is_too_large_or_missing(site: Site) -> None:
    small = Limits(index_bytes=10)
    with (
        pytest.raises(ProtocolError, match="sends more than 10 bytes"),
        depot.opened(site.url, small),
    ):
        pass
    (site.root / "metadata.zip").unlink()
    with pytest.raises(NotFound, match=r"metadata\.zip"), depot.opened(site.url):
        pass


def test_nobody_there_is_told() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(Unavailable, match="Connection refused"), depot.opened(url):
            pass


def test_only_a_strong_tag_or_a_date_is_remembered(tmp_path: Path) -> None:
    cases = [('W/"weak"', "", ""), ('"strong"', "", '"strong"'), ("", "Mon, 01 Jan", "Mon, 01 Jan")]
    for tag, date, kept in cases:
        headers = Message()
        headers["ETag"], headers["Last-Modified"] = tag, date
        partial = tmp_path / "x.partial"
        unfinished.forget(partial)
        unfinished.remember(partial, headers)
        assert unfinished.validator(partial) == kept
