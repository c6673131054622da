/* Resumable uploads: tus 1.0 with creation, deferred length, checksum and termination. A file's
 * size is how far its upload has come, and a piece is on the disk before it is acknowledged: a kill
 * loses nothing that was. */
#define _GNU_SOURCE /* locks of open files, strcasecmp */
#include "uploads.h"

#include "context/settings.h"
#include "datasets.h"
#include "security/checksum.h"
#include "store/datasets.h"
#include "store/names.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static const int64_t most_bytes = (int64_t)1 << 40;

static void add_tus(api_call *call) {
  api_add_header(call, "tus-resumable", "1.0.0");
}

static void options(api_call *call) {
  add_tus(call);
  api_add_header(call, "tus-version", "1.0.0");
  api_add_header(call, "tus-extension", "creation,creation-defer-length,checksum,termination");
  api_add_header(call, "tus-checksum-algorithm", CHECKSUM_ALGORITHMS);
  api_add_header(call, "tus-max-size", "%lld", (long long)most_bytes);
  api_reply_empty(call);
}

/* A client that says nothing of tus is taken by its word; one that speaks another version is not.
 * False: answered. */
static bool check_protocol(api_call *call) {
  const char *version = http_header(call->request, "tus-resumable");
  if (version && strcmp(version, "1.0.0") != 0) {
    api_add_header(call, "tus-version", "1.0.0");
    api_fail(call, 412, "this server speaks tus 1.0.0, not %.20s", version);
    return false;
  }
  add_tus(call);
  return true;
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

/* ---- limits ---- */

enum { MOST_UPLOADS = 100, FORGET_SECONDS = 7 * 86400 };

/* Files of the account's uploads whose rows are gone. */
static void forget_old(api_call *call) {
  char path[CONTEXT_PATH];
  json_t *rows = uploads_list(call->store, call->user.id), *row;
  int64_t before = context_now() - FORGET_SECONDS;
  size_t i;
  if (uploads_forget(call->store, call->user.id, before) > 0)
    json_array_foreach(rows, i, row) if (store_integer(row, "created") < before) {
      path_of_upload(&call->api->context, store_text(row, "key"), path, sizeof path);
      unlink(path);
    }
  json_decref(rows);
}

/* What was not finished for a week goes; how many may be under way. False: answered. */
static bool has_room(api_call *call) {
  forget_old(call);
  int64_t n = uploads_count(call->store, call->user.id);
  if (n < 0)
    api_fail_store(call);
  else if (n >= MOST_UPLOADS)
    api_fail(call, 429, "%lld of your uploads are under way; finish or delete some", (long long)n);
  return n >= 0 && n < MOST_UPLOADS;
}

static const char *size_of(int64_t bytes, char text[32]) {
  static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
  double x = (double)bytes;
  int unit = 0;
  while (x >= 1000 && unit < 4) x /= 1000, unit++;
  snprintf(text, 32, unit ? "%.1f %s" : "%.0f %s", x, units[unit]);
  return text;
}

/* Whether so many bytes more are within the account's share. False: answered. */
static bool check_quota(api_call *call, int64_t bytes) {
  int64_t used = datasets_bytes(call->store, call->user.id),
          most = (int64_t)setting(call->store, "storage_bytes");
  if (used < 0)
    api_fail_store(call);
  else if (bytes > most - used && !call->user.admin) {
    char have[32], may[32], wants[32];
    api_fail(call, 413, "your data sets and uploads have %s of %s; this one has %s",
             size_of(used, have), size_of(most, may), size_of(bytes, wants));
  } else
    return true;
  return false;
}

/* ---- beginning ---- */

/* The length that was said, -1 where it comes later. False: answered. */
static bool read_length(api_call *call, int64_t *bytes) {
  const char *later = http_header(call->request, "upload-defer-length");
  *bytes = number_of(http_header(call->request, "upload-length"));
  if (later && strcmp(later, "1") == 0 && *bytes < 0) return true;
  if (later) {
    api_fail(call, 400, "Upload-Defer-Length is 1, and there is no Upload-Length then");
    return false;
  }
  if (*bytes >= 1 && *bytes <= most_bytes) return true;
  api_fail(call, *bytes > most_bytes ? 413 : 400,
           "Upload-Length must say how many bytes the file has, or Upload-Defer-Length: 1 that it "
           "is said later");
  return false;
}

static bool read_names(api_call *call, char name[128], const char **suffix) {
  char file[256] = "";
  const char *header = http_header(call->request, "upload-metadata");
  bool named = header && metadata(header, "name", name, 128);
  if (header && !metadata(header, "filename", file, sizeof file)) file[0] = '\0';
  *suffix = suffix_of(file);
  const char *problem = named && strlen(name) <= 100 ? name_problem(name) : NULL;
  if (named && !problem && strlen(name) <= 100) return true;
  if (problem)
    api_fail(call, 400, "the name of the data set %s", problem);
  else
    api_fail(
        call, 400,
        "Upload-Metadata must have a name for the data set: name and its base64, 1 to 100 bytes");
  return false;
}

/* An empty file whose name is on the disk. */
static bool make_file(const char *path) {
  char folder[CONTEXT_PATH];
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  close(fd);
  snprintf(folder, sizeof folder, "%s", path);
  *strrchr(folder, '/') = '\0';
  fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  bool ok = fd >= 0 && fsync(fd) == 0;
  if (fd >= 0) close(fd);
  return ok;
}

static void make(api_call *call) {
  char name[128], key[SECRET_TEXT], path[CONTEXT_PATH];
  const char *suffix;
  int64_t bytes;
  if (!check_protocol(call) || !read_length(call, &bytes) || !read_names(call, name, &suffix) ||
      !dataset_name_is_free(call, name, 0) || !has_room(call) ||
      !check_quota(call, bytes < 0 ? 0 : bytes))
    return;
  secret_make(key);
  path_of_upload(&call->api->context, key, path, sizeof path);
  if (!make_file(path)) {
    api_fail(call, errno == ENOSPC ? 507 : 500, "the upload cannot be kept: %s", strerror(errno));
    return;
  }
  if (upload_add(call->store, key, call->user.id, name, suffix, bytes, context_now()) < 0) {
    unlink(path);
    api_fail_store(call);
    return;
  }
  api_add_header(call, "location", "/api/v1/uploads/%s", key);
  api_reply(call, 201, json_pack("{s:s}", "upload", key));
}

/* ---- going on ---- */

/* The upload of the path when it is the caller's. NULL: answered. */
static json_t *find(api_call *call, char *path, size_t size) {
  bool found;
  if (!check_protocol(call)) return NULL;
  json_t *row = upload_find(call->store, call->key, call->user.id, &found);
  path_of_upload(&call->api->context, call->key, path, size);
  if (row) return row;
  if (found)
    api_fail_store(call);
  else
    api_fail(call, 404, "there is no such upload of yours");
  return NULL;
}

/* The upload's length; -1: not said yet. */
static int64_t length_of(const json_t *row) {
  return json_is_null(json_object_get(row, "bytes")) ? -1 : store_integer(row, "bytes");
}

static void progress(api_call *call) {
  char path[CONTEXT_PATH];
  struct stat info;
  json_t *row = find(call, path, sizeof path);
  if (!row) return;
  int64_t bytes = length_of(row);
  json_decref(row);
  if (stat(path, &info) != 0) {
    api_fail(call, 410, "the upload's file is gone");
    return;
  }
  api_add_header(call, "upload-offset", "%lld", (long long)info.st_size);
  if (bytes < 0)
    api_add_header(call, "upload-defer-length", "1");
  else
    api_add_header(call, "upload-length", "%lld", (long long)bytes);
  api_reply_empty(call);
}

/* ---- an upload that is whole becomes a data set ---- */

/* Two names for the file until the rows say which one counts: a kill at any moment leaves either
 * the upload, which recovery takes up again, or the data set. The data set's id, or as
 * store_insert().
 */
static int64_t move_in(api *a, const json_t *upload, int64_t owner, const char *path, char *file,
                       size_t file_size) {
  char folder[CONTEXT_PATH], target[CONTEXT_PATH];
  struct stat info;
  store *s = a->context.store;
  snprintf(file, file_size, "data%s", store_text(upload, "suffix"));
  if (stat(path, &info) != 0 || !store_begin(s)) return STORE_FAILED;
  int64_t id = upload_becomes_dataset(s, upload, owner, file, info.st_size, context_now());
  if (id <= 0) {
    store_rollback(s);
    return id;
  }
  path_of_dataset(&a->context, id, "", folder, sizeof folder);
  path_of_dataset(&a->context, id, file, target, sizeof target);
  folder_remove(folder); /* what a kill before has left under this id */
  bool ok = mkdir(folder, 0700) == 0 && link(path, target) == 0;
  if (!ok) store_rollback(s);
  if (ok && store_commit(s)) {
    unlink(path);
    return id;
  }
  folder_remove(folder);
  return STORE_FAILED;
}

/* Under its name, or, where that was taken meanwhile, under "name 2" and so on: what was sent is
 * not lost. 0: no such name is free, and the upload says so. */
static int64_t finish(api *a, json_t *upload, int64_t owner, const char *path) {
  char name[120], file[64];
  const char *wanted = store_text(upload, "name");
  int64_t id = STORE_EXISTS;
  snprintf(name, sizeof name, "%s", wanted);
  for (int i = 2; i < 100 && id == STORE_EXISTS; i++) {
    dataset_name state = dataset_name_of(a->context.store, name, owner, 0);
    if (state == DATASET_NAME_UNKNOWN) return STORE_FAILED;
    if (state == DATASET_NAME_FREE) {
      json_object_set_new(upload, "name", json_string(name));
      id = move_in(a, upload, owner, path, file, sizeof file);
    }
    if (id == STORE_EXISTS) snprintf(name, sizeof name, "%.95s %d", wanted, i);
  }
  if (id == STORE_EXISTS) {
    upload_set_failed(a->context.store, store_text(upload, "key"), "its name was taken meanwhile");
    return 0;
  }
  if (id > 0) /* where there is no room for it now the next start looks at it */
    inspection_start(a->inspections, id, owner, store_text(upload, "name"), file);
  return id;
}

/* False: answered. */
static bool finish_upload(api_call *call, json_t *row, const char *path) {
  int64_t id = finish(call->api, row, call->user.id, path);
  if (id > 0) {
    api_log("dataset", call, call->user.id, store_text(row, "name"), "uploaded");
    api_add_header(call, "location", "/api/v1/datasets/%lld", (long long)id);
    return true;
  }
  if (id == 0)
    api_fail(call, 409, "the name of the data set was taken meanwhile; see GET /api/v1/uploads");
  else
    api_fail_store(call);
  return false;
}

void uploads_recover(api *a) {
  json_t *rows = uploads_open(a->context.store), *row;
  size_t i;
  json_array_foreach(rows, i, row) {
    char path[CONTEXT_PATH];
    struct stat info;
    path_of_upload(&a->context, store_text(row, "key"), path, sizeof path);
    if (length_of(row) >= 1 && stat(path, &info) == 0 && info.st_size == length_of(row))
      finish(a, row, store_integer(row, "owner"), path);
  }
  json_decref(rows);
}

/* ---- pieces: written while they come ---- */

typedef struct piece {
  api *api;
  checksum *sum; /* what the client says of it; NULL: nothing, or it has been compared */
  int fd;
  int64_t offset, at, most; /* bytes */
  bool differs;             /* from its checksum */
  bool kept;                /* it is on the disk */
} piece;

static bool refuse(http_refusal *refusal, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static bool refuse(http_refusal *refusal, int status, const char *format, ...) {
  va_list args;
  va_start(args, format);
  refusal->status = status;
  vsnprintf(refusal->sentence, sizeof refusal->sentence, format, args);
  va_end(args);
  return false;
}

static bool refuse_file(http_refusal *refusal, int error) {
  switch (error) {
  case EEXIST: return refuse(refusal, 409, "the upload has come to another offset; ask with HEAD");
  case EAGAIN: return refuse(refusal, 409, "another piece is being written");
  case ENOENT: return refuse(refusal, 410, "the file of the upload is gone");
  case ENOSPC:
  case EDQUOT: return refuse(refusal, 507, "the disk is full; the upload can go on when it is not");
  default: return refuse(refusal, 500, "the piece cannot be kept: %s", strerror(error));
  }
}

/* What is wrong with the head of a piece. */
static bool check_head(const http_request *r, const json_t *row, http_refusal *refusal) {
  const char *type = http_header(r, "content-type"), *version = http_header(r, "tus-resumable");
  if (version && strcmp(version, "1.0.0") != 0)
    return refuse(refusal, 412, "this server speaks tus 1.0.0, not %.20s", version);
  if (strcmp(store_text(row, "state"), "open") != 0)
    return refuse(refusal, 409, "the upload is over: %.100s", store_text(row, "error"));
  if (!type || strcmp(type, "application/offset+octet-stream") != 0)
    return refuse(refusal, 415, "a piece has the content type application/offset+octet-stream");
  if (number_of(http_header(r, "upload-offset")) < 0)
    return refuse(refusal, 400, "Upload-Offset must say where the piece begins");
  return true;
}

/* How long the upload may become: its length, which may come with any piece, or what is left of the
 * account's share. */
static bool find_most(piece *p, const http_request *r, const api_user *u, const json_t *row,
                      http_refusal *refusal) {
  store *s = p->api->context.store;
  int64_t bytes = length_of(row), said = number_of(http_header(r, "upload-length"));
  if (bytes >= 0) {
    p->most = bytes;
    return said < 0 || said == bytes ||
           refuse(refusal, 400, "the upload has %lld bytes, as was said before", (long long)bytes);
  }
  if (said >= 0 && said < p->offset)
    return refuse(refusal, 400, "%lld bytes of the upload are there already", (long long)p->offset);
  int64_t left = (int64_t)setting(s, "storage_bytes") - datasets_bytes(s, u->id);
  p->most = said >= 0 ? said : left < most_bytes ? left : most_bytes;
  if (said == 0 || said > most_bytes || (said > left && !u->admin))
    return refuse(refusal, 413, "an upload has 1 to %lld bytes", (long long)(left > 0 ? left : 0));
  if (said >= 0 && upload_set_bytes(s, store_text(row, "key"), said) < 0)
    return refuse(refusal, 500, "the store failed; see the log");
  return true;
}

/* Opens the file at the offset; one writer at a time holds its lock. */
static bool open_piece(piece *p, const char *path, http_refusal *refusal) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  struct stat info;
  p->fd = open(path, O_WRONLY | O_CLOEXEC);
  if (p->fd < 0) return refuse_file(refusal, errno);
  if (fcntl(p->fd, F_OFD_SETLK, &lock) != 0 || fstat(p->fd, &info) != 0)
    return refuse_file(refusal, errno == EACCES ? EAGAIN : errno);
  return info.st_size == p->offset || refuse_file(refusal, EEXIST);
}

static bool begin_piece(piece *p, const http_request *r, uint64_t size, http_refusal *refusal) {
  char path[CONTEXT_PATH];
  api_user u;
  bool found;
  const char *key = http_path(r) + strlen("/api/v1/uploads/"),
             *sum = http_header(r, "upload-checksum");
  if (!api_user_of(p->api, r, &u, refusal)) return false;
  if (u.node) return refuse(refusal, 403, "this is for people; the account is a machine's");
  if (u.token && !(u.scopes & API_SCOPE_WRITE))
    return refuse(refusal, 403, "this needs an API token with the scope write");
  json_t *row = upload_find(p->api->context.store, key, u.id, &found);
  if (!row) return refuse(refusal, found ? 500 : 404, "there is no such upload of yours");
  p->at = p->offset = number_of(http_header(r, "upload-offset"));
  path_of_upload(&p->api->context, key, path, sizeof path);
  bool ok = check_head(r, row, refusal) && find_most(p, r, &u, row, refusal);
  json_decref(row);
  if (ok && size != UINT64_MAX && (int64_t)size > p->most - p->offset)
    ok = refuse(refusal, 400, "Upload-Offset and the piece do not fit into %lld bytes",
                (long long)p->most);
  if (ok && sum && !(p->sum = checksum_begin(sum)))
    ok = refuse(refusal, 400,
                "Upload-Checksum must be one of " CHECKSUM_ALGORITHMS
                ", a blank, and the checksum in base64");
  return ok && open_piece(p, path, refusal);
}

static void free_piece(void *object) {
  piece *p = object;
  if (p->fd >= 0) close(p->fd);
  if (p->sum) checksum_end(p->sum);
  free(p);
}

static bool wants_piece(const char *method, const char *path, void *user) {
  (void)user;
  return strcmp(method, "PATCH") == 0 && strncmp(path, "/api/v1/uploads/", 16) == 0;
}

static void *on_begin(const http_request *r, uint64_t size, http_refusal *refusal, void *user) {
  piece *p = calloc(1, sizeof *p);
  if (!p) {
    refuse(refusal, 503, "out of memory");
    return NULL;
  }
  p->api = user;
  p->fd = -1;
  if (begin_piece(p, r, size, refusal)) return p;
  free_piece(p);
  return NULL;
}

static bool on_piece(void *object, const void *bytes, size_t size, http_refusal *refusal) {
  piece *p = object;
  const char *from = bytes;
  if ((int64_t)size > p->most - p->at)
    return refuse(refusal, 400, "the piece does not fit into %lld bytes", (long long)p->most);
  if (p->sum) checksum_add(p->sum, bytes, size);
  while (size) {
    ssize_t n = pwrite(p->fd, from, size, p->at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return refuse_file(refusal, n ? errno : ENOSPC);
    p->at += n;
    from += n;
    size -= (size_t)n;
  }
  return true;
}

/* What has come stays, also where the client has gone: it goes on from there. But of a piece with a
 * checksum only the whole counts. */
static void on_end(void *object, bool whole) {
  piece *p = object;
  bool checked = p->sum != NULL;
  if (checked) {
    p->differs = !checksum_end(p->sum);
    p->sum = NULL;
  }
  if (checked && (!whole || p->differs) && ftruncate(p->fd, p->offset) == 0) p->at = p->offset;
  p->kept = fdatasync(p->fd) == 0;
  close(p->fd);
  p->fd = -1;
}

const http_body_functions uploads_body = {
    .wants = wants_piece, .begin = on_begin, .piece = on_piece, .end = on_end, .free = free_piece};

/* A piece without a byte: it may still say the length. */
static int64_t take_nothing(api_call *call, const json_t *row, const char *path) {
  http_refusal refusal;
  struct stat info;
  piece p = {.api = call->api, .offset = number_of(http_header(call->request, "upload-offset"))};
  if (!check_head(call->request, row, &refusal) ||
      !find_most(&p, call->request, &call->user, row, &refusal) ||
      (stat(path, &info) != 0 && !refuse_file(&refusal, errno)) ||
      (info.st_size != number_of(http_header(call->request, "upload-offset")) &&
       !refuse_file(&refusal, EEXIST))) {
    api_fail(call, refusal.status, "%s", refusal.sentence);
    return -1;
  }
  return info.st_size;
}

/* How far the upload has come; -1: answered. */
static int64_t take_piece(api_call *call, const json_t *row, const char *path) {
  const piece *p = http_body_object(call->request);
  if (!p) return take_nothing(call, row, path);
  if (p->differs)
    api_fail(call, 460, "the piece is not what its checksum says; send it again");
  else if (!p->kept)
    api_fail(call, 500, "the piece cannot be kept; ask with HEAD how far the upload has come");
  else
    return p->at;
  return -1;
}

static void continue_upload(api_call *call) {
  char path[CONTEXT_PATH];
  bool found;
  json_t *row = find(call, path, sizeof path);
  int64_t at = row ? take_piece(call, row, path) : -1;
  json_decref(row);
  if (at < 0) return;
  /* The length may have come with the piece. */
  row = upload_find(call->store, call->key, call->user.id, &found);
  if (!row)
    api_fail(call, 410, "the upload was given up meanwhile");
  else if (at != length_of(row) || finish_upload(call, row, path)) {
    api_add_header(call, "upload-offset", "%lld", (long long)at);
    api_reply_empty(call);
  }
  json_decref(row);
}

static void erase(api_call *call) {
  char path[CONTEXT_PATH];
  json_t *row = find(call, path, sizeof path);
  if (!row) return;
  json_decref(row);
  if (upload_delete(call->store, call->key) < 0) {
    api_fail_store(call);
    return;
  }
  unlink(path);
  store_fill_ballast(call->store);
  api_reply_empty(call);
}

static json_t *with_offset(const context *c, json_t *row) {
  char path[CONTEXT_PATH];
  struct stat info;
  path_of_upload(c, store_text(row, "key"), path, sizeof path);
  json_object_set_new(row, "offset",
                      stat(path, &info) == 0 ? json_integer(info.st_size) : json_null());
  return row;
}

json_t *api_rows_of_uploads(api_call *call) {
  json_t *rows = uploads_list(call->store, call->user.id), *row;
  size_t i;
  json_array_foreach(rows, i, row) with_offset(&call->api->context, row);
  return rows;
}

static void list(api_call *call) {
  api_reply_rows(call, "uploads", api_rows_of_uploads(call), NULL);
}

/* ---- answers ---- */

static const shape_member upload_shape_members[] = {
    {"key", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"name", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"suffix", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"bytes", SHAPE_BYTES, SHAPE_NULLABLE, "null: not said yet", NULL, NULL},
    {"offset", SHAPE_BYTES, SHAPE_NULLABLE, "how far it has come", NULL, NULL},
    {"created", SHAPE_TIME, 0, NULL, NULL, NULL},
    {"state", SHAPE_TEXT, 0, "open or failed", NULL, NULL},
    {"error", SHAPE_TEXT, SHAPE_NULLABLE, NULL, NULL, NULL},
    {0}};
const answer_shape api_upload_shape = {"Upload", upload_shape_members, NULL, NULL};
static const shape_member uploads_shape_members[] = {
    {"uploads", SHAPE_LIST, 0, NULL, &api_upload_shape, NULL}, {0}};
static const answer_shape uploads_shape = {"Uploads", uploads_shape_members, NULL, NULL};
static const shape_member begun_shape_members[] = {
    {"upload", SHAPE_TEXT, 0, "its key; Location says where the pieces go", NULL, NULL}, {0}};
static const answer_shape begun_shape = {"UploadBegun", begun_shape_members, NULL, NULL};

static const api_route routes[] = {
    {.id = "describeUploads",
     .method = "OPTIONS",
     .path = "/api/v1/uploads",
     .right = API_ANYONE,
     .about = "what of tus 1.0 is spoken",
     .run = options,
     .how = API_RAW},
    {.id = "listUploads",
     .method = "GET",
     .path = "/api/v1/uploads",
     .right = API_USER,
     .about = "your uploads that are under way, or have failed",
     .run = list,
     .answer = &uploads_shape},
    {.id = "createUpload",
     .method = "POST",
     .path = "/api/v1/uploads",
     .right = API_USER,
     .about = "begin: Upload-Length or Upload-Defer-Length, Upload-Metadata with name and filename",
     .run = make,
     .how = API_RAW | API_IDEMPOTENT,
     .answer = &begun_shape},
    {.id = "getUploadOffset",
     .method = "HEAD",
     .path = "/api/v1/uploads/{key}",
     .right = API_USER,
     .about = "how far it has come",
     .run = progress,
     .how = API_RAW},
    {.id = "continueUpload",
     .method = "PATCH",
     .path = "/api/v1/uploads/{key}",
     .right = API_USER,
     .about = "the next piece, of any size",
     .run = continue_upload,
     .how = API_RAW | API_ENDLESS},
    {.id = "deleteUpload",
     .method = "DELETE",
     .path = "/api/v1/uploads/{key}",
     .right = API_USER,
     .about = "give it up",
     .run = erase,
     .how = API_RAW | API_ESSENTIAL},
    {0}};

const api_resource api_uploads = {"uploads", "Resumable uploads of data sets (tus 1.0).", routes};
