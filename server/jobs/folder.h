/* What the server's own processes leave in their folders. */
#ifndef SERVER_JOBS_FOLDER_H
#define SERVER_JOBS_FOLDER_H

#include <stddef.h>

/* Removes a folder and the files in it; folders in it stay, and so does it then. */
void folder_remove(const char *path);
/* The last line that `webml` wrote to its errors, without its name; "" where there is none. */
void folder_last_error(const char *path, char *out, size_t size);

#endif
