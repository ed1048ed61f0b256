#include "specs.h"

#include "bundle.h"

#include <stdlib.h>
#include <string.h>

bool said_well(const OrtApi *api, OrtStatus *status, const char *what, Failure *failure)
{
    if (status == NULL) {
        return true;
    }
    fail(failure, "%s: %s", what, api->GetErrorMessage(status));
    api->ReleaseStatus(status);
    return false;
}

static size_t item_of(ONNXTensorElementDataType type)
{
    switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
        return sizeof(uint8_t);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
        return sizeof(int64_t);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
        return sizeof(float);
    default:
        return 0;
    }
}

static bool shape_of(const OrtApi *api, const OrtTypeInfo *info, Spec *spec, Failure *failure)
{
    const OrtTensorTypeAndShapeInfo *tensor = NULL;
    if (!said_well(api, api->CastTypeInfoToTensorInfo(info, &tensor), spec->name, failure)) {
        return false;
    }
    if (tensor == NULL) {
        return fail(failure, "%s: is no tensor", spec->name);
    }
    if (!said_well(api, api->GetTensorElementType(tensor, &spec->type), spec->name, failure)
        || !said_well(api, api->GetDimensionsCount(tensor, &spec->axes), spec->name, failure)) {
        return false;
    }
    spec->item = item_of(spec->type);
    if (spec->item == 0) {
        return fail(failure, "%s: has a type other than uint8, int64 and float32", spec->name);
    }
    if (spec->axes == 0 || spec->axes > MOST_AXES) {
        return fail(failure, "%s: has %zu axes; 1 to %d are read", spec->name, spec->axes, MOST_AXES);
    }
    return said_well(api, api->GetDimensions(tensor, spec->shape, spec->axes), spec->name, failure);
}

typedef OrtStatus *(ORT_API_CALL *NameOf)(const OrtSession *, size_t, OrtAllocator *, char **);
typedef OrtStatus *(ORT_API_CALL *InfoOf)(const OrtSession *, size_t, OrtTypeInfo **);

static bool spec_of(Model *model, size_t index, NameOf name_of, InfoOf info_of, Spec *spec, Failure *failure)
{
    const OrtApi *api = model->api;
    OrtAllocator *allocator = NULL;
    char *name = NULL;
    if (!said_well(api, api->GetAllocatorWithDefaultOptions(&allocator), "allocator", failure)
        || !said_well(api, name_of(model->session, index, allocator, &name), "name", failure)) {
        return false;
    }
    size_t length = strlen(name) + 1;
    spec->name = malloc(length);
    if (spec->name != NULL) {
        memcpy(spec->name, name, length);
    }
    bool freed = said_well(api, api->AllocatorFree(allocator, name), "allocator", failure);
    if (spec->name == NULL || !freed) {
        return freed ? fail(failure, "out of memory") : false;
    }
    OrtTypeInfo *info = NULL;
    if (!said_well(api, info_of(model->session, index, &info), spec->name, failure)) {
        return false;
    }
    bool done = shape_of(api, info, spec, failure);
    api->ReleaseTypeInfo(info);
    return done;
}

bool read_specs(Model *model, const char *path, Failure *failure)
{
    const OrtApi *api = model->api;
    size_t inputs = 0, outputs = 0;
    if (!said_well(api, api->SessionGetInputCount(model->session, &inputs), path, failure)
        || !said_well(api, api->SessionGetOutputCount(model->session, &outputs), path, failure)) {
        return false;
    }
    if (inputs == 0 || outputs == 0 || inputs > MOST_TENSORS || outputs > MOST_TENSORS) {
        return fail(failure, "%s: has %zu inputs and %zu outputs; 1 to %d are read", path, inputs, outputs, MOST_TENSORS);
    }
    for (; model->input_count < inputs; model->input_count++) {
        size_t i = model->input_count;
        if (!spec_of(model, i, api->SessionGetInputName, api->SessionGetInputTypeInfo, &model->inputs[i], failure)) {
            free(model->inputs[i].name);
            return false;
        }
    }
    for (; model->output_count < outputs; model->output_count++) {
        size_t i = model->output_count;
        if (!spec_of(model, i, api->SessionGetOutputName, api->SessionGetOutputTypeInfo, &model->outputs[i], failure)) {
            free(model->outputs[i].name);
            return false;
        }
    }
    return true;
}

bool model_takes_texts(const Model *model)
{
    const Spec *inputs = model->inputs;
    return SYMBOL_COUNT > 0 && model->input_count == 2 && inputs[0].axes == 2 && inputs[0].shape[1] < 0
           && inputs[1].axes == 1 && inputs[0].type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64
           && inputs[1].type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
}

bool is_label(const Spec *output)
{
    return strcmp(output->name, "label") == 0 && output->type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64
           && output->axes == 1;
}

size_t sample_elements(const Spec *spec)
{
    size_t elements = 1;
    for (size_t i = 1; i < spec->axes; i++) {
        elements *= spec->shape[i] < 0 ? 1 : (size_t)spec->shape[i];
    }
    return elements;
}
