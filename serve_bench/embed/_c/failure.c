#include "failure.h"

#include <stdarg.h>
#include <stdio.h>

bool fail(Failure *failure, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(failure->text, sizeof failure->text, format, values);
    va_end(values);
    failure->of_line = false;
    for (char *c = failure->text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = ' ';
        }
    }
    return false;
}

void say(const Failure *failure)
{
    fflush(stdout);
    fprintf(stderr, "error: %s\n", failure->text);
}
