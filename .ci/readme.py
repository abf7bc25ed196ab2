"""Print one of the README's commands: `python .ci/readme.py 1` is the first block of shell code."""

import re
import sys
from pathlib import Path

text = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
print(blocks[int(sys.argv[1]) - 1])
