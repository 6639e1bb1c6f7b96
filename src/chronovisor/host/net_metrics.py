"""Prometheus metrics of the net plane. No label has a value for each port: there are thousands."""

from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from chronovisor.net.figures import PARTS, Figures

REASONS = ("unclaimed", "spoofed", "to_host", "flooded", "refused")
"""Why packets are dropped: counters of the firewall's static part."""

_PREFIX = "chronovisor_net"


def collect(figures: Figures) -> Iterator[Metric]:
    """Yield the metrics of the net plane."""
    text = "Whether this host connects VMs."
    yield GaugeMetricFamily(f"{_PREFIX}_enabled", text, figures.enabled)
    ports = GaugeMetricFamily(f"{_PREFIX}_ports", "VM ports by condition.", labels=["condition"])
    for condition, count in figures.ports.items():
        ports.add_metric([condition], count)
    yield ports
    text = "Steps taken to make the host as wanted, after changes of settings or against drift."
    steps = CounterMetricFamily(f"{_PREFIX}_steps", text, labels=["part"])
    for part in PARTS:
        steps.add_metric([part], figures.totals.steps[part])
    yield steps
    yield from _firewall(figures)
    text = "IPv4 leases that dnsmasq holds; DHCPv6 keeps none."
    yield GaugeMetricFamily(f"{_PREFIX}_dhcp_leases", text, figures.leases)


def _firewall(figures: Figures) -> Iterator[Metric]:
    totals = figures.totals
    yield SummaryMetricFamily(
        f"{_PREFIX}_firewall_change_seconds",
        "Changes of the firewall's rules, and how long they took.",
        totals.rule_changes,
        totals.rule_changes_s,
    )
    text = "How often somebody else had changed our firewall tables."
    yield CounterMetricFamily(f"{_PREFIX}_firewall_foreign_changes", text, totals.foreign_changes)
    text = "Packets of VMs' devices that the firewall dropped, since its tables were loaded."
    packets = CounterMetricFamily(f"{_PREFIX}_dropped_packets", text, labels=["reason"])
    for reason in REASONS:
        packets.add_metric([reason], figures.dropped.get(reason, 0))
    yield packets
