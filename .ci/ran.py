"""Name the files of tests that ran whole, by a report (JUnit XML), as options that leave them out.

python3 .ci/ran.py REPORT  ->  --ignore=test_lstm.py --ignore=walks/test_walk_capi.py ...
"""

import sys
from xml.etree import ElementTree

whole = {}
for case in ElementTree.parse(sys.argv[1]).iter("testcase"):
    names = (case.get("classname") or case.get("name")).removeprefix("tests.").split(".")
    end = next(n for n, name in enumerate(names, 1) if name.startswith("test_"))
    file = "/".join(names[:end]) + ".py"
    whole[file] = whole.get(file, True) and len(case) == 0  # neither skipped nor failed
print(*[f"--ignore={file}" for file in sorted(whole) if whole[file]])
