#ifndef SPECS_H
#define SPECS_H

#include "model.h"

/* True for the status of a call that went well (NULL); else says what ONNX Runtime says, and frees it. */
bool said_well(const OrtApi *api, OrtStatus *status, const char *what, Failure *failure);

/* Names, types and shapes of the session's inputs and outputs. */
bool read_specs(Model *model, const char *path, Failure *failure);

#endif
