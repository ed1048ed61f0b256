#ifndef BUNDLE_H
#define BUNDLE_H

#include <stddef.h>
#include <stdint.h>

/* What is known of app.onnx beside its graph; the values stand in bundle.c, which `pipeline embed` writes. */

/* Names of the classes, in the order of "probabilities"; none where the model does not classify. */
extern const size_t LABEL_COUNT;
extern const char *const LABELS[];

/* The characters that a model of texts knows, UTF-8; a character's index is its number. None for other models. */
extern const size_t SYMBOL_COUNT;
extern const char *const SYMBOLS[];

/* Most characters of one text; 0: no bound is known. */
extern const size_t LONGEST_TEXT;

/* Samples in golden/, and the largest distance from a golden answer, for each output but "label" in their order. */
extern const int64_t GOLDEN_SAMPLES;
extern const size_t TOLERANCE_COUNT;
extern const double TOLERANCES[];

#endif
