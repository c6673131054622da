/* From a request to its handler and back: route, account, fields, thread, log. */
#include "api.h"

#include "journal/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Those of which thousands are asked a second come first. */
const api_resource *const api_resources[] = {
    &api_inference, &api_auth,     &api_users,   &api_datasets, &api_uploads,
    &api_models,    &api_sessions, &api_weights, &api_predict,  &api_devices,
    &api_events,    &api_settings, &api_backups, &api_system,   NULL};

int64_t api_now(void) {
  return (int64_t)time(NULL);
}

void api_hide_paths(const api *a, char *text) {
  size_t n = strlen(a->data_dir);
  for (char *p = text; (p = strstr(p, a->data_dir)); p++) {
    char *end = p + n + strcspn(p + n, " \t\n\"',:;)"), *name = end;
    while (name > p && name[-1] != '/') name--;
    memmove(p, name, strlen(name) + 1);
  }
}

static double monotonic(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- answers ---- */

int api_fixed_headers(const api_call *call, int status, http_field fields[16]) {
  int n = 0;
  fields[n++] = (http_field){"cache-control", "no-store"};
  fields[n++] =
      (http_field){"content-security-policy", "default-src 'none'; frame-ancestors 'none'"};
  fields[n++] = (http_field){"referrer-policy", "no-referrer"};
  if (http_is_secure(call->request))
    fields[n++] = (http_field){"strict-transport-security", "max-age=31536000"};
  if (call->api->allowed_origin) {
    fields[n++] = (http_field){"access-control-allow-origin", call->api->allowed_origin};
    fields[n++] = (http_field){"access-control-expose-headers",
                               "location, upload-offset, upload-length, tus-resumable, "
                               "inference-header-content-length, content-disposition"};
    fields[n++] = (http_field){"vary", "origin"};
  }
  if (status == 401) fields[n++] = (http_field){"www-authenticate", "Bearer"};
  for (int i = 0; i < call->n_extra; i++) fields[n++] = call->extra[i];
  return n;
}

void api_add_header(api_call *call, const char *name, const char *format, ...) {
  va_list args;
  size_t room = sizeof call->extra_text - call->extra_size;
  char *text = call->extra_text + call->extra_size;
  va_start(args, format);
  int n = vsnprintf(text, room, format, args);
  va_end(args);
  if (call->n_extra == API_MAX_EXTRA || n < 0 || (size_t)n >= room) return;
  call->extra_size += (size_t)n + 1;
  call->extra[call->n_extra++] = (http_field){name, text};
}

static void finish(api_call *call, int status, const char *text) {
  api_reply_bytes(call, status, text ? "application/json" : NULL, text, text ? strlen(text) : 0);
}

void api_reply_bytes(api_call *call, int status, const char *content_type, const void *bytes,
                     size_t size) {
  http_field fields[16];
  int n = api_fixed_headers(call, status, fields);
  call->status = status;
  api_log("request", call, call->user.id, NULL, call->refusal ? call->refusal : "done");
  http_response response = {.status = status,
                            .content_type = content_type,
                            .body = bytes,
                            .size = size,
                            .n_fields = n,
                            .fields = fields};
  http_respond(call->request, &response);
  json_decref(call->input);
  free(call);
}

void api_reply_file(api_call *call, int fd, int64_t size, const char *content_type) {
  http_field fields[16];
  int n = api_fixed_headers(call, 200, fields);
  call->status = 200;
  api_log("request", call, call->user.id, NULL, "done");
  http_respond_file(
      call->request,
      &(http_response){
          .status = 200, .content_type = content_type, .n_fields = n, .fields = fields},
      fd, size);
  json_decref(call->input);
  free(call);
}

void api_reply_download(api_call *call, const char *path, const char *content_type,
                        const char *name) {
  struct stat info;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0 && fstat(fd, &info) == 0) {
    api_add_header(call, "content-disposition", "attachment; filename=\"%s\"", name);
    api_reply_file(call, fd, info.st_size, content_type);
    return;
  }
  if (fd >= 0) close(fd);
  api_fail(call, 410, "the file of %s is gone", name);
}

void api_reply(api_call *call, int status, json_t *json) {
  char *text = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
  json_decref(json);
  if (text)
    finish(call, status, text);
  else
    finish(call, 503, "{\"error\":\"out of memory\"}");
  free(text);
}

void api_reply_rows(api_call *call, const char *key, json_t *rows,
                    json_t *(*present)(json_t *row)) {
  size_t i;
  json_t *row;
  if (!rows) {
    api_fail_store(call);
    return;
  }
  if (present) json_array_foreach(rows, i, row) present(row);
  api_reply(call, 200, json_pack("{s:o}", key, rows));
}

void api_reply_empty(api_call *call) {
  finish(call, 204, NULL);
}

void api_fail(api_call *call, int status, const char *format, ...) {
  char sentence[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(sentence, sizeof sentence, format, args);
  va_end(args);
  call->refusal = sentence;
  api_reply(call, status, json_pack("{s:s}", "error", sentence));
}

void api_fail_store(api_call *call) {
  api_log("store", call, call->user.id, NULL, store_error());
  bool full = strstr(store_error(), "full") != NULL, busy = strstr(store_error(), "lock") != NULL;
  if (full)
    api_fail(call, 507, "the disk is full");
  else if (busy)
    api_fail(call, 503, "the store is busy; try again in a moment");
  else
    api_fail(call, 500, "the store failed; see the log");
}

/* ---- input ---- */

const char *api_text(const api_call *call, const char *name) {
  return json_string_value(json_object_get(call->input, name));
}

int64_t api_integer(const api_call *call, const char *name, int64_t absent) {
  const json_t *v = json_object_get(call->input, name);
  return v ? json_integer_value(v) : absent;
}

bool api_boolean(const api_call *call, const char *name, bool absent) {
  const json_t *v = json_object_get(call->input, name);
  return v ? json_is_true(v) : absent;
}

/* ---- routes ---- */

static const char key_letters[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";

/* True when the path fits the pattern; ids get its numbers, key its key. */
static bool fits(const char *pattern, const char *path, int64_t ids[API_MAX_IDS], char key[65],
                 char name[101]) {
  int n = 0;
  while (*pattern) {
    if (*pattern != '{') {
      if (*pattern++ != *path++) return false;
      continue;
    }
    char *end;
    errno = 0;
    bool is_key = strncmp(pattern, "{key}", 5) == 0;
    if (is_key || strncmp(pattern, "{name}", 6) == 0) {
      size_t length = is_key ? strspn(path, key_letters) : strcspn(path, "/");
      char *to = is_key ? key : name;
      if (!length || length > (is_key ? 64 : 100)) return false;
      memcpy(to, path, length);
      to[length] = '\0';
      path += length;
      pattern += is_key ? 5 : 6;
      continue;
    }
    if (*path < '0' || *path > '9' || n == API_MAX_IDS) return false;
    ids[n++] = strtoll(path, &end, 10);
    if (errno) return false;
    path = end;
    pattern = strchr(pattern, '}') + 1;
  }
  return *path == '\0';
}

/* With a method, or NULL: any. */
static const api_route *find_route(const char *method, const char *path, api_call *call) {
  for (int i = 0; api_resources[i]; i++)
    for (const api_route *r = api_resources[i]->routes; r->method; r++)
      if ((!method || http_serves(r->method, method)) &&
          fits(r->path, path, call->ids, call->key, call->name))
        return r;
  return NULL;
}

/* ---- accounts ---- */

typedef struct account {
  api_user user;
  int64_t expires;
} account;

/* The account of the token, as the store has it now: a changed password, a disabled account and a
 * lost right count at once. */
static bool read_account(const api *a, const char *text, account *out) {
  token t;
  bool found;
  if (!token_read(a->key, text, api_now(), &t)) return false;
  json_t *row =
      store_row(a->store, &found,
                "SELECT name, role, generation FROM users WHERE id = ? AND enabled", "i", t.user);
  bool ok = row && json_integer_value(json_object_get(row, "generation")) == t.generation;
  if (ok) {
    const char *role = json_string_value(json_object_get(row, "role"));
    *out = (account){.user = {.id = t.user,
                              .generation = t.generation,
                              .admin = strcmp(role, "admin") == 0,
                              .node = strcmp(role, "node") == 0},
                     .expires = t.expires};
    snprintf(out->user.name, sizeof out->user.name, "%s",
             json_string_value(json_object_get(row, "name")));
  }
  json_decref(row);
  return ok;
}

typedef enum verdict { PASSED, REFUSED, UNKNOWN } verdict;

static verdict find_user(api_call *call, const char *text) {
  account found;
  if (strncmp(text, "Bearer ", 7) != 0) return REFUSED;
  bool known = api_known(call->api, 'a', text + 7, strlen(text + 7), &found, sizeof found);
  if (!known && call->on_loop) return UNKNOWN;
  if (!known) {
    uint64_t version = store_version(call->api->store);
    if (!read_account(call->api, text + 7, &found)) return REFUSED;
    api_know(call->api, 'a', text + 7, strlen(text + 7), &found, sizeof found, version);
  }
  if (found.expires <= api_now()) return REFUSED;
  call->user = found.user;
  return PASSED;
}

/* Anything but PASSED: the call has been answered, or (UNKNOWN) waits for a thread. */
static verdict check_user(api_call *call) {
  const char *text = http_header(call->request, "authorization");
  if (call->route->right == API_ANYONE || (call->route->right == API_OPTIONAL && !text))
    return PASSED;
  verdict v = text ? find_user(call, text) : REFUSED;
  if (v == UNKNOWN)
    api_defer(call);
  else if (v == REFUSED)
    api_fail(call, 401,
             text ? "the token is not valid, or no longer; log in again"
                  : "log in first: this needs a token (Authorization: Bearer ...)");
  else if (call->route->right == API_ADMIN && !call->user.admin) {
    api_fail(call, 403, "this is for administrators");
    return REFUSED;
  } else if (call->route->right == API_USER && call->user.node) {
    api_fail(call, 403, "this is for people; the account is a machine's");
    return REFUSED;
  }
  return v;
}

static void run(api_call *call) {
  if (check_user(call) == PASSED && api_check_fields(call)) call->route->handle(call);
}

/* ---- threads ---- */

typedef struct waiting {
  struct waiting *next;
  api_call *call;
} waiting;

typedef struct api_workers {
  pthread_mutex_t mutex;
  pthread_cond_t some;
  waiting *first, **last;
  int n_waiting, most, n_threads;
  pthread_t *threads;
  bool stop;
} api_workers;

static void *work(void *arg) {
  api_workers *w = arg;
  pthread_mutex_lock(&w->mutex);
  for (;;) {
    while (!w->first && !w->stop) pthread_cond_wait(&w->some, &w->mutex);
    if (!w->first) break;
    waiting *next = w->first;
    w->first = next->next;
    if (!w->first) w->last = &w->first;
    w->n_waiting--;
    pthread_mutex_unlock(&w->mutex);
    api_call *call = next->call;
    free(next);
    if (http_is_gone(call->request))
      api_fail(call, 503, "the client has gone");
    else
      run(call);
    pthread_mutex_lock(&w->mutex);
  }
  pthread_mutex_unlock(&w->mutex);
  return NULL;
}

bool api_start(api *a, int threads, int most) {
  api_workers *w = calloc(1, sizeof *w);
  if (!w) return false;
  pthread_mutex_init(&w->mutex, NULL);
  pthread_cond_init(&w->some, NULL);
  w->last = &w->first;
  w->most = most;
  w->threads = calloc((size_t)threads, sizeof *w->threads);
  a->workers = w;
  while (w->threads && w->n_threads < threads &&
         pthread_create(&w->threads[w->n_threads], NULL, work, w) == 0)
    w->n_threads++;
  return w->n_threads > 0;
}

void api_stop(api *a) {
  api_workers *w = a->workers;
  if (!w) return;
  pthread_mutex_lock(&w->mutex);
  w->stop = true;
  pthread_cond_broadcast(&w->some);
  pthread_mutex_unlock(&w->mutex);
  for (int i = 0; i < w->n_threads; i++) pthread_join(w->threads[i], NULL);
  pthread_mutex_destroy(&w->mutex);
  pthread_cond_destroy(&w->some);
  free(w->threads);
  free(w);
  a->workers = NULL;
}

static void queue(api_call *call) {
  api_workers *w = call->api->workers;
  waiting *next = calloc(1, sizeof *next);
  pthread_mutex_lock(&w->mutex);
  bool room = next && w->n_waiting < w->most && !w->stop;
  if (room) {
    next->call = call;
    *w->last = next;
    w->last = &next->next;
    w->n_waiting++;
    pthread_cond_signal(&w->some);
  }
  pthread_mutex_unlock(&w->mutex);
  if (room) return;
  free(next);
  api_fail(call, 503, "too many calls are waiting; try again in a moment");
}

void api_defer(api_call *call) {
  call->on_loop = false;
  json_decref(call->input);
  call->input = NULL;
  if (!http_detach(call->request)) /* has been answered */
    free(call);
  else
    queue(call);
}

/* ---- pages of another origin ask first (Fetch standard, CORS preflight) ---- */

static bool is_preflight(const api_call *call) {
  return call->api->allowed_origin && strcmp(http_method(call->request), "OPTIONS") == 0 &&
         http_header(call->request, "access-control-request-method");
}

static void answer_preflight(api_call *call) {
  api_add_header(call, "access-control-allow-methods", "GET, HEAD, POST, PATCH, DELETE");
  api_add_header(call, "access-control-allow-headers", "%s",
                 "authorization, content-type, last-event-id, tus-resumable, upload-length, "
                 "upload-metadata, upload-offset, inference-header-content-length");
  api_add_header(call, "access-control-max-age", "600");
  api_reply_empty(call);
}

/* ---- entry ---- */

void api_handle(http_request *request, void *user) {
  api *a = user;
  api_call *call = calloc(1, sizeof *call);
  if (!call) {
    http_respond(request, &(http_response){.status = 503});
    return;
  }
  call->api = a;
  call->request = request;
  call->began = monotonic();
  if (is_preflight(call)) {
    answer_preflight(call);
    return;
  }
  call->route = find_route(http_method(request), http_path(request), call);
  if (!call->route) {
    if (find_route(NULL, http_path(request), call))
      api_fail(call, 405, "%s is not for this path", http_method(request));
    else
      api_fail(call, 404, "there is nothing at this path; see /openapi.json");
    return;
  }
  call->on_loop = call->route->how & API_FAST;
  if (call->route->how & (API_INLINE | API_FAST))
    run(call);
  else
    api_defer(call);
}

/* ---- the log ---- */

typedef struct line {
  char text[2048];
  size_t size;
} line;

static void put_raw(line *l, const char *text, size_t n) {
  if (n > sizeof l->text - l->size) n = sizeof l->text - l->size;
  memcpy(l->text + l->size, text, n);
  l->size += n;
}

static bool is_plain(char c) {
  return c >= 32 && c < 127 && c != '"' && c != '\\';
}

static bool is_utf8(const char *text) {
  json_t *value = json_string(text); /* checks it */
  json_decref(value);
  return value != NULL;
}

/* "key":"value", as JSON wants it; long ones are cut, between characters. */
static void put_text(line *l, const char *key, const char *value) {
  enum { MOST = 400 };
  static const char digits[] = "0123456789abcdef";
  size_t n = strlen(value);
  int broken = -1; /* looked at with the first byte that is not ASCII */
  put_raw(l, ",\"", 2);
  put_raw(l, key, strlen(key));
  put_raw(l, "\":\"", 3);
  if (n > MOST)
    for (n = MOST; n && ((unsigned char)value[n] & 0xC0) == 0x80;) n--;
  for (size_t i = 0; i < n; i++) {
    size_t plain = i;
    while (plain < n && is_plain(value[plain])) plain++;
    put_raw(l, value + i, plain - i);
    if ((i = plain) == n) break;
    unsigned char c = (unsigned char)value[i];
    if (c == '"' || c == '\\')
      put_raw(l, (char[]){'\\', (char)c}, 2);
    else if (c < 32)
      put_raw(l, (char[]){'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]}, 6);
    else {
      if (broken < 0) broken = !is_utf8(value);
      put_raw(l, broken ? "?" : value + i, 1);
    }
  }
  put_raw(l, "\"", 1);
}

static void put_digits(line *l, uint64_t value, int at_least) {
  char text[24], *p = text + sizeof text;
  do {
    *--p = (char)('0' + value % 10);
    value /= 10;
  } while (value || text + sizeof text - p < at_least);
  put_raw(l, p, (size_t)(text + sizeof text - p));
}

static void put_number(line *l, const char *key, int64_t value) {
  put_raw(l, ",\"", 2);
  put_raw(l, key, strlen(key));
  put_raw(l, "\":", 2);
  if (value < 0) put_raw(l, "-", 1);
  put_digits(l, value < 0 ? -(uint64_t)value : (uint64_t)value, 1);
}

/* The calendar is looked at once a second. */
static void put_time(line *l) {
  static _Thread_local time_t second;
  static _Thread_local char text[32];
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  if (t.tv_sec != second) {
    struct tm tm;
    second = t.tv_sec;
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime_r(&second, &tm));
  }
  put_raw(l, "{\"time\":\"", 9);
  put_raw(l, text, strlen(text));
  put_raw(l, ".", 1);
  put_digits(l, (uint64_t)t.tv_nsec / 1000000, 3);
  put_raw(l, "Z\"", 2);
}

void api_log(const char *event, const api_call *call, int64_t user, const char *object,
             const char *outcome) {
  line l = {.size = 0};
  put_time(&l);
  put_text(&l, "event", event);
  put_number(&l, "user", user);
  if (call) {
    put_text(&l, "method", http_method(call->request));
    put_text(&l, "path", http_path(call->request));
    put_text(&l, "peer", http_peer(call->request));
    if (call->status) put_number(&l, "status", call->status);
    double us = (monotonic() - call->began) * 1e6;
    put_number(&l, "ms", (int64_t)us / 1000);
    put_raw(&l, ".", 1);
    put_digits(&l, (uint64_t)us % 1000, 3);
  }
  if (object) put_text(&l, "object", object);
  if (outcome) put_text(&l, "outcome", outcome);
  put_raw(&l, "}", 1);
  journal_write(l.text, l.size, strcmp(event, "request") != 0);
}
