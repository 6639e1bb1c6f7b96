"""docs/reference/options.md: the options of linuxptp, release by release."""

import itertools
from collections.abc import Iterator, Mapping

from pages.markdown import table

from chronovisor.clock.catalogue import KNOWN, LATER, Option, Release, Scope, catalogue, ownership
from chronovisor.clock.catalogue.phc2sys_keys import LETTERS, NAMED, OWNED


def page() -> Iterator[str]:
    """Yield the page's parts."""
    newest = catalogue(LATER)
    names = ", ".join(_release(release) for release in KNOWN)
    yield "# Options of linuxptp"
    yield (
        f"The {len(newest.options)} options that Chronovisor knows, by release ({names}). They are "
        "passed through under `options.ptp4l`, `options.phc2sys` and `ptp_config.port[].options`, "
        "or in [trx.conf](../howto/trx-conf.md), and judged by the release that is installed "
        "(`visorctl clock status` shows it)."
    )
    yield (
        "Range, default and readers are those of the newest release; *Before* says what earlier "
        "releases differ in. *Since* is the release that brought the option. Scope `port` may "
        "also be set for the whole program, as the default of every port. An option that its "
        "program does not read is refused, since linuxptp would accept and ignore it."
    )
    header = ("Option", "Scope", "Type", "Valid", "Default", "Unit", "Since", "Read by", "Meaning")
    yield table(header, (_option_row(option) for option in newest.options.values()))
    yield "## What earlier releases differ in"
    yield table(("Option", "Before", "Valid", "Default", "Read by"), _earlier())
    yield "## Set by Chronovisor"
    yield "These are refused as passthrough options; the message says the same."
    yield table(("Option", "Program", "Instead"), _owned(newest.options))
    yield "## Letters of phc2sys"
    yield (
        "Some settings of phc2sys exist only on its command line. In the namespace `phc2sys` they "
        "are written as their letter: `phc2sys:R 8`."
    )
    yield table(
        ("Letter", "Type", "Valid", "Default", "Unit", "Meaning"), map(_letter, LETTERS.values())
    )
    others = [(f"`-{letter}`", f"written as `{name}`") for letter, name in NAMED.items()]
    others += [(f"`-{letter}`", f"refused: {why}") for letter, why in OWNED.items()]
    yield table(("Letter", "What to do instead"), sorted(others))


def _release(release: Release) -> str:
    return "after 4.4" if release == LATER else str(release)


def _text(value: object) -> str:
    return "" if value in (None, "") else f"`{value}`"


def _option_row(option: Option) -> tuple[str, ...]:
    text = option.description
    if option.alias_of:
        text = f"Earlier name of `{option.alias_of}`. {text}"
    return (
        f"`{option.name}`",
        option.scope.value,
        option.type.value,
        option.valid() or "any text",
        _text(option.default),
        option.unit,
        _release(option.since),
        ", ".join(option.read_by),
        text,
    )


def _letter(one: Option) -> tuple[str, ...]:
    valid, default = one.valid(), _text(one.default)
    return f"`{one.name}`", one.type.value, valid, default, one.unit, one.description


def _earlier() -> Iterator[tuple[str, ...]]:
    """Yield the forms that options had, each with the release that ended it."""
    for name in catalogue(LATER).options:
        forms = [(one, catalogue(one).options.get(name)) for one in KNOWN]
        for (_, form), (ended, next_form) in itertools.pairwise(forms):
            if form and next_form and _shape(form) != _shape(next_form):
                yield (f"`{name}`", _release(ended), *_shape(form))


def _shape(option: Option) -> tuple[str, str, str]:
    return option.valid() or "any text", _text(option.default), ", ".join(option.read_by)


def _owned(options: Mapping[str, Option]) -> Iterator[tuple[str, str, str]]:
    for name, option in options.items():
        for program in ("ptp4l", "phc2sys"):
            instead = ownership.owner(program, Scope.GLOBAL, name)
            if instead and program in option.read_by:
                yield f"`{name}`", program, instead
