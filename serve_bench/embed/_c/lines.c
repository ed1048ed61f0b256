#include "lines.h"

#include "bundle.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST_LINE ((size_t)1 << 20)
#define LONGEST_NUMBER 63

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
/* As `fail`, with the place in front: what is wrong with this line alone. */
static bool fail_line(const Reader *reader, Failure *failure, const char *format, ...)
{
    char text[sizeof failure->text];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    fail(failure, "%s:%zu: %s", reader->name, reader->line, text);
    failure->of_line = true;
    return false;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_blank(const char *line)
{
    return line[strspn(line, " \t")] == '\0';
}

static void skip_line(Reader *reader)
{
    int c;
    do {
        c = fgetc(reader->stream);
    } while (c != EOF && c != '\n');
}

static bool one_line(Reader *reader, Buffer *line, bool *ended, Failure *failure)
{
    int c = fgetc(reader->stream);
    *ended = c == EOF;
    line->used = 0;
    reader->line++;
    for (; c != EOF && c != '\n'; c = fgetc(reader->stream)) {
        char byte = (char)c;
        if (c == '\0') {
            skip_line(reader);
            return fail_line(reader, failure, "holds a zero byte: is it --binary?");
        }
        if (line->used == LONGEST_LINE) {
            skip_line(reader);
            return fail_line(reader, failure, "is longer than %zu bytes", LONGEST_LINE);
        }
        if (!buffer_add(line, &byte, 1, failure)) {
            return false;
        }
    }
    if (ferror(reader->stream)) {
        return fail(failure, "%s: cannot be read: %s", reader->name, strerror(errno));
    }
    if (line->used > 0 && ((char *)line->bytes)[line->used - 1] == '\r') {
        line->used--;
    }
    return buffer_add(line, "", 1, failure);
}

bool line_read(Reader *reader, Buffer *line, bool *ended, Failure *failure)
{
    do {
        if (!one_line(reader, line, ended, failure)) {
            return false;
        }
    } while (!*ended && is_blank(line->bytes));
    return true;
}

static bool add_whole(const char *text, ONNXTensorElementDataType type, Buffer *values, bool *understood,
                      Failure *failure)
{
    char *end = NULL;
    errno = 0;
    long long whole = strtoll(text, &end, 10);
    bool byte = type == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
    *understood = errno == 0 && *end == '\0' && (!byte || (whole >= 0 && whole <= UINT8_MAX));
    uint8_t small = (uint8_t)whole;
    int64_t large = (int64_t)whole;
    return !*understood || buffer_add(values, byte ? (void *)&small : (void *)&large, byte ? 1 : sizeof large, failure);
}

static bool add_number(const char *text, ONNXTensorElementDataType type, Buffer *values, bool *understood,
                       Failure *failure)
{
    if (text[strspn(text, "+-.0123456789eE")] != '\0') {
        *understood = false;
        return true;
    }
    if (type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) {
        return add_whole(text, type, values, understood, failure);
    }
    char *end = NULL;
    float number = strtof(text, &end);
    *understood = end != text && *end == '\0' && isfinite(number);
    return !*understood || buffer_add(values, &number, sizeof number, failure);
}

static const char *range_of(ONNXTensorElementDataType type)
{
    switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
        return "a whole number from 0 to 255";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
        return "a whole number of 64 bits";
    default:
        return "a number of float32's range";
    }
}

/* A field's text without what surrounds it; `next` stands behind its comma, or on the next field, or on the end. */
static bool field(const Reader *reader, const char **next, char text[LONGEST_NUMBER + 1], Failure *failure)
{
    size_t length = strcspn(*next, ", \t");
    if (length == 0) {
        return fail_line(reader, failure, "a field is empty");
    }
    if (length > LONGEST_NUMBER) {
        return fail_line(reader, failure, "a number has more than %d characters", LONGEST_NUMBER);
    }
    memcpy(text, *next, length);
    text[length] = '\0';
    *next += length;
    *next += strspn(*next, " \t");
    if (**next == ',') {
        *next += 1 + strspn(*next + 1, " \t");
        if (**next == '\0') {
            return fail_line(reader, failure, "ends with a comma");
        }
    }
    return true;
}

bool line_numbers(const Reader *reader, const char *line, const Spec *spec, Buffer *values, Failure *failure)
{
    size_t wanted = sample_elements(spec), found = 0;
    char text[LONGEST_NUMBER + 1];
    const char *next = line;
    while (is_space(*next)) {
        next++;
    }
    for (; *next != '\0'; found++) {
        bool understood = false;
        if (!field(reader, &next, text, failure)) {
            return false;
        }
        if (found < wanted && !add_number(text, spec->type, values, &understood, failure)) {
            return false;
        }
        if (found < wanted && !understood) {
            return fail_line(reader, failure, "value %zu, '%s', is not %s", found + 1, text, range_of(spec->type));
        }
    }
    if (found != wanted) {
        return fail_line(reader, failure, "holds %zu values; %s takes %zu a sample", found, spec->name, wanted);
    }
    return true;
}

/* Bytes of the UTF-8 character at `text`; 0 where there is none. */
static size_t character(const char *text)
{
    unsigned char first = (unsigned char)text[0];
    size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < length; i++) {
        if (((unsigned char)text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return length;
}

static int64_t symbol(const char *text, size_t length)
{
    for (size_t i = 0; i < SYMBOL_COUNT; i++) {
        if (strlen(SYMBOLS[i]) == length && memcmp(SYMBOLS[i], text, length) == 0) {
            return (int64_t)i;
        }
    }
    return -1;
}

bool line_characters(const Reader *reader, const char *line, Buffer *numbers, int64_t *length, Failure *failure)
{
    *length = 0;
    for (const char *next = line; *next != '\0'; ++*length) {
        size_t bytes = character(next);
        if (bytes == 0) {
            return fail_line(reader, failure, "is not UTF-8");
        }
        int64_t number = symbol(next, bytes);
        if (number < 0) {
            return fail_line(reader, failure, "'%.*s' is none of the %zu characters known", (int)bytes, next,
                             SYMBOL_COUNT);
        }
        if (LONGEST_TEXT > 0 && *length >= (int64_t)LONGEST_TEXT) {
            return fail_line(reader, failure, "has more than %zu characters", LONGEST_TEXT);
        }
        if (!buffer_add(numbers, &number, sizeof number, failure)) {
            return false;
        }
        next += bytes;
    }
    return true;
}
