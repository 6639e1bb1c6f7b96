"""What is dropped is counted by its reason."""

from typing import Any

from chronovisor.net.figures import dropped_packets
from firewalled_hosts import ETH_P_ARP, ETH_P_IP, GATEWAY4, arp, frame, mac_of, udp, wait_for


def until_counted(reason: str, before: dict[str, int]) -> None:
    """Wait until more is counted for a reason: kernels in the VMs may send something, too."""
    wait_for(lambda: dropped_packets()[reason] > before[reason], f"{reason} beyond {before}")


def test_each_reason_has_its_counter(site: Any) -> None:
    assert dropped_packets() == {}
    site.port(site.b, "quiet")
    stranger = site.host.add_vm(3)
    site.sync()
    raw, gateway = site.a.raw(), mac_of(site.a)
    own, other = site.a.address4, site.b.address4
    others = stranger.raw()
    for reason, sender, vm, kind, packet in (
        ("spoofed", raw, site.a, ETH_P_IP, udp("10.0.0.99", other, (7, 53), b"x")),
        ("spoofed", raw, site.a, ETH_P_ARP, arp(1, site.a.mac, other, GATEWAY4)),
        ("to_host", raw, site.a, ETH_P_IP, udp(own, GATEWAY4, (7, 5001), b"x")),
        ("refused", raw, site.a, ETH_P_IP, udp(own, other, (7, 53), b"x")),
        ("unclaimed", others, stranger, ETH_P_IP, udp(stranger.address4, other, (7, 53), b"x")),
    ):
        before = dropped_packets()
        sender.send(frame(gateway if vm is site.a else mac_of(vm), vm.mac, kind, packet))
        until_counted(reason, before)
    before = dropped_packets()
    site.change()
    site.sync()
    after = dropped_packets()
    assert all(after[reason] >= count for reason, count in before.items())  # nothing is reset
