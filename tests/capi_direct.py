"""The C-level API by ctypes, straight from the capsules that `cimport` reads: nothing is compiled.

`Direct()` has the functions of tests/consumer/probe.pyx, by the same names. All of them run without
the GIL.
"""

import ctypes

from lstmfast import capi

POINTER, INT64, INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
# What each function of the API returns and takes.
FUNCTIONS = {
    "lf_status_text": (ctypes.c_char_p, INT),
    "lf_abi_version": (INT,),
    "lf_config_create": (POINTER,),
    "lf_config_free": (None, POINTER),
    "lf_config_set": (INT, POINTER, ctypes.c_char_p, ctypes.c_double),
    "lf_build": (INT, POINTER, POINTER),
    "lf_free": (None, POINTER),
    "lf_load_weights": (INT, POINTER, POINTER, POINTER, POINTER),
    "lf_load": (INT, POINTER, POINTER),
    "lf_step": (INT, POINTER, INT64, POINTER, POINTER, POINTER),
    "lf_set_static": (INT, POINTER, INT64, POINTER),
    "lf_reserve_size": (INT64, POINTER, INT64, INT64),
    "lf_forward_work": (INT64, POINTER, INT64, INT64),
    "lf_backward_work": (INT64, POINTER, INT64, INT64),
    "lf_forward": (INT, POINTER, POINTER),
    "lf_backward": (INT, POINTER, POINTER),
}
STATUS = (
    "OK", "ENULL", "ESIZE", "EALIAS", "EKEY", "EVALUE", "ESTATE", "EMEMORY", "EWORK", "EVERSION",
    "EKERNELS", "EOPTION", "ELENGTH",
)  # fmt: skip


def _function(name):
    python, capsule = ctypes.pythonapi, capi.__pyx_capi__[name]
    python.PyCapsule_GetName.restype, python.PyCapsule_GetName.argtypes = (
        ctypes.c_char_p, [ctypes.py_object],
    )  # fmt: skip
    python.PyCapsule_GetPointer.restype = POINTER
    python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    signature = python.PyCapsule_GetName(capsule)
    return ctypes.CFUNCTYPE(*FUNCTIONS[name])(python.PyCapsule_GetPointer(capsule, signature))


class Direct:
    """Pointers are whole numbers, 0 is NULL."""

    def __init__(self):
        for name in FUNCTIONS:
            setattr(self, name.removeprefix("lf_"), _function(name))
        self._create, self._build = self.config_create, self.build
        self.config_create, self.build = self._config_create, self._build_handle

    def status_codes(self):
        """Return the numbers of lf_status by name."""
        return {name: number for number, name in enumerate(STATUS)}

    def _config_create(self):
        return self._create() or 0

    def _build_handle(self, config, before=0):
        """Return (status, handle), where the handle's variable held `before`."""
        handle = POINTER(before)
        status = self._build(config, ctypes.addressof(handle))
        return status, handle.value or 0

    def build_nowhere(self, config):
        """lf_build with a NULL for the handle's variable."""
        return self._build(config, None)
