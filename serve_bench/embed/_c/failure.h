#ifndef FAILURE_H
#define FAILURE_H

#include <stdbool.h>

/* What went wrong, in one line. */
typedef struct {
    char text[512];
    bool of_line; /* of one line of a file: the others can still be answered */
} Failure;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
/* Writes the line and returns false, so that a function can `return fail(…)`. */
bool fail(Failure *failure, const char *format, ...);

/* Prints the line on standard error, after the answers that are there by now. */
void say(const Failure *failure);

#endif
