"""Write the list of keys in lstmfast/capi.pxd, and docs/options.md, from the table of options.

python docs/options.py
"""

import textwrap
from pathlib import Path

from lstmfast.kernels.options import GROUPS, VALUES

ROOT = Path(__file__).resolve().parent.parent


def default_text(key):
    if key.values == "KIND":
        return f"LF_{key.default.upper()}"
    if key.values == "COUNT" and not key.default:
        return "needed"
    return "inf" if key.values == "LIMIT" else str(int(key.default))


def manual():
    """The list of keys in capi.pxd."""
    lines = []
    for title, keys in GROUPS.items():
        lines.append(f"# {title}:")
        for key in keys:
            default = default_text(key)
            default = default if default == "needed" else f"default {default}"
            text = f"{VALUES[key.values]}, {default}: {key.meaning}"
            lines += textwrap.wrap(
                text, 100, initial_indent=f"#   {key.name:17s} ", subsequent_indent=f"#{'':21s}"
            )
    return "\n".join(lines) + "\n"


def tables():
    lines = []
    for title, keys in GROUPS.items():
        lines += [f"## {title}", "", "| in Python | key | takes | default | |"]
        lines += ["|---|---|---|---|---|"]
        for key in keys:
            cells = (f"`{key.python or key.name}`", f"`{key.name}`", VALUES[key.values],
                     default_text(key), key.meaning)  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines) + "\n"


PLACES = {  # the lines before and after what is written, and what that is
    "lstmfast/capi.pxd": ("# Keys:\n", "# LF_EKEY for another key", manual),
    "docs/options.md": ("<!-- written by docs/options.py -->\n\n", "<!-- end -->", tables),
}


def as_written(place):
    """The text of one of PLACES as the table has it."""
    begin, end, make = PLACES[place]
    before, _, rest = (ROOT / place).read_text("utf-8").partition(begin)
    return before + begin + make() + end + rest.partition(end)[2]


if __name__ == "__main__":
    for place in PLACES:
        (ROOT / place).write_text(as_written(place), "utf-8")
