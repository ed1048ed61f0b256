#include "samples.h"

#include "bundle.h"
#include "lines.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void set_shape(Values *values, const Spec *spec, int64_t samples, int64_t any, Buffer *buffer)
{
    values->data = buffer->bytes;
    values->bytes = buffer->used;
    for (size_t i = 0; i < spec->axes; i++) {
        values->shape[i] = spec->shape[i] < 0 ? any : spec->shape[i];
    }
    values->shape[0] = samples;
}

/* Says what is wrong with a line and goes on; false for a failure that is not of one line. */
static bool left_out(Reader *reader, const Failure *failure)
{
    if (!failure->of_line) {
        return false;
    }
    say(failure);
    reader->malformed++;
    return true;
}

/* Lines of numbers, a sample each. */
static bool numbers(Reader *reader, const Model *model, int64_t most, Samples *samples, Failure *failure)
{
    const Spec *spec = &model->inputs[0];
    Buffer line = {0};
    bool done = true, ended = false;
    while (done && samples->samples < most) {
        size_t before = samples->buffers[0].used;
        done = line_read(reader, &line, &ended, failure);
        if (done && ended) {
            break;
        }
        done = done && line_numbers(reader, line.bytes, spec, &samples->buffers[0], failure);
        if (done) {
            samples->samples++;
        } else {
            samples->buffers[0].used = before;
            done = left_out(reader, failure);
        }
    }
    buffer_free(&line);
    set_shape(&samples->inputs[0], spec, samples->samples, 1, &samples->buffers[0]);
    return done;
}

/* Characters of texts that stand one after the other in `flat`, as rows of the longest, filled up with zeros. */
static bool padded(const Buffer *flat, const Buffer *lengths, int64_t longest, Buffer *rows, Failure *failure)
{
    const int64_t *next = flat->bytes, *length = lengths->bytes;
    const int64_t zero = 0;
    size_t count = lengths->used / sizeof *length;
    for (size_t i = 0; i < count; i++) {
        if (!buffer_add(rows, next, (size_t)length[i] * sizeof *next, failure)) {
            return false;
        }
        for (int64_t j = length[i]; j < longest; j++) {
            if (!buffer_add(rows, &zero, sizeof zero, failure)) {
                return false;
            }
        }
        next += length[i];
    }
    return true;
}

/* Lines of text, a sample each. */
static bool texts(Reader *reader, const Model *model, int64_t most, Samples *samples, Failure *failure)
{
    Buffer line = {0}, flat = {0};
    int64_t longest = 0;
    bool done = true, ended = false;
    while (done && samples->samples < most) {
        int64_t length = 0;
        size_t before = flat.used;
        done = line_read(reader, &line, &ended, failure);
        if (done && ended) {
            break;
        }
        done = done && line_characters(reader, line.bytes, &flat, &length, failure)
               && buffer_add(&samples->buffers[1], &length, sizeof length, failure);
        if (done) {
            longest = length > longest ? length : longest;
            samples->samples++;
        } else {
            flat.used = before;
            done = left_out(reader, failure);
        }
    }
    done = done && padded(&flat, &samples->buffers[1], longest, &samples->buffers[0], failure);
    buffer_free(&line);
    buffer_free(&flat);
    set_shape(&samples->inputs[0], &model->inputs[0], samples->samples, longest, &samples->buffers[0]);
    set_shape(&samples->inputs[1], &model->inputs[1], samples->samples, 1, &samples->buffers[1]);
    return done;
}

static bool finite(const char *name, const Spec *spec, const Buffer *buffer, Failure *failure)
{
    if (spec->type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) {
        return true;
    }
    const float *values = buffer->bytes;
    for (size_t i = 0; i < buffer->used / sizeof *values; i++) {
        if (!isfinite(values[i])) {
            return fail(failure, "%s: sample %zu holds a value that is not finite", name,
                        i / sample_elements(spec) + 1);
        }
    }
    return true;
}

/* Raw values, whole samples of them. */
static bool raw(Reader *reader, const Model *model, int64_t most, Samples *samples, Failure *failure)
{
    const Spec *spec = &model->inputs[0];
    size_t size = sample_elements(spec) * spec->item;
    char *sample = malloc(size);
    bool done = sample != NULL || fail(failure, "out of memory");
    while (done && samples->samples < most) {
        size_t count = fread(sample, 1, size, reader->stream);
        if (ferror(reader->stream)) {
            done = fail(failure, "%s: cannot be read: %s", reader->name, strerror(errno));
        } else if (count == 0) {
            break;
        } else if (count < size) {
            done = fail(failure, "%s: ends within a sample: %zu bytes are left, a sample has %zu", reader->name, count,
                        size);
        } else {
            done = buffer_add(&samples->buffers[0], sample, size, failure);
            samples->samples++;
        }
    }
    free(sample);
    set_shape(&samples->inputs[0], spec, samples->samples, 1, &samples->buffers[0]);
    return done && finite(reader->name, spec, &samples->buffers[0], failure);
}

bool samples_read(Reader *reader, const Model *model, int64_t most, Samples *samples, Failure *failure)
{
    samples->samples = 0;
    samples->buffers[0].used = samples->buffers[1].used = 0;
    if (!reader->binary) {
        return model_takes_texts(model) ? texts(reader, model, most, samples, failure)
                                        : numbers(reader, model, most, samples, failure);
    }
    if (model_takes_texts(model)) {
        return fail(failure, "%s: --binary is for models of numbers; this one takes a text a line", reader->name);
    }
    return raw(reader, model, most, samples, failure);
}

bool values_from_file(const char *path, const Spec *spec, int64_t count, Buffer *buffer, Values *values,
                      Failure *failure)
{
    if (!buffer_file(buffer, path, failure)) {
        return false;
    }
    size_t row = (size_t)count * sample_elements(spec) * spec->item;
    int64_t any = (int64_t)(buffer->used / row);
    bool open = false;
    for (size_t i = 1; i < spec->axes; i++) {
        open = open || spec->shape[i] < 0;
    }
    if (buffer->used == 0 || buffer->used % row != 0 || (!open && any != 1)) {
        return fail(failure, "%s: has %zu bytes, which are not %" PRId64 " samples of %s", path, buffer->used, count,
                    spec->name);
    }
    set_shape(values, spec, count, any, buffer);
    return true;
}

void samples_free(Samples *samples)
{
    buffer_free(&samples->buffers[0]);
    buffer_free(&samples->buffers[1]);
    samples->samples = 0;
}
