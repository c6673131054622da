/* Answers. */
#include "api.h"

#include "downloads.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FIELDS = 12 + API_MAX_EXTRA };

/* Headers that every answer has, and the call's own; returns their number. */
static int headers_of(const api_call *call, int status, http_field fields[FIELDS]) {
  int n = 0;
  fields[n++] = (http_field){"cache-control", call->may_be_kept ? "private, no-cache" : "no-store"};
  fields[n++] =
      (http_field){"content-security-policy", "default-src 'none'; frame-ancestors 'none'"};
  fields[n++] = (http_field){"referrer-policy", "no-referrer"};
  if (http_is_secure(call->request))
    fields[n++] = (http_field){"strict-transport-security", "max-age=31536000"};
  if (call->api->allowed_origin) {
    fields[n++] = (http_field){"access-control-allow-origin", call->api->allowed_origin};
    fields[n++] = (http_field){"access-control-expose-headers",
                               "allow, content-disposition, etag, location, retry-after, "
                               "tus-resumable, upload-length, upload-offset, "
                               "inference-header-content-length"};
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

void api_forget(api_call *call) {
  api_idempotency_end(call);
  json_decref(call->input);
  free(call);
}

void api_reply_bytes(api_call *call, int status, const char *content_type, const void *bytes,
                     size_t size) {
  http_field fields[FIELDS];
  int n = headers_of(call, status, fields);
  call->status = status;
  api_log_call(call);
  api_idempotency_keep(call, status, content_type, bytes, size);
  http_response response = {.status = status,
                            .content_type = content_type,
                            .body = bytes,
                            .size = size,
                            .n_fields = n,
                            .fields = fields,
                            .may_compress = content_type && strstr(content_type, "json")};
  http_respond(call->request, &response);
  api_forget(call);
}

static void reply_text(api_call *call, int status, const char *type, const char *text) {
  api_reply_bytes(call, status, text ? type : NULL, text, text ? strlen(text) : 0);
}

void api_reply_file(api_call *call, int fd, int64_t size, const char *content_type) {
  http_field fields[FIELDS];
  int n = headers_of(call, 200, fields);
  http_watch watch;
  if (!api_download_begin(call->api, &call->user, &watch)) {
    close(fd);
    api_fail(call, 503, "out of memory");
    return;
  }
  call->status = 200;
  api_log_call(call);
  http_respond_file(
      call->request,
      &(http_response){
          .status = 200, .content_type = content_type, .n_fields = n, .fields = fields},
      fd, size, &watch);
  api_forget(call);
}

void api_reply_download(api_call *call, const char *path, const char *content_type,
                        const char *name) {
  struct stat info;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0 && fstat(fd, &info) == 0) {
    if (api_is_known(call, "%llx-%llx", (unsigned long long)info.st_size,
                     (unsigned long long)info.st_mtime * 1000000000ULL +
                         (unsigned long long)info.st_mtim.tv_nsec)) {
      close(fd);
      return;
    }
    api_add_header(call, "content-disposition", "attachment; filename=\"%s\"", name);
    api_reply_file(call, fd, info.st_size, content_type);
    return;
  }
  if (fd >= 0) close(fd);
  api_fail(call, 410, "the file of %s is gone", name);
}

http_stream *api_reply_stream(api_call *call, size_t most, void (*closed)(void *user), void *user) {
  http_field fields[FIELDS];
  int n = headers_of(call, 200, fields);
  http_response head = {
      .status = 200, .content_type = "text/event-stream", .n_fields = n, .fields = fields};
  call->status = 200;
  api_log_call(call);
  http_stream *stream = http_stream_start(call->request, &head, most, closed, user);
  api_forget(call);
  return stream;
}

void api_reply(api_call *call, int status, json_t *json) {
  if (status < 300 && call->route && call->route->answer)
    json = shape_apply(call->route->answer, json);
  char *text = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
  json_decref(json);
  if (text)
    reply_text(call, status, "application/json", text);
  else
    reply_text(call, 503, "application/problem+json",
               "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
               "\"detail\":\"out of memory\",\"code\":\"service_unavailable\"}");
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

void api_reply_page(api_call *call, const char *key, json_t *rows) {
  const char *sort = api_text(call, "sort");
  const json_t *first = json_array_get(rows, 0);
  if (!rows)
    api_fail_store(call);
  else if (sort && first && !json_object_get(first, sort)) {
    json_decref(rows);
    api_fail(call, 400, "the rows have no member to sort by of this name");
  } else
    api_reply(call, 200, api_page(call, key, rows));
}

void api_reply_empty(api_call *call) {
  reply_text(call, 204, NULL, NULL);
}

bool api_is_known(api_call *call, const char *format, ...) {
  char tag[200] = "\"";
  va_list args;
  va_start(args, format);
  int n = vsnprintf(tag + 1, sizeof tag - 3, format, args);
  va_end(args);
  if (n < 0 || n >= (int)sizeof tag - 3) return false;
  strcat(tag, "\"");
  call->may_be_kept = true;
  api_add_header(call, "etag", "%s", tag);
  const char *has = http_header(call->request, "if-none-match");
  if (!has || !strstr(has, tag)) return false;
  reply_text(call, 304, NULL, NULL);
  return true;
}

/* ---- problems ---- */

static const shape_member cause_members[] = {
    {"path", SHAPE_TEXT, SHAPE_NULLABLE, "JSON pointer into the body", NULL, NULL},
    {"text", SHAPE_TEXT, 0, "what is wrong, a sentence", NULL, NULL},
    {"cure", SHAPE_JSON, SHAPE_NULLABLE, "what to do, or a patch that does it", NULL, NULL},
    {0}};
static const answer_shape cause_shape = {"Cause", cause_members, NULL, NULL};
static const shape_member problem_members[] = {
    {"type", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"title", SHAPE_TEXT, 0, "the status in words", NULL, NULL},
    {"status", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"detail", SHAPE_TEXT, 0, "one sentence for people", NULL, NULL},
    {"code", SHAPE_TEXT, 0, "a word for programs", NULL, NULL},
    {"errors", SHAPE_LIST, SHAPE_OPTIONAL, "everything that is wrong", &cause_shape, NULL},
    {0}};
const answer_shape api_problem_shape = {"Problem", problem_members, NULL, NULL};
static const shape_member protocol_error_members[] = {
    {"error", SHAPE_TEXT, 0, "one sentence", NULL, NULL}, {0}};
const answer_shape api_protocol_error_shape = {"ProtocolError", protocol_error_members, NULL, NULL};

/* The inference protocols have their own form of an error. */
static bool has_own_form(const api_call *call) {
  const char *path = http_path(call->request);
  return strncmp(path, "/v2", 3) == 0 || strncmp(path, "/v1/", 4) == 0;
}

static bool has_header(const api_call *call, const char *name) {
  for (int i = 0; i < call->n_extra; i++)
    if (strcmp(call->extra[i].name, name) == 0) return true;
  return false;
}

/* Takes the errors, which may be NULL. */
static void fail(api_call *call, int status, const char *sentence, json_t *errors) {
  char code[64];
  call->refusal = sentence;
  if ((status == 503 || status == 429) && !has_header(call, "retry-after"))
    api_add_header(call, "retry-after", "1");
  json_t *detail = json_string(sentence);
  if (!detail) detail = json_string(http_reason(status)); /* not UTF-8 */
  if (has_own_form(call)) {
    json_decref(errors);
    api_reply(call, status, json_pack("{s:o}", "error", detail));
    return;
  }
  http_code(status, code, sizeof code);
  json_t *problem = json_pack("{s:s, s:s, s:i, s:o, s:s, s:o*}", "type", "about:blank", "title",
                              http_reason(status), "status", status, "detail", detail, "code", code,
                              "errors", errors);
  char *text = json_dumps(problem, JSON_COMPACT);
  json_decref(problem);
  reply_text(call, status, "application/problem+json", text);
  free(text);
}

#define SENTENCE(format)                                                                           \
  char sentence[2048];                                                                             \
  va_list args;                                                                                    \
  va_start(args, format);                                                                          \
  vsnprintf(sentence, sizeof sentence, format, args);                                              \
  va_end(args)

void api_fail(api_call *call, int status, const char *format, ...) {
  SENTENCE(format);
  fail(call, status, sentence, NULL);
}

void api_fail_with(api_call *call, int status, json_t *errors, const char *format, ...) {
  SENTENCE(format);
  fail(call, status, sentence, errors);
}

void api_fail_field(api_call *call, const api_field *f, const char *format, ...) {
  SENTENCE(format);
  json_t *path = json_sprintf("%s%s", f->in_query ? "?" : "/", f->name);
  fail(call, 400, sentence, json_pack("[{s:o, s:s, s:n}]", "path", path, "text", sentence, "cure"));
}
#undef SENTENCE

void api_fail_store(api_call *call) {
  api_log("store", call, call->user.id, NULL, store_error());
  switch (store_last_trouble()) {
  case STORE_DISK_FULL: api_fail(call, 507, "the disk is full"); break;
  case STORE_IS_BUSY: api_fail(call, 503, "the store is busy; try again in a moment"); break;
  default: api_fail(call, 500, "the store failed; see the log");
  }
}

void api_fail_tool(api_call *call, tool_outcome outcome, const char *error) {
  api_fail(call, outcome == TOOL_REFUSED ? 422 : outcome == TOOL_BUSY ? 503 : 500, "%s", error);
}

json_t *api_tool_json(api_call *call, const tool_request *request) {
  char error[1024], *output;
  size_t size;
  tool_outcome outcome = tool_run(call->api->tools, request, &output, &size, error, sizeof error);
  if (outcome != TOOL_DONE) {
    api_fail_tool(call, outcome, error);
    return NULL;
  }
  json_t *json = json_loadb(output, size, 0, NULL);
  free(output);
  if (!json) api_fail(call, 500, "webml %s printed no JSON", request->words[0]);
  return json;
}

/* ---- versions ---- */

/* A tag is "<version>", or "<version>.<more>" of what also changes by itself. */
bool api_is_version(const api_call *call, int64_t version) {
  char mine[32];
  const char *wanted = http_header(call->request, "if-match");
  if (!wanted || strcmp(wanted, "*") == 0) return true;
  int n = snprintf(mine, sizeof mine, "\"%lld", (long long)version);
  for (const char *at = wanted; (at = strstr(at, mine)); at++)
    if ((at[n] == '"' || at[n] == '.') &&
        (at == wanted || strchr(" ,/", at[-1]))) /* W/"3": the answer was compressed */
      return true;
  return false;
}

void api_fail_version(api_call *call) {
  api_fail(call, 412, "it has changed since you read it; read it again");
}

bool api_check_version(api_call *call, const json_t *row) {
  if (api_is_version(call, store_integer(row, "version"))) return true;
  api_fail_version(call);
  return false;
}

void api_add_version(api_call *call, const json_t *row) {
  api_add_header(call, "etag", "\"%lld\"", (long long)store_integer(row, "version"));
}

bool api_may_change(const api_call *call, const json_t *row) {
  return store_integer(row, "owner") == call->user.id || call->user.admin;
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
