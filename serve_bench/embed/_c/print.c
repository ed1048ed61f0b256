#include "print.h"

#include "bundle.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static void print_string(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            printf("\\%c", c);
        } else if (c < 0x20 || c == 0x7f) {
            printf("\\u%04x", c);
        } else {
            putchar(c);
        }
    }
    putchar('"');
}

static void print_numbers(const float *values, size_t count)
{
    putchar('[');
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            printf(", ");
        }
        if (isfinite(values[i])) {
            printf("%.9g", (double)values[i]);
        } else {
            printf("null");
        }
    }
    putchar(']');
}

static void print_label(int64_t label)
{
    printf("\"label\": %" PRId64, label);
    if (label >= 0 && (uint64_t)label < LABEL_COUNT) {
        printf(", \"name\": ");
        print_string(LABELS[label]);
    }
}

static void print_sample(const Model *model, const Answers *answers, size_t sample)
{
    const char *between = "";
    for (size_t i = 0; i < model->output_count; i++) {
        if (is_label(&model->outputs[i])) {
            print_label(((const int64_t *)answers->data[i])[sample]);
            between = ", ";
        }
    }
    for (size_t i = 0; i < model->output_count; i++) {
        if (!is_label(&model->outputs[i])) {
            size_t columns = answers->columns[i];
            printf("%s", between);
            print_string(model->outputs[i].name);
            printf(": ");
            print_numbers((const float *)answers->data[i] + sample * columns, columns);
            between = ", ";
        }
    }
}

void print_answers(const Model *model, const Answers *answers)
{
    for (size_t sample = 0; sample < (size_t)answers->samples; sample++) {
        putchar('{');
        print_sample(model, answers, sample);
        printf("}\n");
    }
}
