#include "buffer.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool buffer_add(Buffer *buffer, const void *bytes, size_t count, Failure *failure)
{
    if (count > SIZE_MAX / 2 - buffer->used) {
        return fail(failure, "out of memory");
    }
    size_t needed = buffer->used + count;
    if (needed > buffer->room) {
        size_t room = needed < 128 ? 256 : 2 * needed;
        void *moved = realloc(buffer->bytes, room);
        if (moved == NULL) {
            return fail(failure, "out of memory: %zu bytes are needed", room);
        }
        buffer->bytes = moved;
        buffer->room = room;
    }
    if (count > 0) {
        memcpy((char *)buffer->bytes + buffer->used, bytes, count);
    }
    buffer->used = needed;
    return true;
}

bool buffer_file(Buffer *buffer, const char *path, Failure *failure)
{
    FILE *stream = fopen(path, "rb");
    if (stream == NULL) {
        return fail(failure, "%s: cannot be opened: %s", path, strerror(errno));
    }
    char piece[65536];
    size_t count = 0;
    bool done = true;
    buffer->used = 0;
    while (done && (count = fread(piece, 1, sizeof piece, stream)) > 0) {
        done = buffer_add(buffer, piece, count, failure);
    }
    if (done && ferror(stream)) {
        done = fail(failure, "%s: cannot be read: %s", path, strerror(errno));
    }
    fclose(stream);
    return done;
}

void buffer_free(Buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (Buffer){0};
}
