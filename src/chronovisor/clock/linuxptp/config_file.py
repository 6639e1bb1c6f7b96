"""The text of a configuration file as ptp4l and phc2sys read it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chronovisor.clock.catalogue import Option, OptionType

_HEADER = "# Written by Chronovisor from host/system/system_time; changes here are lost.\n"

Section = tuple[str, Mapping[str, str]]
"""A section's name (`global`, or a port's device) and its options."""


@dataclass(frozen=True, slots=True)
class Table:
    """A [unicast_master_table]; `masters` are transport and address of each, in order."""

    table_id: int
    log_query_interval: int
    peer_address: str
    masters: tuple[tuple[str, str], ...]

    def lines(self) -> tuple[str, ...]:
        """Return what stands in the section; ptp4l wants the number first."""
        return (
            f"table_id {self.table_id}",
            f"logQueryInterval {self.log_query_interval}",
            *([f"peer_address {self.peer_address}"] if self.peer_address else ()),
            *(f"{transport} {address}" for transport, address in self.masters),
        )


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


def config_text(sections: Sequence[Section], tables: Sequence[Table] = ()) -> str:
    """Return the file, options in the order of their names, tables at the end."""
    parts = [
        "".join((f"[{name}]\n", *(f"{option} {options[option]}\n" for option in sorted(options))))
        for name, options in sections
    ]
    parts += [
        "".join(f"{line}\n" for line in ("[unicast_master_table]", *table.lines()))
        for table in tables
    ]
    return _HEADER + "\n" + "\n".join(parts)
