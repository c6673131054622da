/* A fuzzed input as a file, for parsers that read files. */
#ifndef WML_FUZZ_H
#define WML_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline const char *fuzz_file(const char *suffix, const uint8_t *data, size_t size) {
  static char path[64];
  if (!*path) snprintf(path, sizeof path, "/tmp/webml-fuzz-%ld.%s", (long)getpid(), suffix);
  FILE *f = fopen(path, "wb");
  if (!f || fwrite(data, 1, size, f) != size || fclose(f) != 0) abort();
  return path;
}

#endif
