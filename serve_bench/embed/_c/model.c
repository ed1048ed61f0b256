#include "model.h"

#include "buffer.h"
#include "bundle.h"
#include "specs.h"

#include <inttypes.h>
#include <stdlib.h>

/* Whether this program, with the names in bundle.c, belongs to that model. */
static bool check(const Model *model, const char *path, Failure *failure)
{
    const Spec *first = &model->inputs[0];
    bool fixed = model->input_count == 1 && first->shape[0] < 0;
    for (size_t i = 1; i < first->axes; i++) {
        fixed = fixed && first->shape[i] > 0 && first->shape[i] <= (1 << 24);
    }
    if (!model_takes_texts(model) && !fixed) {
        return fail(failure, "%s: takes neither one input of a known shape nor texts with their lengths", path);
    }
    size_t numbers = 0;
    for (size_t i = 0; i < model->output_count; i++) {
        const Spec *output = &model->outputs[i];
        if (is_label(output)) {
            continue;
        }
        numbers++;
        if (output->type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) {
            return fail(failure, "%s: output %s is not float32", path, output->name);
        }
        if (LABEL_COUNT > 0 && output->axes == 2 && output->shape[1] != (int64_t)LABEL_COUNT) {
            return fail(failure, "%s: has %" PRId64 " classes, bundle.c names %zu: they do not belong together", path,
                        output->shape[1], LABEL_COUNT);
        }
    }
    if (numbers != TOLERANCE_COUNT) {
        return fail(failure, "%s: has %zu outputs of numbers, bundle.c knows %zu: they do not belong together", path,
                    numbers, TOLERANCE_COUNT);
    }
    return true;
}

static bool open_session(Model *model, const char *path, int threads, const Buffer *file, Failure *failure)
{
    const OrtApi *api = model->api;
    OrtSessionOptions *options = NULL;
    bool done = said_well(api, api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "answer", &model->env), path, failure)
                && said_well(api, api->CreateSessionOptions(&options), path, failure)
                && said_well(api, api->SetIntraOpNumThreads(options, threads), path, failure)
                && said_well(api,
                             api->CreateSessionFromArray(model->env, file->bytes, file->used, options, &model->session),
                             path, failure)
                && said_well(api, api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &model->memory), path,
                             failure);
    if (options != NULL) {
        api->ReleaseSessionOptions(options);
    }
    return done;
}

bool model_open(Model *model, const char *path, int threads, Failure *failure)
{
    *model = (Model){.api = OrtGetApiBase()->GetApi(ORT_API_VERSION)};
    if (model->api == NULL) {
        return fail(failure, "ONNX Runtime %s is older than the headers this program was built with (1.%d)",
                    OrtGetApiBase()->GetVersionString(), ORT_API_VERSION);
    }
    Buffer file = {0};
    bool done = buffer_file(&file, path, failure);
    if (done && file.used == 0) {
        done = fail(failure, "%s: is empty", path);
    }
    done = done && open_session(model, path, threads, &file, failure) && read_specs(model, path, failure)
           && check(model, path, failure);
    buffer_free(&file);
    if (!done) {
        model_close(model);
    }
    return done;
}

static bool keep(const Model *model, size_t index, int64_t samples, Answers *answers, Failure *failure)
{
    const OrtApi *api = model->api;
    const Spec *spec = &model->outputs[index];
    OrtTensorTypeAndShapeInfo *info = NULL;
    size_t elements = 0;
    int64_t shape[MOST_AXES] = {0};
    size_t axes = 0;
    if (!said_well(api, api->GetTensorTypeAndShape(answers->values[index], &info), spec->name, failure)) {
        return false;
    }
    bool done = said_well(api, api->GetTensorShapeElementCount(info, &elements), spec->name, failure)
                && said_well(api, api->GetDimensionsCount(info, &axes), spec->name, failure);
    if (done && (axes == 0 || axes > MOST_AXES)) {
        done = fail(failure, "%s: answers with %zu axes", spec->name, axes);
    }
    done = done && said_well(api, api->GetDimensions(info, shape, axes), spec->name, failure);
    api->ReleaseTensorTypeAndShapeInfo(info);
    if (done && shape[0] != samples) {
        done = fail(failure, "%s: answers %" PRId64 " samples of %" PRId64, spec->name, shape[0], samples);
    }
    answers->columns[index] = done ? elements / (size_t)samples : 0;
    return done
           && said_well(api, api->GetTensorMutableData(answers->values[index], &answers->data[index]), spec->name,
                        failure);
}

bool model_run(const Model *model, const Values *inputs, Answers *answers, Failure *failure)
{
    const OrtApi *api = model->api;
    OrtValue *given[MOST_TENSORS] = {NULL};
    const char *input_names[MOST_TENSORS], *output_names[MOST_TENSORS];
    bool done = true;
    *answers = (Answers){.samples = inputs[0].shape[0]};
    for (size_t i = 0; i < model->output_count; i++) {
        output_names[i] = model->outputs[i].name;
    }
    for (size_t i = 0; done && i < model->input_count; i++) {
        const Spec *spec = &model->inputs[i];
        input_names[i] = spec->name;
        done = said_well(api,
                         api->CreateTensorWithDataAsOrtValue(model->memory, inputs[i].data, inputs[i].bytes,
                                                             inputs[i].shape, spec->axes, spec->type, &given[i]),
                         spec->name, failure);
    }
    done = done
           && said_well(api,
                        api->Run(model->session, NULL, input_names, (const OrtValue *const *)given, model->input_count,
                                 output_names, model->output_count, answers->values),
                        "the model cannot answer", failure);
    for (size_t i = 0; done && i < model->output_count; i++) {
        done = keep(model, i, answers->samples, answers, failure);
    }
    for (size_t i = 0; i < model->input_count; i++) {
        if (given[i] != NULL) {
            api->ReleaseValue(given[i]);
        }
    }
    if (!done) {
        answers_free(model, answers);
    }
    return done;
}

void answers_free(const Model *model, Answers *answers)
{
    for (size_t i = 0; i < MOST_TENSORS; i++) {
        if (answers->values[i] != NULL) {
            model->api->ReleaseValue(answers->values[i]);
        }
    }
    *answers = (Answers){0};
}

void model_close(Model *model)
{
    for (size_t i = 0; i < model->input_count; i++) {
        free(model->inputs[i].name);
    }
    for (size_t i = 0; i < model->output_count; i++) {
        free(model->outputs[i].name);
    }
    if (model->memory != NULL) {
        model->api->ReleaseMemoryInfo(model->memory);
    }
    if (model->session != NULL) {
        model->api->ReleaseSession(model->session);
    }
    if (model->env != NULL) {
        model->api->ReleaseEnv(model->env);
    }
    *model = (Model){0};
}
