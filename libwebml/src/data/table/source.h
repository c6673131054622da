/* Where a table's bytes come from: a file, plain or gzip, or memory. */
#ifndef WML_DATA_TABLE_SOURCE_H
#define WML_DATA_TABLE_SOURCE_H

#include "base/status.h"

#include <stdio.h>
#include <zlib.h>

typedef struct wml_source {
  const char *name;
  int fd;
  gzFile gzip;
  const char *memory;
  size_t size, at;   /* of memory; size of the file as it lies on disk */
  uint64_t identity; /* of the file as it is now: path, size, times */
} wml_source;

webml_status wml_source_open(const char *path, wml_source *s);
void wml_source_memory(const char *bytes, size_t size, const char *name, wml_source *s);
/* Fills `out`; fewer bytes only at the end. */
webml_status wml_source_read(wml_source *s, char *out, size_t want, size_t *got);
webml_status wml_source_rewind(wml_source *s);
void wml_source_close(wml_source *s);

#endif
