#ifndef LINES_H
#define LINES_H

#include "samples.h"

/* What is wrong with one line alone is a failure `of_line`; the reader then stands on the next line. */

/* The next line that is not blank, without its end, closed by '\0'; `ended` where there is none left. */
bool line_read(Reader *reader, Buffer *line, bool *ended, Failure *failure);

/* Adds one sample's values, separated by commas or spaces, in the input's own type. */
bool line_numbers(const Reader *reader, const char *line, const Spec *spec, Buffer *values, Failure *failure);

/* Adds the numbers of one text's characters, int64, and says how many there are. */
bool line_characters(const Reader *reader, const char *line, Buffer *numbers, int64_t *length, Failure *failure);

#endif
