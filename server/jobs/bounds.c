#include "bounds.h"

#include "context/settings.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Bytes a second at which even a slow machine that computes something else reads a data set. */
static const uint64_t slowest = 4 << 20;
/* What a short run writes of a data set: typed cells of a table, the list of an archive. A number
 * of eight bytes takes two or more as text, and packed text may be text many times over. */
static const uint64_t growth = 16, least_file = (uint64_t)1 << 30;

/* ---- what there is ---- */

static uint64_t bytes_of(const char *folder) {
  char path[CONTEXT_PATH + 260];
  struct stat info;
  uint64_t bytes = 0;
  DIR *d = opendir(folder);
  for (struct dirent *e; d && (e = readdir(d));) {
    snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    if (stat(path, &info) == 0 && S_ISREG(info.st_mode)) bytes += (uint64_t)info.st_size;
  }
  if (d) closedir(d);
  return bytes;
}

/* Of the machine, or of the container that this is. */
static uint64_t memory_of_machine(void) {
  uint64_t bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE), most;
  FILE *f = fopen("/sys/fs/cgroup/memory.max", "re");
  if (f && fscanf(f, "%" SCNu64, &most) == 1 && most < bytes) bytes = most;
  if (f) fclose(f);
  return bytes;
}

/* The largest file that leaves a tenth of what is free. */
static uint64_t room_for_a_file(const context *c) {
  struct statvfs info;
  uint64_t bytes = 0;
  if (statvfs(c->data_dir, &info) == 0) bytes = (uint64_t)info.f_bavail * info.f_frsize / 10 * 9;
  return bytes > least_file ? bytes : least_file;
}

/* ---- bounds ---- */

/* Each data set has a cache of its own: what one's program has written no other's reads. */
static void set_cache(const context *c, int64_t dataset, bounds *b) {
  const char *wish = getenv("WEBML_CACHE");
  snprintf(b->cache_variable, sizeof b->cache_variable, "WEBML_CACHE=none");
  if (!dataset || (wish && strcmp(wish, "none") == 0)) return;
  path_of_cache(c, dataset, b->cache, sizeof b->cache);
  if (mkdir(b->cache, 0700) != 0 && access(b->cache, W_OK) != 0) {
    b->cache[0] = '\0';
    return;
  }
  snprintf(b->cache_variable, sizeof b->cache_variable, "WEBML_CACHE=%.4000s", b->cache);
}

void bounds_add_readable(bounds *b, const char *path) {
  int i = 0;
  while (i < CONFINEMENT_PATHS && b->confinement.readable[i]) i++;
  if (i < CONFINEMENT_PATHS) b->confinement.readable[i] = path;
}

static void set_places(const context *c, int64_t dataset, const char *folder, bounds *b) {
  int writable = 0, variables = 0;
  *b = (bounds){.confinement.closed = c->data_dir};
  set_cache(c, dataset, b);
  if (dataset) {
    path_of_dataset(c, dataset, "", b->data, sizeof b->data);
    bounds_add_readable(b, b->data);
  }
  if (b->cache[0]) b->confinement.writable[writable++] = b->cache;
  b->variables[variables++] = b->cache_variable;
  if (!folder) return;
  snprintf(b->folder, sizeof b->folder, "%s", folder);
  snprintf(b->folder_variable, sizeof b->folder_variable, "TMPDIR=%.4000s", folder);
  b->confinement.writable[writable++] = b->folder;
  b->variables[variables++] = b->folder_variable;
}

void bounds_of_run(const context *c, int64_t dataset, const char *folder, bounds *b) {
  set_places(c, dataset, folder, b);
  const uint64_t bytes = dataset ? bytes_of(b->data) : 0, room = room_for_a_file(c);
  const uint64_t most = least_file + growth * bytes;
  b->seconds = (uint64_t)setting(c->store, "run_seconds") + bytes / slowest;
  b->confinement.seconds = b->seconds + 1; /* the server's own comes first, with a sentence */
  b->confinement.cpu_seconds = b->seconds * (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
  b->confinement.memory = memory_of_machine() / 2;
  b->confinement.file_size = most < room ? most : room;
}

void bounds_of_training(const context *c, int64_t dataset, const char *folder, bool gpu,
                        bounds *b) {
  set_places(c, dataset, folder, b);
  b->confinement.memory = memory_of_machine();
  b->confinement.file_size = room_for_a_file(c);
  b->confinement.gpu = gpu;
}

void bounds_apply(const context *c, const bounds *b, process_spec *spec) {
  spec->confinement = c->sandbox ? &b->confinement : NULL;
  spec->variables = b->variables;
}
