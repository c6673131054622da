#include "backup.h"

#include "store/backup.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <zip.h>

/* What belongs to a session's weights. */
static const char *const job_files[] = {"weights.safetensors", "model.json", "progress"};
enum { JOB_FILES = 3 };

/* ---- making one ---- */

/* Links the file into the work folder, so that deleting it meanwhile does no harm. False: it is not
 * there any more. */
static bool hold(const context *c, const char *work, const char *folder, int64_t id,
                 const char *file) {
  char from[4096], to[4096];
  snprintf(from, sizeof from, "%s/%s/%lld/%s", c->data_dir, folder, (long long)id, file);
  snprintf(to, sizeof to, "%s/%s-%lld-%s", work, folder, (long long)id, file);
  return link(from, to) == 0;
}

static bool add(zip_t *zip, const char *work, const char *folder, int64_t id, const char *file) {
  char path[4096], name[512];
  snprintf(path, sizeof path, "%s/%s-%lld-%s", work, folder, (long long)id, file);
  snprintf(name, sizeof name, "%s/%lld/%s", folder, (long long)id, file);
  if (access(path, F_OK) != 0) return true;
  zip_source_t *source = zip_source_file(zip, path, 0, -1);
  zip_int64_t index = source ? zip_file_add(zip, name, source, ZIP_FL_ENC_UTF_8) : -1;
  if (index < 0 && source) zip_source_free(source);
  /* Data sets and weights are packed already, or large: they are stored. */
  return index >= 0 && zip_set_file_compression(zip, (zip_uint64_t)index, ZIP_CM_STORE, 0) == 0;
}

typedef struct contents {
  json_t *datasets, *weights;
} contents;

/* What the copy of the store speaks of is held; rows whose files have just gone go, too. */
static bool collect(const context *c, store *copy, const char *work, contents *all) {
  json_t *row;
  size_t i;
  bool ok = backup_settle(copy);
  all->datasets = backup_datasets(copy);
  all->weights = backup_weights(copy);
  json_array_foreach(all->datasets, i, row) {
    if (!hold(c, work, "datasets", store_integer(row, "id"),
              json_string_value(json_object_get(row, "file"))))
      backup_drop_dataset(copy, store_integer(row, "id"));
  }
  json_array_foreach(all->weights, i, row) {
    bool whole = hold(c, work, "jobs", store_integer(row, "session"), job_files[0]);
    for (int k = 1; k < JOB_FILES; k++)
      hold(c, work, "jobs", store_integer(row, "session"), job_files[k]);
    if (!whole) backup_drop_weights(copy, store_integer(row, "id"));
  }
  return ok && all->datasets && all->weights;
}

static bool pack(const char *work, const contents *all, const char *path, char *error,
                 size_t size) {
  char database[4096];
  json_t *row;
  size_t i;
  int code;
  zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &code);
  if (!zip) {
    snprintf(error, size, "cannot write %s", path);
    return false;
  }
  snprintf(database, sizeof database, "%s/webml.sqlite", work);
  zip_source_t *source = zip_source_file(zip, database, 0, -1);
  bool ok = source && zip_file_add(zip, "webml.sqlite", source, ZIP_FL_ENC_UTF_8) >= 0;
  json_array_foreach(all->datasets, i, row) ok =
      ok && add(zip, work, "datasets", store_integer(row, "id"),
                json_string_value(json_object_get(row, "file")));
  json_array_foreach(all->weights, i, row) for (int k = 0; k < JOB_FILES; k++) ok =
      ok && add(zip, work, "jobs", store_integer(row, "session"), job_files[k]);
  if (ok && zip_close(zip) == 0) return true;
  snprintf(error, size, "the backup cannot be written: %s", zip_strerror(zip));
  zip_discard(zip);
  unlink(path);
  return false;
}

/* On the disk before it has its name. */
static bool publish(const char *part, const char *path) {
  int fd = open(part, O_RDONLY | O_CLOEXEC);
  bool ok = fd >= 0 && fsync(fd) == 0;
  if (fd >= 0) close(fd);
  return ok && rename(part, path) == 0;
}

bool backup_make(context *c, const char *key, char *error, size_t size) {
  char work[3000], database[4096], part[4096], path[4096], folder[4096];
  contents all = {0};
  snprintf(folder, sizeof folder, "%s/backups", c->data_dir);
  snprintf(work, sizeof work, "%s/work-backup-%s", c->data_dir, key);
  snprintf(database, sizeof database, "%s/webml.sqlite", work);
  snprintf(part, sizeof part, "%s/part.zip", work);
  path_of_backup(c, key, path, sizeof path);
  if ((mkdir(folder, 0700) != 0 && errno != EEXIST) || mkdir(work, 0700) != 0) {
    snprintf(error, size, "cannot make a folder to work in: %s", strerror(errno));
    return false;
  }
  store *copy = NULL;
  bool ok = store_copy(c->store, database);
  if (!ok) snprintf(error, size, "%s", store_error());
  if (ok) ok = (copy = store_open(database, error, size)) != NULL;
  if (ok && !(ok = collect(c, copy, work, &all))) snprintf(error, size, "%s", store_error());
  store_close(copy);
  ok = ok && pack(work, &all, part, error, size);
  if (ok && !(ok = publish(part, path)))
    snprintf(error, size, "the backup cannot be kept: %s", strerror(errno));
  json_decref(all.datasets);
  json_decref(all.weights);
  folder_remove(work);
  return ok;
}

/* ---- putting one back ---- */

static void restore_path(const char *data_dir, const char *file, char *path, size_t size) {
  snprintf(path, size, "%s/restore%s%s", data_dir, *file ? "/" : "", file);
}

bool backup_is_prepared(const char *data_dir) {
  char path[4096];
  restore_path(data_dir, "whole", path, sizeof path);
  return access(path, F_OK) == 0;
}

/* "datasets/12/data.csv": the parts of such a name; anything else is not ours. */
static bool split_name(const char *name, char folder[16], char id[24], char file[64]) {
  int end = 0;
  if (sscanf(name, "%15[a-z]/%23[0-9]/%63[A-Za-z0-9._-]%n", folder, id, file, &end) != 3 ||
      name[end])
    return false;
  return (strcmp(folder, "datasets") == 0 || strcmp(folder, "jobs") == 0) && file[0] != '.';
}

/* No more than the archive's list says of it. */
static bool extract(zip_t *zip, zip_uint64_t index, const char *path) {
  char buffer[1 << 16];
  zip_stat_t info;
  if (zip_stat_index(zip, index, 0, &info) != 0) return false;
  zip_uint64_t left = info.size;
  zip_file_t *from = zip_fopen_index(zip, index, 0);
  FILE *to = from ? fopen(path, "we") : NULL;
  zip_int64_t n = -1;
  bool ok = to != NULL;
  while (ok && (n = zip_fread(from, buffer, sizeof buffer)) > 0) {
    ok = (zip_uint64_t)n <= left && fwrite(buffer, 1, (size_t)n, to) == (size_t)n;
    left -= (zip_uint64_t)n;
  }
  if (to && (fflush(to) != 0 || fsync(fileno(to)) != 0)) ok = false;
  if (to && fclose(to) != 0) ok = false;
  if (from && zip_fclose(from) != 0) ok = false;
  return ok && n == 0;
}

/* What it unpacks to: as much as its own size explains (files are stored, the store is packed), and
 * as the disk has. */
static bool check_size(const char *data_dir, zip_t *zip, int64_t packed, char *error, size_t size) {
  int64_t total = 0, explained = packed * 20 + ((int64_t)64 << 20), left = INT64_MAX;
  struct statvfs disk;
  for (zip_int64_t i = 0; i < zip_get_num_entries(zip, 0) && total <= explained; i++) {
    zip_stat_t info;
    if (zip_stat_index(zip, (zip_uint64_t)i, 0, &info) != 0 || !(info.valid & ZIP_STAT_SIZE) ||
        info.size > (zip_uint64_t)explained)
      total = INT64_MAX / 2;
    else
      total += (int64_t)info.size;
  }
  if (statvfs(data_dir, &disk) == 0) left = (int64_t)disk.f_bavail * (int64_t)disk.f_frsize;
  if (total > explained)
    snprintf(error, size, "this is no backup: %lld bytes unpack to more than %lld",
             (long long)packed, (long long)explained);
  else if (total > left)
    snprintf(error, size, "the backup unpacks to %lld bytes, the disk has %lld left",
             (long long)total, (long long)left);
  return total <= explained && total <= left;
}

static bool extract_all(const char *data_dir, zip_t *zip, char *error, size_t size) {
  bool store_seen = false;
  for (zip_int64_t i = 0; i < zip_get_num_entries(zip, 0); i++) {
    const char *name = zip_get_name(zip, (zip_uint64_t)i, 0);
    char folder[16], id[24], file[64], flat[128], path[4096];
    bool is_store = name && strcmp(name, "webml.sqlite") == 0;
    if (!name || (!is_store && !split_name(name, folder, id, file))) {
      snprintf(error, size, "this is no backup: it has a file \"%.100s\"", name ? name : "");
      return false;
    }
    if (is_store)
      snprintf(flat, sizeof flat, "%s", name);
    else
      snprintf(flat, sizeof flat, "%s-%s-%s", folder, id, file);
    restore_path(data_dir, flat, path, sizeof path);
    if (!extract(zip, (zip_uint64_t)i, path)) {
      snprintf(error, size,
               "\"%.100s\" cannot be taken from the backup: damaged, or the disk is full", name);
      return false;
    }
    store_seen = store_seen || is_store;
  }
  if (!store_seen) snprintf(error, size, "this is no backup: it has no webml.sqlite");
  return store_seen;
}

/* Of this version, or brought to it. */
static bool check_store(const char *data_dir, char *error, size_t size) {
  char path[4096];
  restore_path(data_dir, "webml.sqlite", path, sizeof path);
  store *s = store_open(path, error, size);
  bool ok = s != NULL;
  const char *problem = ok ? backup_problem(s) : NULL;
  if (problem) {
    snprintf(error, size, "this is no backup: %s", problem);
    ok = false;
  }
  if (ok && !backup_void_logins(s)) {
    snprintf(error, size, "%s", store_error());
    ok = false;
  }
  store_close(s);
  return ok;
}

bool backup_prepare(const char *data_dir, const char *file, char *error, size_t size) {
  char folder[4096], path[4096];
  int code;
  restore_path(data_dir, "", folder, sizeof folder);
  folder_remove(folder);
  if (mkdir(folder, 0700) != 0) {
    snprintf(error, size, "cannot make %s: %s", folder, strerror(errno));
    return false;
  }
  zip_t *zip = zip_open(file, ZIP_RDONLY | ZIP_CHECKCONS, &code);
  if (!zip) snprintf(error, size, "%s is no zip file that can be read", file);
  struct stat info;
  bool ok = zip && stat(file, &info) == 0 && check_size(data_dir, zip, info.st_size, error, size) &&
            extract_all(data_dir, zip, error, size) && check_store(data_dir, error, size);
  if (zip) zip_discard(zip);
  restore_path(data_dir, "whole", path, sizeof path);
  int fd = ok ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
  if (fd >= 0) close(fd);
  if (fd < 0) folder_remove(folder);
  return fd >= 0;
}

/* datasets-12-data.csv becomes datasets/12/data.csv. */
static void put_in_place(const char *data_dir, const char *flat) {
  char name[256], folder[16], id[24], file[64], from[4096], to[4096];
  snprintf(name, sizeof name, "%s", flat);
  for (int k = 0; k < 2; k++) {
    char *dash = strchr(name, '-');
    if (dash) *dash = '/';
  }
  if (!split_name(name, folder, id, file)) return;
  restore_path(data_dir, flat, from, sizeof from);
  snprintf(to, sizeof to, "%s/%s", data_dir, folder);
  mkdir(to, 0700);
  snprintf(to, sizeof to, "%s/%s/%s", data_dir, folder, id);
  mkdir(to, 0700);
  snprintf(to, sizeof to, "%s/%s/%s/%s", data_dir, folder, id, file);
  rename(from, to);
}

/* Files of data sets and jobs that are not the backup's must not be taken for its: numbers are used
 * again. */
static void clear(const char *data_dir, const char *what) {
  char folder[3000], path[4096];
  snprintf(folder, sizeof folder, "%s/%s", data_dir, what);
  DIR *d = opendir(folder);
  for (struct dirent *e; d && (e = readdir(d));) {
    if (e->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    folder_remove(path);
  }
  if (d) closedir(d);
}

/* While nobody else can use the store. The first time everything old goes; after a kill what was
 * put in place already stays. */
static void move_files(void *user) {
  const context *c = user;
  char folder[4096], cleared[4096];
  restore_path(c->data_dir, "", folder, sizeof folder);
  restore_path(c->data_dir, "cleared", cleared, sizeof cleared);
  if (access(cleared, F_OK) != 0) {
    clear(c->data_dir, "datasets");
    clear(c->data_dir, "cache");
    clear(c->data_dir, "jobs");
    int fd = open(cleared, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd);
  }
  DIR *d = opendir(folder);
  for (struct dirent *e; d && (e = readdir(d));) put_in_place(c->data_dir, e->d_name);
  if (d) closedir(d);
}

bool backup_apply(context *c, char *error, size_t size) {
  char path[4096];
  restore_path(c->data_dir, "webml.sqlite", path, sizeof path);
  if (!store_replace(c->store, path, move_files, c)) {
    snprintf(error, size, "%s", store_error());
    return false;
  }
  restore_path(c->data_dir, "", path, sizeof path);
  folder_remove(path);
  return true;
}
