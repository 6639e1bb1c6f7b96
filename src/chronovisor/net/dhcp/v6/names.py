"""Domain names as bytes (RFC 1035 section 3.1, as DHCPv6 and advertisements carry them)."""


def encode_name(name: str) -> bytes:
    """Return a name as its labels, each after its length, and the root."""
    labels = name.rstrip(".").split(".")
    return b"".join(bytes((len(label),)) + label.encode("ascii") for label in labels) + b"\0"
