"""Writes docs/reference: command lines, settings, linuxptp options, API and metrics.

Everything comes from the code itself, in this process: nothing is started and no visord is asked.
`make docs` runs it; tests/unit/docs/test_reference.py fails while a page is not what this makes.
"""

import sys
from pathlib import Path

from pages import api, cli, metrics, options, settings

DIRECTORY = Path(__file__).parent.parent / "docs" / "reference"
_NOTE = "<!-- Written by tools/reference.py; run `make docs` after changing what it describes. -->"
_MAKERS = {
    "cli.md": cli.page,
    "settings.md": settings.page,
    "options.md": options.page,
    "api.md": api.page,
    "metrics.md": metrics.page,
}


def pages() -> dict[str, str]:
    """Return every page by the name of its file."""
    return {name: "\n\n".join((_NOTE, *maker())) + "\n" for name, maker in _MAKERS.items()}


def main() -> None:
    """Write the pages that are not what they should be."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in pages().items():
        file = DIRECTORY / name
        if not file.is_file() or file.read_text("utf-8") != text:
            file.write_text(text, "utf-8")
            written.append(name)
    sys.stdout.write(
        f"docs/reference: wrote {', '.join(written) or 'nothing, all is up to date'}\n"
    )


if __name__ == "__main__":
    main()
