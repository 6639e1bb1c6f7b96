"""The text of a configuration file as ptp4l and phc2sys read it."""

from collections.abc import Mapping, Sequence

from chronovisor.clock.catalogue import Option, OptionType

_HEADER = "# Written by Chronovisor from host/system/system_time; changes here are lost.\n"

Section = tuple[str, Mapping[str, str]]
"""A section's name (`global`, or a port's device) and its options."""


def normal(option: Option | None, text: str) -> str:
    """Return an accepted value in one of the many forms that mean the same.

    Whole numbers become decimal, words take the case of the catalogue.
    """
    if option is None or option.ptp4l_verdict(text) is not None:
        return text
    for word in (*option.values, *option.also):
        if word.lower() == text.lower():
            return word
    if option.type is OptionType.DOUBLE:
        return repr(option.number(text))
    return str(option.number(text)) if option.is_number else text


def config_text(sections: Sequence[Section]) -> str:
    """Return the file, options in the order of their names."""
    parts = [
        "".join((f"[{name}]\n", *(f"{option} {options[option]}\n" for option in sorted(options))))
        for name, options in sections
    ]
    return _HEADER + "\n" + "\n".join(parts)
