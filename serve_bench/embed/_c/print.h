#ifndef PRINT_H
#define PRINT_H

#include "model.h"

/* One line of JSON a sample: {"label": 7, "name": "7", "probabilities": [...]} or {"value": [...]}; what is not finite
   is null. */
void print_answers(const Model *model, const Answers *answers);

#endif
