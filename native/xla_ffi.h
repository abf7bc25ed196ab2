/* What XLA hands to a function that it calls: those structures of its C interface (xla/ffi/api/c_api.h,
 * part of jaxlib) that we read, under names of our own. It promises to change them by new fields at
 * their ends alone while the major version is 0. */
#ifndef LF_XLA_FFI_H
#define LF_XLA_FFI_H
#include <stddef.h>
#include <stdint.h>

enum {
    LF_XLA_MAJOR = 0,      /* version of the interface */
    LF_XLA_METADATA = 1,   /* the type of the extension that asks for a function's version */
    LF_XLA_EXECUTE = 3,    /* the stage in which a function works */
    LF_XLA_SCALAR = 3,     /* the type of an attribute that is a number */
    LF_XLA_INTERNAL = 13,  /* the code of an error */
};
typedef enum { LF_XLA_BOOL = 1, LF_XLA_UINT8 = 6, LF_XLA_FLOAT = 11, LF_XLA_DOUBLE = 12 } lf_xla_dtype;

/* Most structures begin so. */
#define LF_XLA_HEAD  \
    size_t size;     \
    void *extension;

typedef struct {
    LF_XLA_HEAD
    int major, minor;
} lf_xla_version;

typedef struct {
    LF_XLA_HEAD
    const char *message;
    int code;
} lf_xla_error_args;

typedef struct {
    LF_XLA_HEAD
    lf_xla_version version;
    void *internal;
    void *(*create_error)(lf_xla_error_args *args);
} lf_xla_api;

typedef struct {
    size_t size;
    lf_xla_version version;
} lf_xla_metadata;

typedef struct {
    size_t size;
    int type;
    void *next;
    lf_xla_metadata *metadata;
} lf_xla_extension;

/* An array: dense, the last axis contiguous. */
typedef struct {
    LF_XLA_HEAD
    int dtype;
    void *data;
    int64_t rank;
    int64_t *dims;
} lf_xla_array;

/* Arguments, or results. */
typedef struct {
    LF_XLA_HEAD
    int64_t count;
    int *types;
    lf_xla_array **items;
} lf_xla_arrays;

typedef struct {
    const char *start;
    size_t size;
} lf_xla_text;

typedef struct {
    int dtype;
    void *value;
} lf_xla_scalar;

/* Sorted by name. */
typedef struct {
    LF_XLA_HEAD
    int64_t count;
    int *types;
    lf_xla_text **names;
    lf_xla_scalar **items;
} lf_xla_attributes;

typedef struct {
    LF_XLA_HEAD
    const lf_xla_api *api;
    void *context;
    int stage;
    lf_xla_arrays arguments, results;
    lf_xla_attributes attributes;
} lf_xla_frame;

#endif
