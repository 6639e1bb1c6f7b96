"""Port identities as ptpd writes them: `ea26ddfffe437e06(unknown)/1`.

In parentheses stands a name from /etc/ethers where there is one.
"""

import re

from chronovisor.clock.ptp import ClockIdentity, PortIdentity
from chronovisor.errors import ProtocolError

_FORM = re.compile(r"([0-9a-f]{16})\([^()]{0,255}\)/([0-9]{1,5})")


def port_identity(text: str) -> PortIdentity:
    """Return the identity in a text; raises `ProtocolError`."""
    found = _FORM.fullmatch(text)
    number = int(found[2]) if found else 0
    if found is None or number > 0xFFFF:
        raise ProtocolError(f"{text[:80]!r} is not a port identity as ptpd writes it")
    return PortIdentity(ClockIdentity(bytes.fromhex(found[1])), number)
