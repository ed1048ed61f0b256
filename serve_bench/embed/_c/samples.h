#ifndef SAMPLES_H
#define SAMPLES_H

#include "buffer.h"
#include "model.h"

#include <stdio.h>

/* Where samples come from. */
typedef struct {
    FILE *stream;
    const char *name; /* for messages */
    bool binary;      /* raw values instead of lines */
    size_t line;      /* last line read, counted from 1 */
    size_t malformed; /* lines that were said to be wrong and left out */
} Reader;

/* Some samples, ready for model_run. */
typedef struct {
    Values inputs[MOST_TENSORS];
    Buffer buffers[2];
    int64_t samples; /* 0: the file has ended */
} Samples;

/* The next samples, at most `most`. A malformed line is said on standard error with its number, counted in
   `reader->malformed`, and left out; raw values that are malformed are a failure. */
bool samples_read(Reader *reader, const Model *model, int64_t most, Samples *samples, Failure *failure);

/* A file of raw values, `count` samples of them, as the input `spec`; what `buffer` held is replaced. */
bool values_from_file(const char *path, const Spec *spec, int64_t count, Buffer *buffer, Values *values,
                      Failure *failure);

void samples_free(Samples *samples);

#endif
