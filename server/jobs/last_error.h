/* What a run of `webml` wrote to its errors. */
#ifndef SERVER_JOBS_LAST_ERROR_H
#define SERVER_JOBS_LAST_ERROR_H

#include <stddef.h>

/* The last line of the file, without the program's name; "" where there is none. */
void last_error_of(const char *path, char *out, size_t size);

#endif
