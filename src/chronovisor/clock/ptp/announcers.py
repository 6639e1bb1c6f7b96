"""Who announces: the address behind each PTP port, learnt from Announce messages on a device.

ptp4l knows its parent by identity only. This listens beside it with a packet socket whose filter
passes nothing but Announce, so other traffic costs one short program in the kernel and no copy.
Both multicast and unicast Announces are seen. Needs CAP_NET_RAW.
"""

import asyncio
import contextlib
import errno
import socket
import time
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from types import TracebackType
from typing import Self

from chronovisor.clock.devices.places import Place, anywhere
from chronovisor.clock.ptp import packet_filter
from chronovisor.clock.ptp.announce import Announce
from chronovisor.clock.ptp.identity import ClockIdentity, PortIdentity
from chronovisor.clock.ptp.primitives import Address, MacAddress
from chronovisor.clock.ptp.vocabulary import NetworkProtocol
from chronovisor.errors import ChronovisorError, Denied, NotFound, ProtocolError, Unavailable

_ETH_P_ALL = 0x0003  # linux/if_ether.h
_SOL_PACKET = 263  # linux/socket.h
_PACKET_IGNORE_OUTGOING = 23  # linux/if_packet.h, since Linux 4.20
_LARGEST_FRAME = 2048
_MOST_PER_WAKEUP = 64
_REOPEN_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class AnnounceSource:
    """The newest Announce of one port, and where it came from."""

    port_identity: PortIdentity
    domain_number: int
    address: Address
    link_address: MacAddress
    protocol: NetworkProtocol
    seen_at_monotonic_s: float
    grandmaster_identity: ClockIdentity
    steps_removed: int
    announce: Announce


def read_frame(ethertype: int, link_address: bytes, data: bytes, now_s: float) -> AnnounceSource:
    """Return the source in a frame; `data` begins behind the link header.

    Raises `ProtocolError` for anything that is not a whole Announce.
    """
    address: Address
    try:
        if ethertype == packet_filter.ETHERTYPE_PTP:
            protocol, address, start = NetworkProtocol.IEEE_802_3, MacAddress(link_address), 0
        elif data[0] >> 4 == 4:
            protocol, address = NetworkProtocol.UDP_IPV4, IPv4Address(data[12:16])
            start = (data[0] & 0xF) * 4 + packet_filter.UDP_HEADER
        elif data[0] >> 4 == 6:
            protocol, address = NetworkProtocol.UDP_IPV6, IPv6Address(data[8:24])
            start = packet_filter.IPV6_HEADER + packet_filter.UDP_HEADER
        else:
            raise ProtocolError(f"ethertype 0x{ethertype:04x}, IP version {data[0] >> 4}")
    except (IndexError, ValueError) as reason:  # cut short before the addresses end
        raise ProtocolError(f"truncated: {len(data)} octets behind the link header") from reason
    announce = Announce.unpack(data[start:])
    header = announce.header
    return AnnounceSource(
        header.source,
        header.domain_number,
        address,
        MacAddress(link_address),
        protocol,
        now_s,
        announce.grandmaster_identity,
        announce.steps_removed,
        announce,
    )


class Announcers:
    """Announce sources on one device, the newest `capacity` of them; an async context manager.

    Entering raises `NotFound` for a device that does not exist and `Denied` without CAP_NET_RAW.
    A device that goes down and comes up again, even as another one of that name, is followed by
    itself; meanwhile `trouble` says what is wrong. `rejected` counts frames that were no Announce.
    """

    def __init__(self, device: str, *, capacity: int = 64) -> None:
        self.device = device
        self.rejected = 0
        self.trouble: ChronovisorError | None = None
        self._capacity = capacity
        self._sources: OrderedDict[tuple[int, PortIdentity], AnnounceSource] = OrderedDict()
        self._socket: socket.socket | None = None
        self._index = 0
        self._place: Place | None = None
        self._reopening: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self._open()
        self._watch_device()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening; what was learnt stays."""
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None
        self._close_socket()

    def sources(self) -> list[AnnounceSource]:
        """Return the sources, the one heard last at the end."""
        return list(self._sources.values())

    def find(
        self, port_identity: PortIdentity, domain_number: int | None = None
    ) -> AnnounceSource | None:
        """Return the source with that identity, in that domain or in the one heard last."""
        for (domain, identity), source in reversed(self._sources.items()):
            if identity == port_identity and domain_number in (None, domain):
                return source
        return None

    def _open(self) -> None:
        index, self._place = self._find()
        if index is None:
            text = f"network device {self.device} does not exist"
            raise NotFound(text, hint="see `ip link` for names")
        self._index = index
        sock = self._listening() if self._place is None else self._place.ask(self._listening)
        self._socket = sock
        asyncio.get_running_loop().add_reader(sock.fileno(), self._receive)

    def _find(self) -> tuple[int | None, Place | None]:
        """Return the device's index, and in which container it is."""

        def index() -> int | None:
            with contextlib.suppress(OSError):
                return socket.if_nametoindex(self.device)
            return None

        return anywhere(index)

    def _listening(self) -> socket.socket:
        """Return a socket in the network of the thread that calls; it stays in there."""
        sock: socket.socket | None = None
        try:
            # With protocol 0 nothing is received before bind, so the filter misses nothing.
            sock = socket.socket(
                socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0
            )
            packet_filter.attach(sock)
            sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            sock.bind((self.device, _ETH_P_ALL))
        except OSError as reason:
            if sock is not None:
                sock.close()
            if isinstance(reason, PermissionError):
                raise Denied(
                    f"may not listen on {self.device}: CAP_NET_RAW is missing",
                    hint="run visord as root or give it CAP_NET_RAW",
                ) from reason
            raise Unavailable(
                f"cannot listen on {self.device}: {reason.strerror or reason}"
            ) from reason
        return sock

    def _close_socket(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _watch_device(self) -> None:
        """Look now and then whether the device is still the one that is listened on."""
        try:
            if self._socket is None or self._find() != (self._index, self._place):
                self._close_socket()
                self._open()
            if isinstance(self.trouble, NotFound):
                self.trouble = None
        except ChronovisorError as reason:
            self.trouble = reason
        self._reopening = asyncio.get_running_loop().call_later(_REOPEN_AFTER_S, self._watch_device)

    def _receive(self) -> None:
        sock = self._socket
        if sock is None:
            return
        for _ in range(_MOST_PER_WAKEUP):
            try:
                data, (_, ethertype, _, _, link_address) = sock.recvfrom(_LARGEST_FRAME)
            except BlockingIOError:
                return
            except OSError as reason:
                # ENETDOWN comes once when the device goes down; the socket lives on.
                if reason.errno != errno.ENETDOWN:
                    self._close_socket()
                self.trouble = Unavailable(
                    f"network device {self.device}: {reason.strerror}", hint="bring it up"
                )
                return
            self._learn(ethertype, link_address, data)

    def _learn(self, ethertype: int, link_address: bytes, data: bytes) -> None:
        try:
            source = read_frame(ethertype, link_address, data, time.monotonic())
        except ProtocolError:
            self.rejected += 1
            return
        self.trouble = None
        key = source.domain_number, source.port_identity
        self._sources[key] = source
        self._sources.move_to_end(key)
        if len(self._sources) > self._capacity:
            self._sources.popitem(last=False)
