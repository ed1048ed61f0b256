#include "golden.h"

#include "bundle.h"
#include "print.h"
#include "samples.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define LONGEST_PATH 4096

/* What float64 answers. */
typedef struct {
    Buffer numbers[MOST_TENSORS]; /* double, of each output but "label" */
    Buffer labels;                /* int64 */
    double largest[MOST_TENSORS]; /* distance seen */
} Truth;

static bool path_in(const char *folder, const char *kind, size_t number, char path[LONGEST_PATH], Failure *failure)
{
    int length = snprintf(path, LONGEST_PATH, "%s/%s%zu.bin", folder, kind, number);
    return (length > 0 && length < LONGEST_PATH) || fail(failure, "%.80s…: is too long a path", folder);
}

static bool read_truth(const Model *model, const char *folder, Truth *truth, Failure *failure)
{
    char path[LONGEST_PATH];
    size_t number = 0;
    for (size_t i = 0; i < model->output_count; i++) {
        bool label = is_label(&model->outputs[i]);
        if (!path_in(folder, label ? "label" : "output", label ? 0 : number++, path, failure)
            || !buffer_file(label ? &truth->labels : &truth->numbers[i], path, failure)) {
            return false;
        }
    }
    return true;
}

/* Whether the two most probable classes are nearer than rounding can tell apart. */
static bool too_close(const double *row, size_t columns, double tolerance)
{
    double first = -INFINITY, second = -INFINITY;
    for (size_t i = 0; i < columns; i++) {
        if (row[i] > first) {
            second = first;
            first = row[i];
        } else if (row[i] > second) {
            second = row[i];
        }
    }
    return first - second < 2 * tolerance;
}

static bool compare_numbers(const Model *model, const Answers *answers, size_t output, size_t start, double tolerance,
                            Truth *truth, Failure *failure)
{
    const float *given = answers->data[output];
    const double *wanted = truth->numbers[output].bytes;
    size_t columns = answers->columns[output];
    if (truth->numbers[output].used != (size_t)GOLDEN_SAMPLES * columns * sizeof *wanted) {
        return fail(failure, "golden: %s has %zu numbers a sample, which are not those of the golden answers",
                    model->outputs[output].name, columns);
    }
    for (size_t i = 0; i < (size_t)answers->samples * columns; i++) {
        double right = wanted[start * columns + i];
        double distance = fabs((double)given[i] - right);
        if (!(distance <= tolerance)) {
            return fail(failure, "golden: sample %zu, %s[%zu]: %.9g, where float64 has %.9g (%.1e apart, %.1e allowed)",
                        start + i / columns, model->outputs[output].name, i % columns, (double)given[i], right,
                        distance, tolerance);
        }
        truth->largest[output] = fmax(truth->largest[output], distance);
    }
    return true;
}

static bool compare_labels(const Model *model, const Answers *answers, size_t output, size_t start, const Truth *truth,
                           Failure *failure)
{
    const int64_t *given = answers->data[output], *wanted = truth->labels.bytes;
    if (truth->labels.used != (size_t)GOLDEN_SAMPLES * sizeof *wanted) {
        return fail(failure, "golden: there are not as many labels as samples");
    }
    for (size_t i = 0; i < (size_t)answers->samples; i++) {
        bool close = false;
        for (size_t j = 0, number = 0; j < model->output_count; j++) {
            if (j != output) {
                const double *row = truth->numbers[j].bytes;
                size_t columns = answers->columns[j];
                close = close || too_close(row + (start + i) * columns, columns, TOLERANCES[number]);
                number++;
            }
        }
        if (given[i] != wanted[start + i] && !close) {
            return fail(failure, "golden: sample %zu has label %" PRId64 ", where float64 has %" PRId64, start + i,
                        given[i], wanted[start + i]);
        }
    }
    return true;
}

static bool ask(const Model *model, const Values *inputs, size_t start, bool show, Truth *truth, Failure *failure)
{
    Answers answers;
    if (!model_run(model, inputs, &answers, failure)) {
        return false;
    }
    if (show) {
        print_answers(model, &answers);
    }
    bool done = true;
    for (size_t i = 0, number = 0; done && i < model->output_count; i++) {
        if (!is_label(&model->outputs[i])) {
            done = compare_numbers(model, &answers, i, start, TOLERANCES[number++], truth, failure);
        }
    }
    for (size_t i = 0; done && i < model->output_count; i++) {
        if (is_label(&model->outputs[i])) {
            done = compare_labels(model, &answers, i, start, truth, failure);
        }
    }
    answers_free(model, &answers);
    return done;
}

static bool one_by_one(const Model *model, const Values *all, Truth *truth, Failure *failure)
{
    Values one[MOST_TENSORS];
    for (size_t sample = 0; sample < (size_t)GOLDEN_SAMPLES; sample++) {
        for (size_t i = 0; i < model->input_count; i++) {
            one[i] = all[i];
            one[i].bytes = all[i].bytes / (size_t)GOLDEN_SAMPLES;
            one[i].data = (char *)all[i].data + sample * one[i].bytes;
            one[i].shape[0] = 1;
        }
        if (!ask(model, one, sample, false, truth, failure)) {
            return false;
        }
    }
    return true;
}

static void tell(const Model *model, const Truth *truth)
{
    fprintf(stderr, "golden: all %" PRId64 " samples are inside", GOLDEN_SAMPLES);
    for (size_t i = 0, number = 0; i < model->output_count; i++) {
        if (!is_label(&model->outputs[i])) {
            fprintf(stderr, "; %s at most %.1e apart, %.1e allowed", model->outputs[i].name, truth->largest[i],
                    TOLERANCES[number++]);
        }
    }
    fprintf(stderr, "\n");
}

bool golden(const Model *model, const char *folder, bool show, Failure *failure)
{
    Truth truth = {0};
    Values inputs[MOST_TENSORS];
    Buffer buffers[MOST_TENSORS] = {{0}};
    char path[LONGEST_PATH];
    bool done = read_truth(model, folder, &truth, failure);
    for (size_t i = 0; done && i < model->input_count; i++) {
        done = path_in(folder, "input", i, path, failure)
               && values_from_file(path, &model->inputs[i], GOLDEN_SAMPLES, &buffers[i], &inputs[i], failure);
    }
    done = done && ask(model, inputs, 0, show, &truth, failure) && one_by_one(model, inputs, &truth, failure);
    if (done) {
        tell(model, &truth);
    }
    for (size_t i = 0; i < MOST_TENSORS; i++) {
        buffer_free(&buffers[i]);
        buffer_free(&truth.numbers[i]);
    }
    buffer_free(&truth.labels);
    return done;
}
