#include "last_error.h"

#include <stdio.h>
#include <string.h>

void last_error_of(const char *path, char *out, size_t size) {
  char line[2048];
  FILE *f = fopen(path, "re");
  out[0] = '\0';
  while (f && fgets(line, sizeof line, f)) {
    line[strcspn(line, "\n")] = '\0';
    const char *text = strncmp(line, "webml: ", 7) == 0 ? line + 7 : line;
    if (*text) snprintf(out, size, "%.900s", text);
  }
  if (f) fclose(f);
}
