#include "golden.h"
#include "print.h"
#include "samples.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL "app.onnx"
#define LONGEST_PATH 4096
#ifdef _WIN32
#define SEPARATORS "/\\"
#else
#define SEPARATORS "/"
#endif

enum { FAILED = 1, WRONG_USE = 2 };

typedef struct {
    const char *model; /* NULL: app.onnx, wherever it lies */
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
                           "  -m, --model FILE      the model; default app.onnx here, beside this program or above it\n"
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

static bool is_there(const char *path)
{
    FILE *stream = fopen(path, "rb");
    if (stream != NULL) {
        fclose(stream);
    }
    return stream != NULL;
}

/* app.onnx in the current folder, else in the program's own as it was called, else in the one above. */
static bool find_model(const char *program, char path[LONGEST_PATH])
{
    static const char *const PLACES[] = {"", "../"};
    snprintf(path, LONGEST_PATH, "%s", MODEL);
    if (is_there(path)) {
        return true;
    }
    size_t folder = program == NULL ? 0 : strlen(program);
    while (folder > 0 && strchr(SEPARATORS, program[folder - 1]) == NULL) {
        folder--;
    }
    for (size_t i = 0; folder > 0 && folder < LONGEST_PATH / 2 && i < sizeof PLACES / sizeof *PLACES; i++) {
        snprintf(path, LONGEST_PATH, "%.*s%s%s", (int)folder, program, PLACES[i], MODEL);
        if (is_there(path)) {
            return true;
        }
    }
    return false;
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
    return done && !any && reader->malformed == 0 ? fail(failure, "%s: holds no sample", reader->name) : done;
}

/* False where not every line was answered; all that stood in the way is said by then. */
static bool answer_file(const Model *model, const Options *options, const char *name)
{
    Failure failure = {0};
    bool standard = strcmp(name, "-") == 0;
    Reader reader = {.name = standard ? "standard input" : name, .binary = options->binary};
    reader.stream = standard ? stdin : fopen(name, "rb");
    bool done = reader.stream != NULL ? answer(model, options, &reader, &failure)
                                      : fail(&failure, "%s: cannot be opened: %s", name, strerror(errno));
    if (!standard && reader.stream != NULL) {
        fclose(reader.stream);
    }
    if (!done) {
        say(&failure);
    }
    return done && reader.malformed == 0;
}

static int failed(const Failure *failure, int status)
{
    say(failure);
    return status;
}

int main(int count, char **words)
{
    Options options = {.threads = 1, .batch = 64};
    Failure failure = {0};
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
    char path[LONGEST_PATH];
    if (options.model == NULL) {
        if (!find_model(words[0], path)) {
            fail(&failure, MODEL " lies neither here, nor beside this program, nor in the folder above; "
                                 "name it with --model");
            return failed(&failure, FAILED);
        }
        options.model = path;
    }
    if (!model_open(&model, options.model, options.threads, &failure)) {
        return failed(&failure, FAILED);
    }
    bool done = options.golden == NULL || golden(&model, options.golden, options.show, &failure);
    int status = done ? EXIT_SUCCESS : failed(&failure, FAILED);
    for (int i = 0; i < files; i++) {
        status = answer_file(&model, &options, names[i]) ? status : FAILED;
    }
    model_close(&model);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fail(&failure, "the answers cannot be written: %s", strerror(errno));
        return failed(&failure, FAILED);
    }
    return status;
}
