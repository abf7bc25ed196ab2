"""Build consumer and probe against the lstmfast that this Python imports: see tests/conftest.py."""

from Cython.Build import cythonize
from setuptools import Extension, setup

import lstmfast

setup(
    name="consumer",
    py_modules=[],
    ext_modules=cythonize(
        [
            Extension(name, [f"{name}.pyx"], extra_compile_args=["-O1", "-g0"])
            for name in ("consumer", "probe")
        ],
        include_path=[lstmfast.get_include()],
        compiler_directives={"language_level": 3, "boundscheck": False, "wraparound": False},
    ),
)
