#ifndef GOLDEN_H
#define GOLDEN_H

#include "model.h"

/* Asks for the samples in `folder`, all at once and one by one, and holds the answers to those that float64 gave.
   False where one is outside its tolerance, or a file is not as it should be. `show` prints the answers too. */
bool golden(const Model *model, const char *folder, bool show, Failure *failure);

#endif
