"""Established connections go on or end exactly as the new rules say."""

import socket
from typing import Any

import pytest

from chronovisor.net.firewall import Firewall
from firewalled_hosts import Vm, arrived, run

MARKS = [
    {"direction": "ingress", "protocol": "udp", "port_min": 9999, "port_max": 9999},
]
SSH = {"direction": "ingress", "protocol": "tcp", "port_min": 22, "port_max": 22}
WEB = SSH | {"port_min": 80, "port_max": 80}
EGRESS = {"direction": "egress"}


def connect(client: Vm, server: Vm, port: int) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection."""
    listening = server.open(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((server.address4, port))
    listening.listen()
    one = client.open(socket.AF_INET, socket.SOCK_STREAM)
    one.connect((server.address4, port))
    other, _ = listening.accept()
    other.settimeout(10)
    server.sockets.append(other)
    return one, other


def lives(site: Any, one: socket.socket, other: socket.socket) -> bool:
    """Return whether data pass between both ends, whoever speaks first."""
    passed = []
    for speaker, listener in ((other, one), (one, other), (other, one)):
        speaker.send(b"still there?")
        fence(site)
        passed.append(arrived(listener) is not None)
    assert len(set(passed)) == 1, passed
    return passed[0]


def fence(site: Any) -> None:
    """Wait until all that was sent before has been judged, in both directions."""
    for sender, receiver in ((site.a, site.b), (site.b, site.a)):
        seen = receiver.udp(receiver.address4, 9999)
        out = sender.udp(sender.address4)
        out.sendto(b"fence", (receiver.address4, 9999))
        assert seen.recv(10) == b"fence"
        seen.close()
        out.close()


@pytest.fixture(params=["quiet", "open"])
def served(site: Any, request: pytest.FixtureRequest) -> Any:
    """Return a site where `b` serves ssh and web to everybody.

    The client is `quiet`, or `open`: then what the server sends may begin a connection too.
    """
    site.group("fences", MARKS)
    site.group("server", [SSH, WEB, EGRESS])
    site.client = request.param
    site.port(site.a, site.client, "fences")
    site.port(site.b, "server", "fences")
    site.sync()
    return site


def test_what_rules_allow_still_goes_on(served: Any) -> None:
    pair = connect(served.a, served.b, 22)
    served.group("server", [EGRESS, SSH])
    served.change()
    assert lives(served, *pair)


def test_only_what_rules_refuse_now_ends(served: Any) -> None:
    ssh, web = connect(served.a, served.b, 22), connect(served.a, served.b, 80)
    served.group("server", [WEB, EGRESS])
    served.change()
    assert lives(served, *web)
    assert not lives(served, *ssh), "also not taken up again by the server's own packets"


def test_a_port_that_loses_its_group_loses_its_connections(served: Any) -> None:
    ssh = connect(served.a, served.b, 22)
    served.port(served.b, "quiet", "fences")
    served.change()
    assert not lives(served, *ssh)


def test_an_end_that_may_no_longer_send_loses_what_it_began(served: Any) -> None:
    ssh = connect(served.a, served.b, 22)
    marked = [one | {"direction": "egress"} for one in MARKS]
    served.group("quiet", marked)
    served.group("open", [*marked, *MARKS, SSH])
    served.change()
    assert not lives(served, *ssh)


def test_a_member_that_leaves_a_remote_group_loses_its_connections(served: Any) -> None:
    served.group("friends", [])
    served.group("server", [SSH | {"remote_group": "friends"}, EGRESS])
    served.port(served.a, served.client, "fences", "friends")
    served.change()
    ssh = connect(served.a, served.b, 22)
    served.port(served.a, served.client, "fences")
    served.change()
    assert not lives(served, *ssh)


def test_the_same_connection_may_begin_anew_once_it_is_allowed_again(served: Any) -> None:
    one, _ = connect(served.a, served.b, 22)
    local = one.getsockname()[1]
    served.group("server", [EGRESS])
    served.change()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    for each in (*served.a.sockets, *served.b.sockets):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        each.close()
    served.group("server", [EGRESS, SSH])
    served.change()
    listening = served.b.open(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((served.b.address4, 22))
    listening.listen()
    again = served.a.open(socket.AF_INET, socket.SOCK_STREAM)
    again.bind((served.a.address4, local))
    again.connect((served.b.address4, 22))
    again.close()


def test_what_was_refused_while_nobody_looked_ends_at_the_next_start(served: Any) -> None:
    ssh = connect(served.a, served.b, 22)
    served.group("server", [EGRESS])
    served.firewall.change_rules(served.intent)  # killed here, before connections were ended
    assert arrived(ssh[0]) is None
    with Firewall() as another:
        assert another.sync(served.intent) == []
    assert not lives(served, *ssh)


def test_udp_answers_stop_with_the_rule(served: Any) -> None:
    served.group(
        "names",
        [{"direction": "ingress", "protocol": "udp", "port_min": 53, "port_max": 53}, EGRESS],
    )
    served.port(served.b, "names", "fences")
    served.change()
    one, other = served.a.udp(served.a.address4), served.b.udp(served.b.address4, 53)
    one.sendto(b"question", (served.b.address4, 53))
    _, back = other.recvfrom(10)
    served.group("names", [])
    marked = [{**MARKS[0], "direction": "egress"}]
    served.group("fences", [*MARKS, *marked])
    served.change()
    other.sendto(b"answer", back)
    fence(served)
    assert arrived(one) is None


def test_the_restarted_firewall_leaves_connections_alone(served: Any) -> None:
    pair = connect(served.a, served.b, 22)
    with Firewall() as another:
        another.sync(served.intent)
    assert lives(served, *pair)
    assert run("nft", "list", "set", "inet", "chronovisor", "cut4").count("elements") == 0
