/* Resumable uploads: tus 1.0, core and creation, termination. The web server takes bodies whole, so
 * what is large comes in pieces of at most 16 MiB; a file's size is how far its upload has come, so
 * a kill loses nothing that was acknowledged. */
#define _GNU_SOURCE /* locks of open files, strcasecmp */
#include "datasets.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const int64_t most_bytes = (int64_t)1 << 40;

static void add_tus(api_call *call) {
  api_add_header(call, "tus-resumable", "1.0.0");
}

static void options(api_call *call) {
  add_tus(call);
  api_add_header(call, "tus-version", "1.0.0");
  api_add_header(call, "tus-extension", "creation,termination");
  api_add_header(call, "tus-max-size", "%lld", (long long)most_bytes);
  api_reply_empty(call);
}

static int64_t number_of(const char *text) {
  char *end;
  errno = 0;
  long long n = text && *text >= '0' && *text <= '9' ? strtoll(text, &end, 10) : -1;
  return n >= 0 && !errno && !*end ? n : -1;
}

/* "name bmFtZQ==,filename ..." -> the value of one name. False: it is not there, or broken. */
static bool metadata(const char *header, const char *name, char *out, size_t size) {
  size_t length = strlen(name), n = 0;
  for (const char *p = header; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
    while (*p == ' ') p++;
    if (strncmp(p, name, length) != 0 || p[length] != ' ') continue;
    const char *value = p + length + 1;
    if (sodium_base642bin((unsigned char *)out, size - 1, value, strcspn(value, ", "), NULL, &n,
                          NULL, sodium_base64_VARIANT_ORIGINAL) != 0)
      return false;
    out[n] = '\0';
    return strlen(out) == n;
  }
  return false;
}

/* What may follow the last dot of a data set's file; "" where it is none of them. */
static const char *suffix_of(const char *file) {
  static const char *const known[] = {".csv", ".csv.gz", ".tsv", ".zip", ".gz", ".txt"};
  size_t n = strlen(file);
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (n > strlen(known[i]) && strcasecmp(file + n - strlen(known[i]), known[i]) == 0)
      return known[i];
  return "";
}

enum { MOST_UPLOADS = 100, FORGET_SECONDS = 7 * 86400 };

/* What was not finished for a week goes; how many may be under way. False: answered. */
static bool has_room(api_call *call) {
  store *s = call->api->store;
  bool found;
  int64_t old = store_run(s, "DELETE FROM uploads WHERE owner = ? AND created < ?", "ii",
                          call->user.id, api_now() - FORGET_SECONDS);
  if (old > 0) datasets_tidy(call->api);
  json_t *row =
      store_row(s, &found, "SELECT COUNT(*) AS n FROM uploads WHERE owner = ?", "i", call->user.id);
  int64_t n = row ? json_integer_value(json_object_get(row, "n")) : -1;
  json_decref(row);
  if (n < 0)
    api_fail_store(call);
  else if (n >= MOST_UPLOADS)
    api_fail(call, 429, "%lld of your uploads are under way; finish or delete some", (long long)n);
  return n >= 0 && n < MOST_UPLOADS;
}

static void make(api_call *call) {
  char name[128], file[256] = "", key[SECRET_TEXT], path[4096];
  const char *header = http_header(call->request, "upload-metadata");
  int64_t bytes = number_of(http_header(call->request, "upload-length"));
  add_tus(call);
  if (bytes < 1 || bytes > most_bytes) {
    api_fail(call, bytes > most_bytes ? 413 : 400,
             "Upload-Length must say how many bytes the file has");
    return;
  }
  char *copy = header ? strdup(header) : NULL;
  bool named = copy && metadata(copy, "name", name, sizeof name);
  if (copy && !metadata(copy, "filename", file, sizeof file)) file[0] = '\0';
  free(copy);
  if (!named || !api_is_name(name) || strlen(name) > 100) {
    api_fail(
        call, 400,
        "Upload-Metadata must have a name for the data set: name and its base64, 1 to 100 bytes");
    return;
  }
  if (!dataset_name_is_free(call, name)) return;
  if (!has_room(call) || !dataset_quota(call, bytes)) return;
  secret_make(key);
  snprintf(path, sizeof path, "%s/uploads/%s", call->api->data_dir, key);
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) {
    api_fail(call, errno == ENOSPC ? 507 : 500, "the upload cannot be kept: %s", strerror(errno));
    return;
  }
  close(fd);
  if (store_run(call->api->store,
                "INSERT INTO uploads (key, owner, name, suffix, bytes, created) VALUES (?, ?, ?, "
                "?, ?, ?)",
                "sissii", key, call->user.id, name, suffix_of(file), bytes, api_now()) < 0) {
    unlink(path);
    api_fail_store(call);
    return;
  }
  api_add_header(call, "location", "/api/v1/uploads/%s", key);
  api_reply(call, 201, json_pack("{s:s}", "upload", key));
}

/* The upload of the path when it is the caller's. NULL: answered. */
static json_t *find(api_call *call, char *path, size_t size) {
  bool found;
  add_tus(call);
  json_t *row = store_row(call->api->store, &found,
                          "SELECT name, suffix, bytes FROM uploads WHERE key = ? AND owner = ?",
                          "si", call->key, call->user.id);
  snprintf(path, size, "%s/uploads/%s", call->api->data_dir, call->key);
  if (row) return row;
  if (found)
    api_fail_store(call);
  else
    api_fail(call, 404, "there is no such upload of yours");
  return NULL;
}

static void progress(api_call *call) {
  char path[4096];
  struct stat info;
  json_t *row = find(call, path, sizeof path);
  if (!row) return;
  int64_t bytes = json_integer_value(json_object_get(row, "bytes"));
  json_decref(row);
  if (stat(path, &info) != 0) {
    api_fail(call, 410, "the upload's file is gone");
    return;
  }
  api_add_header(call, "upload-offset", "%lld", (long long)info.st_size);
  api_add_header(call, "upload-length", "%lld", (long long)bytes);
  api_reply_empty(call);
}

/* Writes the body behind what is there; -1 with errno. One writer at a time holds the file's lock.
 */
static int64_t append(const char *path, int64_t offset, const void *body, size_t size) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  struct stat info;
  int64_t at = -1;
  if (fd < 0) return -1;
  if (fcntl(fd, F_OFD_SETLK, &lock) == 0 && fstat(fd, &info) == 0) {
    errno = EEXIST;
    if (info.st_size == offset) {
      size_t done = 0;
      ssize_t n = 0;
      while (done < size &&
             (n = pwrite(fd, (const char *)body + done, size - done, offset + (int64_t)done)) > 0)
        done += (size_t)n;
      at = done == size ? offset + (int64_t)done : -1;
      int kept = errno;
      if (at < 0 && ftruncate(fd, offset) == 0)
        errno = kept; /* a piece counts whole or not at all */
    }
  }
  int kept = errno;
  close(fd);
  errno = kept;
  return at;
}

static void continue_upload(api_call *call) {
  char path[4096];
  size_t size;
  json_t *row = find(call, path, sizeof path);
  if (!row) return;
  const void *body = http_body(call->request, &size);
  int64_t bytes = json_integer_value(json_object_get(row, "bytes"));
  int64_t offset = number_of(http_header(call->request, "upload-offset"));
  const char *type = http_header(call->request, "content-type");
  if (!type || strcmp(type, "application/offset+octet-stream") != 0)
    api_fail(call, 415, "a piece has the content type application/offset+octet-stream");
  else if (offset < 0 || (int64_t)size > bytes - offset)
    api_fail(call, 400, "Upload-Offset and the piece do not fit into %lld bytes", (long long)bytes);
  else {
    int64_t at = append(path, offset, body, size);
    if (at < 0 && errno == EEXIST)
      api_fail(call, 409, "the upload has come to another offset; ask with HEAD");
    else if (at < 0 && (errno == EAGAIN || errno == EACCES))
      api_fail(call, 409, "another piece is being written");
    else if (at < 0)
      api_fail(call, errno == ENOSPC ? 507 : 500, "the piece cannot be kept: %s", strerror(errno));
    else if (at < bytes || dataset_finish(call, row, path)) {
      api_add_header(call, "upload-offset", "%lld", (long long)at);
      api_reply_empty(call);
    }
  }
  json_decref(row);
}

static void erase(api_call *call) {
  char path[4096];
  json_t *row = find(call, path, sizeof path);
  if (!row) return;
  json_decref(row);
  if (store_run(call->api->store, "DELETE FROM uploads WHERE key = ?", "s", call->key) < 0) {
    api_fail_store(call);
    return;
  }
  unlink(path);
  api_reply_empty(call);
}

static const api_route routes[] = {
    {"OPTIONS", "/api/v1/uploads", API_ANYONE, "what of tus 1.0 is spoken", NULL, options, API_RAW},
    {"POST", "/api/v1/uploads", API_USER,
     "begin: Upload-Length, Upload-Metadata with name and filename", NULL, make, API_RAW},
    {"HEAD", "/api/v1/uploads/{key}", API_USER, "how far it has come", NULL, progress, API_RAW},
    {"PATCH", "/api/v1/uploads/{key}", API_USER, "the next piece, at most 16 MiB", NULL,
     continue_upload, API_RAW},
    {"DELETE", "/api/v1/uploads/{key}", API_USER, "give it up", NULL, erase, API_RAW},
    {0}};

const api_resource api_uploads = {"uploads", "Resumable uploads of data sets (tus 1.0).", routes};
