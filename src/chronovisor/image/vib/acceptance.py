"""Acceptance levels: who vouches for a package, and what a host will take."""

from enum import StrEnum

from chronovisor.errors import InvalidInput


class AcceptanceLevel(StrEnum):
    """certified > accepted > partner > community; the text is that of a descriptor."""

    CERTIFIED = "certified"
    ACCEPTED = "accepted"
    PARTNER = "partner"
    COMMUNITY = "community"

    @property
    def rank(self) -> int:
        """Return 0 for community up to 3 for certified."""
        return _ORDER.index(self)

    @property
    def shown(self) -> str:
        """Return the name that esxcli shows."""
        return _SHOWN[self]

    def meets(self, required: "AcceptanceLevel") -> bool:
        """Tell whether this level is at least the required one."""
        return self.rank >= required.rank

    @classmethod
    def named(cls, text: str) -> "AcceptanceLevel":
        """Return the level called `text`, in a descriptor's or in esxcli's words."""
        for level in cls:
            if text.lower() in (level.value, level.shown.lower()):
                return level
        raise InvalidInput(
            f"'{text}' is not an acceptance level",
            hint="use " + ", ".join(level.value for level in cls),
        )


_ORDER = (
    AcceptanceLevel.COMMUNITY,
    AcceptanceLevel.PARTNER,
    AcceptanceLevel.ACCEPTED,
    AcceptanceLevel.CERTIFIED,
)
_SHOWN = {
    AcceptanceLevel.CERTIFIED: "VMwareCertified",
    AcceptanceLevel.ACCEPTED: "VMwareAccepted",
    AcceptanceLevel.PARTNER: "PartnerSupported",
    AcceptanceLevel.COMMUNITY: "CommunitySupported",
}
