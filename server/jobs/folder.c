#include "folder.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void folder_remove(const char *path) {
  char file[4096];
  DIR *d = opendir(path);
  for (struct dirent *e; d && (e = readdir(d));) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    snprintf(file, sizeof file, "%s/%s", path, e->d_name);
    unlink(file);
  }
  if (d) closedir(d);
  rmdir(path);
}

void folder_last_error(const char *path, char *out, size_t size) {
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
