#include "files.h"

#include "store/datasets.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

bool files_prepare(const context *c) {
  static const char *const folders[] = {"uploads", "datasets", "cache", "jobs", "backups"};
  char path[CONTEXT_PATH];
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
    snprintf(path, sizeof path, "%s/%s", c->data_dir, folders[i]);
    if (mkdir(path, 0700) != 0 && errno != EEXIST) return false;
  }
  return true;
}

static void tidy_uploads(const context *c) {
  char path[CONTEXT_PATH];
  path_of_upload(c, "", path, sizeof path);
  DIR *d = opendir(path);
  for (struct dirent *e; d && (e = readdir(d));) {
    if (e->d_name[0] == '.' || upload_exists(c->store, e->d_name)) continue;
    path_of_upload(c, e->d_name, path, sizeof path);
    unlink(path);
  }
  if (d) closedir(d);
}

/* what: "datasets" or "cache", whose folders have the numbers of data sets. */
static void tidy_datasets(const context *c, const char *what) {
  char path[CONTEXT_PATH];
  snprintf(path, sizeof path, "%s/%s", c->data_dir, what);
  DIR *d = opendir(path);
  for (struct dirent *e; d && (e = readdir(d));) {
    int64_t id = strtoll(e->d_name, NULL, 10);
    if (e->d_name[0] == '.' || dataset_exists(c->store, id)) continue;
    snprintf(path, sizeof path, "%s/%s/%lld", c->data_dir, what, (long long)id);
    folder_remove(path);
  }
  if (d) closedir(d);
}

void files_tidy(const context *c) {
  tidy_uploads(c);
  tidy_datasets(c, "datasets");
  tidy_datasets(c, "cache");
}
