#ifndef FAILURE_H
#define FAILURE_H

#include <stdbool.h>

/* What went wrong, in one line. */
typedef struct {
    char text[512];
} Failure;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
/* Writes the line and returns false, so that a function can `return fail(…)`. */
bool fail(Failure *failure, const char *format, ...);

#endif
