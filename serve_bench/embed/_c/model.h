#ifndef MODEL_H
#define MODEL_H

#include "failure.h"

#include <onnxruntime_c_api.h>
#include <stddef.h>
#include <stdint.h>

#define MOST_TENSORS 8
#define MOST_AXES 8

/* One input or output as the model declares it; an axis of any size is -1. */
typedef struct {
    char *name;
    ONNXTensorElementDataType type;
    size_t item; /* bytes of one element */
    size_t axes;
    int64_t shape[MOST_AXES];
} Spec;

typedef struct {
    const OrtApi *api;
    OrtEnv *env;
    OrtSession *session;
    OrtMemoryInfo *memory;
    size_t input_count;
    size_t output_count;
    Spec inputs[MOST_TENSORS];
    Spec outputs[MOST_TENSORS];
} Model;

/* Values of one input: the first axis counts samples. */
typedef struct {
    void *data;
    size_t bytes;
    int64_t shape[MOST_AXES];
} Values;

/* The model's outputs, valid until answers_free. */
typedef struct {
    OrtValue *values[MOST_TENSORS];
    void *data[MOST_TENSORS];
    size_t columns[MOST_TENSORS]; /* elements of one sample */
    int64_t samples;
} Answers;

/* Loads the model and checks that it is one this program can ask; `threads` 0 leaves the choice to ONNX Runtime. */
bool model_open(Model *model, const char *path, int threads, Failure *failure);

/* Asks for all samples of `inputs` at once. */
bool model_run(const Model *model, const Values *inputs, Answers *answers, Failure *failure);

void answers_free(const Model *model, Answers *answers);
void model_close(Model *model);

/* Whether it takes texts: characters (samples, length) and lengths (samples). */
bool model_takes_texts(const Model *model);

/* Whether an output is the class's index, not numbers of its own. */
bool is_label(const Spec *output);

/* Elements of one sample; of a text's characters, of one character. */
size_t sample_elements(const Spec *spec);

#endif
