"""The text form of an option value, and what no value may contain in a configuration file."""

from chronovisor.clock.settings import OptionValue

LINE_BYTES = 1022
"""Bytes of `name value` that ptp4l reads as one line (it reads 1023 with the line's end)."""


def as_text(value: OptionValue) -> str:
    """Return a value as linuxptp reads it: a boolean is 0 or 1."""
    return str(int(value)) if isinstance(value, bool) else str(value)


def flaw(name: str, text: str) -> str:
    """Return why this text cannot be the value of an option in any file, empty if it can."""
    if not text:
        return "the value is empty"
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
        return "the value has a control character"
    if text != text.strip():
        return "the value has white space around it"
    try:
        size = len(f"{name} {text}".encode())
    except UnicodeEncodeError:
        return "the value is not Unicode text"
    if size > LINE_BYTES:
        return f"name and value have {size} bytes; ptp4l reads {LINE_BYTES} of a line"
    return ""
