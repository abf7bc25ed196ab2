/* Matrices that lie the other way round: Keras has W_ih and W_hh as (I, 4H) and (H, 4H). */
#ifndef LF_TURNED_H
#define LF_TURNED_H
#include "handles.h"

/* target (columns, rows) becomes the transpose of source (rows, columns). `room`: for as many numbers
 * as that packs to with the plain map. */
void lf_turn(const lf_part *part, const void *source, void *target, int64_t rows, int64_t columns,
             void *room);
#endif
