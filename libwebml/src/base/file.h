/* Files: whole reads, atomic writes. */
#ifndef WML_BASE_FILE_H
#define WML_BASE_FILE_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

/* Reads a whole file of at most `limit` bytes; a NUL follows the last byte. wml_free(*data). */
webml_status wml_file_read(const char *path, size_t limit, char **data, size_t *size);
webml_status wml_file_size(const char *path, int64_t *bytes);
bool wml_file_exists(const char *path);
bool wml_is_directory(const char *path);
/* Whether both names lead to one file that is there. */
bool wml_same_file(const char *a, const char *b);

/* Changes when the file is written, replaced or touched: a hash of device, inode, size and times.
 */
uint64_t wml_file_identity(const struct stat *info);

/* A file that appears under its name only when it is whole: written beside it, synced, renamed. A
 * kill at any instant leaves the old file or the new one. */
typedef struct wml_atomic_file {
  FILE *file;
  char *path, *temporary;
} wml_atomic_file;

webml_status wml_atomic_open(const char *path, wml_atomic_file *f);
webml_status wml_atomic_write(wml_atomic_file *f, const void *data, size_t bytes);
/* Makes it visible. The struct is finished with, whatever the status. */
webml_status wml_atomic_commit(wml_atomic_file *f);
void wml_atomic_abandon(wml_atomic_file *f);

/* All of it at once. */
webml_status wml_file_write(const char *path, const void *data, size_t bytes);

/* "directory/name"; NULL without memory. */
char *wml_path_join(const char *directory, const char *name);

#endif
