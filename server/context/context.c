#include "context.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int64_t context_now(void) {
  return (int64_t)time(NULL);
}

double context_monotonic(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void path_of_job(const context *c, int64_t session, const char *file, char *path, size_t size) {
  snprintf(path, size, "%s/jobs/%lld/%s", c->data_dir, (long long)session, file);
}

void path_of_dataset(const context *c, int64_t dataset, const char *file, char *path, size_t size) {
  snprintf(path, size, "%s/datasets/%lld/%s", c->data_dir, (long long)dataset, file);
}

void path_of_cache(const context *c, int64_t dataset, char *path, size_t size) {
  snprintf(path, size, "%s/cache/%lld", c->data_dir, (long long)dataset);
}

void path_of_upload(const context *c, const char *key, char *path, size_t size) {
  snprintf(path, size, "%s/uploads/%s", c->data_dir, key);
}

void path_of_backup(const context *c, const char *key, char *path, size_t size) {
  snprintf(path, size, "%s/backups/%s.zip", c->data_dir, key);
}

void hide_paths(const context *c, char *text) {
  size_t n = strlen(c->data_dir);
  for (char *p = text; (p = strstr(p, c->data_dir)); p++) {
    char *end = p + n + strcspn(p + n, " \t\n\"',:;)"), *name = end;
    while (name > p && name[-1] != '/') name--;
    memmove(p, name, strlen(name) + 1);
  }
}

void folder_remove(const char *path) {
  char file[CONTEXT_PATH];
  DIR *d = opendir(path);
  for (struct dirent *e; d && (e = readdir(d));) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    snprintf(file, sizeof file, "%s/%s", path, e->d_name);
    unlink(file);
  }
  if (d) closedir(d);
  rmdir(path);
}
