"""PTP profiles: named presets whose every value can be seen, with the clause that it comes from.

>>> profile(ProfileName.G_8275_1).options(PtpRole.CLIENT)[0].allowed
'24..43'
"""

from chronovisor.clock.profiles.expansion import Expansion, check_profile, expand, usable_since
from chronovisor.clock.profiles.profile import Profile, ProfileOption, named, profile, profiles
from chronovisor.clock.ptp_settings import ProfileName, PtpRole

__all__ = [
    "Expansion",
    "Profile",
    "ProfileName",
    "ProfileOption",
    "PtpRole",
    "check_profile",
    "expand",
    "named",
    "profile",
    "profiles",
    "usable_since",
]
