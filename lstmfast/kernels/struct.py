"""C structs as kernel arguments: one declaration serves Numba, C and Cython.

Every field is eight bytes: an int64, a pointer, or a double. `Struct.pointer(real)` is the Numba
type of a pointer to such a struct whose data pointers are of kind `real`; a kernel reads its
fields as attributes. `Struct.declaration()` is the same struct in C.
"""

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, lower_getattr_generic, models, register_model

I64 = ir.IntType(64)
C_TYPES = {"size": "int64_t", "real": "double", "data": "void *", "ids": "int64_t *",
           "flags": "uint8_t *"}  # fmt: skip


class Struct:
    """A named list of fields. `fields` maps each kind of C_TYPES to space-separated names."""

    def __init__(self, name, **fields):
        self.name = name
        self.kinds = {f: kind for kind, names in fields.items() for f in names.split()}

    def pointer(self, real):
        return StructPointer(self, real)

    def declaration(self):
        rows = "".join(f"    {C_TYPES[kind]} {field};\n" for field, kind in self.kinds.items())
        return f"typedef struct {self.name} {{\n{rows}}} {self.name};\n"


class StructPointer(types.Type):
    def __init__(self, struct, real):
        self.struct, self.real = struct, real
        super().__init__(name=f"{struct.name}({real})*")

    def field_type(self, field):
        return {"size": types.int64, "real": types.float64, "data": types.CPointer(self.real),
                "ids": types.CPointer(types.int64),
                "flags": types.CPointer(types.uint8)}[self.struct.kinds[field]]  # fmt: skip


@register_model(StructPointer)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, pointer):
        super().__init__(manager, pointer, I64.as_pointer())


@infer_getattr
class _Fields(AttributeTemplate):
    key = StructPointer

    def generic_resolve(self, pointer, field):
        return pointer.field_type(field) if field in pointer.struct.kinds else None


@lower_getattr_generic(StructPointer)
def _read(context, builder, pointer, value, field):
    index = list(pointer.struct.kinds).index(field)
    llvm = context.get_value_type(pointer.field_type(field))
    address = builder.gep(value, [I64(index)], inbounds=True)
    return builder.load(builder.bitcast(address, llvm.as_pointer()))
