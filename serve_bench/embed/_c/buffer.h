#ifndef BUFFER_H
#define BUFFER_H

#include "failure.h"

#include <stddef.h>

/* Bytes that grow; {0} is an empty one. */
typedef struct {
    void *bytes;
    size_t used;
    size_t room;
} Buffer;

/* Adds `count` bytes; false where there is no memory for them. */
bool buffer_add(Buffer *buffer, const void *bytes, size_t count, Failure *failure);

/* Replaces what the buffer holds by a whole file. */
bool buffer_file(Buffer *buffer, const char *path, Failure *failure);

void buffer_free(Buffer *buffer);

#endif
