"""Enumerations of IEEE 1588-2019 and of linuxptp that stand in management messages.

Open enumerations (`OpenEnum`) are those in which the standard leaves room: a value that has no
name yet becomes a member called `RESERVED_0x…`, so that a newer peer never breaks us and the
octet survives a round trip. Closed ones raise `ProtocolError` where they are decoded.
"""

from enum import IntEnum, IntFlag
from typing import Self


class OpenEnum(IntEnum):
    """An enumeration whose unnamed values are kept, as members named after their number."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int) or not 0 <= value <= 0xFFFF:
            return None
        member = int.__new__(cls, value)
        member._name_ = f"RESERVED_0x{value:02X}"
        member._value_ = value
        # At most 65,536 entries: one lookup per value instead of one construction per message.
        return cls._value2member_map_.setdefault(value, member)  # type: ignore[return-value]

    def __reduce_ex__(self, protocol: object) -> tuple[type[Self], tuple[int]]:
        """Copy and pickle by value: an unnamed member is not found by its name."""
        return type(self), (self._value_,)


class MessageType(IntEnum):
    """The messageType field (IEEE 1588-2019 table 36)."""

    SYNC = 0x0
    DELAY_REQ = 0x1
    PDELAY_REQ = 0x2
    PDELAY_RESP = 0x3
    FOLLOW_UP = 0x8
    DELAY_RESP = 0x9
    PDELAY_RESP_FOLLOW_UP = 0xA
    ANNOUNCE = 0xB
    SIGNALING = 0xC
    MANAGEMENT = 0xD


class ManagementAction(IntEnum):
    """The actionField of a management message (IEEE 1588-2019 table 57)."""

    GET = 0
    SET = 1
    RESPONSE = 2
    COMMAND = 3
    ACKNOWLEDGE = 4


class TlvType(IntEnum):
    """The tlvType values this package reads (IEEE 1588-2019 table 52)."""

    MANAGEMENT = 0x0001
    MANAGEMENT_ERROR_STATUS = 0x0002


class ManagementError(OpenEnum):
    """The managementErrorId (IEEE 1588-2019 table 109)."""

    RESPONSE_TOO_BIG = 0x0001
    NO_SUCH_ID = 0x0002
    WRONG_LENGTH = 0x0003
    WRONG_VALUE = 0x0004
    NOT_SETABLE = 0x0005
    NOT_SUPPORTED = 0x0006
    GENERAL_ERROR = 0xFFFE


class ManagementId(OpenEnum):
    """The managementId (IEEE 1588-2019 table 59; `_NP` ones are linuxptp's own)."""

    NULL_MANAGEMENT = 0x0000
    CLOCK_DESCRIPTION = 0x0001
    USER_DESCRIPTION = 0x0002
    DEFAULT_DATA_SET = 0x2000
    CURRENT_DATA_SET = 0x2001
    PARENT_DATA_SET = 0x2002
    TIME_PROPERTIES_DATA_SET = 0x2003
    PORT_DATA_SET = 0x2004
    PRIORITY1 = 0x2005
    PRIORITY2 = 0x2006
    DOMAIN = 0x2007
    SLAVE_ONLY = 0x2008
    LOG_ANNOUNCE_INTERVAL = 0x2009
    ANNOUNCE_RECEIPT_TIMEOUT = 0x200A
    LOG_SYNC_INTERVAL = 0x200B
    VERSION_NUMBER = 0x200C
    ENABLE_PORT = 0x200D
    DISABLE_PORT = 0x200E
    CLOCK_ACCURACY = 0x2010
    TRACEABILITY_PROPERTIES = 0x2012
    TIMESCALE_PROPERTIES = 0x2013
    ALTERNATE_TIME_OFFSET_ENABLE = 0x201E
    ALTERNATE_TIME_OFFSET_NAME = 0x201F
    ALTERNATE_TIME_OFFSET_PROPERTIES = 0x2021
    MASTER_ONLY = 0x3001
    DELAY_MECHANISM = 0x6000
    LOG_MIN_PDELAY_REQ_INTERVAL = 0x6001
    TIME_STATUS_NP = 0xC000
    GRANDMASTER_SETTINGS_NP = 0xC001
    PORT_DATA_SET_NP = 0xC002
    SUBSCRIBE_EVENTS_NP = 0xC003
    PORT_PROPERTIES_NP = 0xC004
    PORT_STATS_NP = 0xC005
    SYNCHRONIZATION_UNCERTAIN_NP = 0xC006
    PORT_SERVICE_STATS_NP = 0xC007
    UNICAST_MASTER_TABLE_NP = 0xC008
    PORT_HWCLOCK_NP = 0xC009
    POWER_PROFILE_SETTINGS_NP = 0xC00A
    CMLDS_INFO_NP = 0xC00B
    PORT_CORRECTIONS_NP = 0xC00C
    EXTERNAL_GRANDMASTER_PROPERTIES_NP = 0xC00D


class PortState(IntEnum):
    """State of a PTP port (IEEE 1588-2019 table 20)."""

    INITIALIZING = 1
    FAULTY = 2
    DISABLED = 3
    LISTENING = 4
    PRE_MASTER = 5
    MASTER = 6
    PASSIVE = 7
    UNCALIBRATED = 8
    SLAVE = 9


class DelayMechanism(OpenEnum):
    """How a port measures the path delay (IEEE 1588-2019 table 21)."""

    AUTO = 0x00  # linuxptp's own: begins as E2E and follows the peer
    E2E = 0x01
    P2P = 0x02
    COMMON_P2P = 0x03
    SPECIAL = 0x04
    NO_MECHANISM = 0xFE


class ClockAccuracy(OpenEnum):
    """Estimated accuracy of a grandmaster (IEEE 1588-2019 table 5)."""

    WITHIN_1_PS = 0x17
    WITHIN_2_5_PS = 0x18
    WITHIN_10_PS = 0x19
    WITHIN_25_PS = 0x1A
    WITHIN_100_PS = 0x1B
    WITHIN_250_PS = 0x1C
    WITHIN_1_NS = 0x1D
    WITHIN_2_5_NS = 0x1E
    WITHIN_10_NS = 0x1F
    WITHIN_25_NS = 0x20
    WITHIN_100_NS = 0x21
    WITHIN_250_NS = 0x22
    WITHIN_1_US = 0x23
    WITHIN_2_5_US = 0x24
    WITHIN_10_US = 0x25
    WITHIN_25_US = 0x26
    WITHIN_100_US = 0x27
    WITHIN_250_US = 0x28
    WITHIN_1_MS = 0x29
    WITHIN_2_5_MS = 0x2A
    WITHIN_10_MS = 0x2B
    WITHIN_25_MS = 0x2C
    WITHIN_100_MS = 0x2D
    WITHIN_250_MS = 0x2E
    WITHIN_1_S = 0x2F
    WITHIN_10_S = 0x30
    BEYOND_10_S = 0x31
    UNKNOWN = 0xFE


class TimeSource(OpenEnum):
    """Where a grandmaster's time comes from (IEEE 1588-2019 table 6)."""

    ATOMIC_CLOCK = 0x10
    GNSS = 0x20
    TERRESTRIAL_RADIO = 0x30
    SERIAL_TIME_CODE = 0x39
    PTP = 0x40
    NTP = 0x50
    HAND_SET = 0x60
    OTHER = 0x90
    INTERNAL_OSCILLATOR = 0xA0


class NetworkProtocol(OpenEnum):
    """What a port address is an address of (IEEE 1588-2019 table 3)."""

    UNIX_SOCKET = 0  # linuxptp's own, for its management port
    UDP_IPV4 = 1
    UDP_IPV6 = 2
    IEEE_802_3 = 3
    DEVICENET = 4
    CONTROLNET = 5
    PROFINET = 6


class Timestamping(OpenEnum):
    """Where a port of ptp4l gets its time stamps (linuxptp, PORT_PROPERTIES_NP)."""

    SOFTWARE = 0
    HARDWARE = 1
    LEGACY_HW = 2
    ONESTEP = 3
    P2P1STEP = 4


class UnicastState(OpenEnum):
    """State of ptp4l's unicast client towards one master (linuxptp, UNICAST_MASTER_TABLE_NP)."""

    WAIT = 0
    HAVE_ANNOUNCE = 1
    NEED_SYNC_AND_DELAY = 2
    HAVE_SYNC_AND_DELAY = 3


class SyncUncertainty(OpenEnum):
    """What SYNCHRONIZATION_UNCERTAIN_NP says (linuxptp; the flag is IEEE 802.1AS's)."""

    CERTAIN = 0
    UNCERTAIN = 1
    DONT_CARE = 0xFF


class ClockType(IntFlag):
    """What kind of clock this is (IEEE 1588-2019 clause 15.5.3.1.2.1), first octet the upper."""

    ORDINARY = 0x8000
    BOUNDARY = 0x4000
    P2P_TRANSPARENT = 0x2000
    E2E_TRANSPARENT = 0x1000
    MANAGEMENT = 0x0800


class Events(IntFlag):
    """What SUBSCRIBE_EVENTS_NP can be asked to push; bit N of the mask is linuxptp's event N.

    linuxptp 3.1.1 pushes port states only; 4.0 added time sync, 4.2 the parent data set, 4.3
    CMLDS. Every release accepts and repeats bits it does not know.
    """

    PORT_STATE = 1
    TIME_SYNC = 2
    PARENT_DATA_SET = 4
    CMLDS = 8
