#include "golden.h"
#include "print.h"
#include "samples.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAILED = 1, WRONG_USE = 2 };

typedef struct {
    const char *model;
    const char *golden;
    int threads;
    int batch;
    bool binary;
    bool show;
    bool help;
} Options;

static const char HELP[] = "usage: answer [options] FILE...\n"
                           "       answer [options] --golden FOLDER\n"
                           "\n"
                           "Asks app.onnx for every sample in FILE (- is standard input), a line of JSON each.\n"
                           "A line of FILE is a sample: its numbers, separated by commas or spaces, or a text.\n"
                           "\n"
                           "  -m, --model FILE      the model; default app.onnx\n"
                           "  -t, --threads N       threads of one run, 1 to 1024; default 1\n"
                           "  -b, --batch N         samples asked for at once, 1 to 65536; default 64\n"
                           "      --binary          FILE holds raw values of the input's own type, without lines\n"
                           "      --golden FOLDER   test: ask for the golden samples and compare\n"
                           "      --show            with --golden: print the answers too\n"
                           "  -h, --help\n";

static bool whole_number(const char *option, const char *text, int most, int *number, Failure *failure)
{
    char *end = NULL;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < 1 || value > most) {
        return fail(failure, "%s %.80s: is no whole number from 1 to %d", option, text, most);
    }
    *number = (int)value;
    return true;
}

static bool is(const char *word, const char *one, const char *other)
{
    return strcmp(word, one) == 0 || strcmp(word, other) == 0;
}

/* Takes the options out of `words`, whose files come first then; false for a word that is none. */
static bool read_options(char **words, int *count, Options *options, Failure *failure)
{
    int files = 0;
    bool only_files = false;
    for (int i = 0; i < *count; i++) {
        char *word = words[i];
        const char *value = i + 1 < *count ? words[i + 1] : NULL;
        bool takes_value = is(word, "-m", "--model") || is(word, "-t", "--threads") || is(word, "-b", "--batch")
                           || is(word, "--golden", "--golden");
        if (only_files || word[0] != '-' || word[1] == '\0') {
            words[files++] = word;
        } else if (takes_value && value == NULL) {
            return fail(failure, "%s: a value is missing", word);
        } else if (takes_value) {
            i++;
            if (is(word, "-m", "--model")) {
                options->model = value;
            } else if (is(word, "--golden", "--golden")) {
                options->golden = value;
            } else if (is(word, "-t", "--threads")
                           ? !whole_number(word, value, 1024, &options->threads, failure)
                           : !whole_number(word, value, 65536, &options->batch, failure)) {
                return false;
            }
        } else if (is(word, "-h", "--help")) {
            options->help = true;
        } else if (is(word, "--binary", "--binary")) {
            options->binary = true;
        } else if (is(word, "--show", "--show")) {
            options->show = true;
        } else if (is(word, "--", "--")) {
            only_files = true;
        } else {
            return fail(failure, "%.80s: no such option; see --help", word);
        }
    }
    *count = files;
    return true;
}

static bool answer(const Model *model, const Options *options, Reader *reader, Failure *failure)
{
    Samples samples = {0};
    bool done = true, any = false;
    do {
        Answers answers;
        done = samples_read(reader, model, options->batch, &samples, failure);
        if (!done || samples.samples == 0) {
            break;
        }
        any = true;
        done = model_run(model, samples.inputs, &answers, failure);
        if (done) {
            print_answers(model, &answers);
            answers_free(model, &answers);
        }
    } while (done);
    samples_free(&samples);
    return done && !any ? fail(failure, "%s: holds no sample", reader->name) : done;
}

static bool answer_file(const Model *model, const Options *options, const char *name, Failure *failure)
{
    bool standard = strcmp(name, "-") == 0;
    Reader reader = {.name = standard ? "standard input" : name, .binary = options->binary};
    reader.stream = standard ? stdin : fopen(name, "rb");
    if (reader.stream == NULL) {
        return fail(failure, "%s: cannot be opened: %s", name, strerror(errno));
    }
    bool done = answer(model, options, &reader, failure);
    if (!standard) {
        fclose(reader.stream);
    }
    return done;
}

static int failed(const Failure *failure, int status)
{
    fflush(stdout);
    fprintf(stderr, "error: %s\n", failure->text);
    return status;
}

int main(int count, char **words)
{
    Options options = {.model = "app.onnx", .threads = 1, .batch = 64};
    Failure failure = {""};
    int files = count > 0 ? count - 1 : 0;
    char **names = words + 1;
    if (!read_options(names, &files, &options, &failure)) {
        return failed(&failure, WRONG_USE);
    }
    if (options.help) {
        return fputs(HELP, stdout) < 0 ? FAILED : EXIT_SUCCESS;
    }
    if ((files == 0) == (options.golden == NULL)) {
        fail(&failure, "name a file of samples, or --golden FOLDER; see --help");
        return failed(&failure, WRONG_USE);
    }
    Model model;
    if (!model_open(&model, options.model, options.threads, &failure)) {
        return failed(&failure, FAILED);
    }
    bool done = options.golden == NULL || golden(&model, options.golden, options.show, &failure);
    for (int i = 0; done && i < files; i++) {
        done = answer_file(&model, &options, names[i], &failure);
    }
    model_close(&model);
    if (done && (fflush(stdout) != 0 || ferror(stdout))) {
        done = fail(&failure, "the answers cannot be written: %s", strerror(errno));
    }
    return done ? EXIT_SUCCESS : failed(&failure, FAILED);
}
