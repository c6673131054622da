#include "datasets.h"

#include "events.h"
#include "jobs/folder.h"
#include "jobs/tool.h"
#include "settings.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- files ---- */

static void folder_of(const api *a, int64_t id, char *path, size_t size) {
  snprintf(path, size, "%s/datasets/%lld", a->data_dir, (long long)id);
}

void dataset_path(const api *a, int64_t id, const char *file, char *path, size_t size) {
  snprintf(path, size, "%s/datasets/%lld/%s", a->data_dir, (long long)id, file);
}

static void remove_files(const api *a, int64_t id) {
  char folder[3000];
  folder_of(a, id, folder, sizeof folder);
  folder_remove(folder);
}

static json_t *read_json(const char *path) {
  return json_load_file(path, 0, NULL);
}

/* ---- looking at a data set, in a process of its own ---- */

typedef struct look {
  struct look *next;
  api *a;
  int64_t id, owner;
  char name[128], file[64];
} look;

struct dataset_looks {
  pthread_mutex_t mutex;
  pthread_cond_t ended;
  look *list;
};

static void end_look(look *l) {
  struct dataset_looks *looks = l->a->looks;
  pthread_mutex_lock(&looks->mutex);
  for (look **p = &looks->list; *p; p = &(*p)->next)
    if (*p == l) {
      *p = l->next;
      break;
    }
  pthread_cond_broadcast(&looks->ended);
  pthread_mutex_unlock(&looks->mutex);
  free(l);
}

void datasets_stop(api *a) {
  struct dataset_looks *looks = a->looks;
  if (!looks) return;
  pthread_mutex_lock(&looks->mutex);
  while (looks->list) pthread_cond_wait(&looks->ended, &looks->mutex);
  pthread_mutex_unlock(&looks->mutex);
  pthread_mutex_destroy(&looks->mutex);
  pthread_cond_destroy(&looks->ended);
  free(looks);
  a->looks = NULL;
}

static void *run_look(void *arg) {
  look *l = arg;
  char program[4096], folder[3000], data[4096], output[4096], errors[4096], error[1024] = "";
  folder_of(l->a, l->id, folder, sizeof folder);
  snprintf(data, sizeof data, "%s/%s", folder, l->file);
  snprintf(output, sizeof output, "%s/properties.json", folder);
  snprintf(errors, sizeof errors, "%s/errors", folder);
  char *const arguments[] = {program, "inspect", data, "--json", NULL};
  process_spec spec = {
      .arguments = arguments, .output = output, .errors = errors, .background = true};
  json_t *properties = NULL;
  int code = 127;
  if (process_beside("webml", program, sizeof program))
    code = tool_wait(l->a, &spec, error, sizeof error);
  if (code < 0) {
    end_look(l);
    return NULL;
  }
  if (code == 0) properties = read_json(output);
  if (code == 1) folder_last_error(errors, error, sizeof error);
  if (code == 1 && !error[0]) snprintf(error, sizeof error, "it cannot be read");
  if (code > 1 && !error[0])
    snprintf(error, sizeof error,
             "looking at it ended with %d: it is damaged, or too large for this machine", code);
  if (code == 0 && !properties) snprintf(error, sizeof error, "nothing came of looking at it");
  api_hide_paths(l->a, error);
  char *text = properties ? json_dumps(properties, JSON_COMPACT) : NULL;
  const char *state = properties ? "ready" : "broken";
  int64_t changed =
      store_run(l->a->store,
                "UPDATE datasets SET state = ?, format = ?, properties = ?, error = ? WHERE id = ?",
                "ssssi", state, json_string_value(json_object_get(properties, "format")), text,
                properties ? NULL : error, l->id);
  if (changed < 0) api_log("dataset", NULL, l->owner, l->name, store_error());
  if (changed == 0) remove_files(l->a, l->id); /* deleted meanwhile */
  event_send(l->a, "dataset", l->owner, 0,
             json_pack("{s:I, s:s, s:s, s:s*}", "id", (json_int_t)l->id, "name", l->name, "state",
                       state, "error", properties ? NULL : error));
  free(text);
  json_decref(properties);
  end_look(l);
  return NULL;
}

static bool start_look(api *a, int64_t id, int64_t owner, const char *name, const char *file) {
  look *l = calloc(1, sizeof *l);
  pthread_t thread;
  if (!l) return false;
  *l = (look){.a = a, .id = id, .owner = owner};
  snprintf(l->name, sizeof l->name, "%s", name);
  snprintf(l->file, sizeof l->file, "%s", file);
  pthread_mutex_lock(&a->looks->mutex);
  l->next = a->looks->list;
  a->looks->list = l;
  pthread_mutex_unlock(&a->looks->mutex);
  if (pthread_create(&thread, NULL, run_look, l) != 0) {
    end_look(l);
    return false;
  }
  pthread_detach(thread);
  return true;
}

/* ---- from an upload ---- */

bool dataset_name_is_free(api_call *call, const char *name) {
  bool found;
  json_t *row = store_row(call->api->store, &found,
                          "SELECT public FROM datasets WHERE name = ? AND (owner = ? OR public)",
                          "si", name, call->user.id);
  bool is_free = !row && !found;
  if (row)
    api_fail(call, 409,
             json_integer_value(json_object_get(row, "public"))
                 ? "a public data set has this name"
                 : "you have a data set of this name");
  else if (found)
    api_fail_store(call);
  json_decref(row);
  return is_free;
}

bool dataset_find_ready(api_call *call, int64_t id, char *path, size_t size) {
  bool found;
  json_t *row = store_row(
      call->api->store, &found,
      "SELECT file FROM datasets WHERE id = ? AND (owner = ? OR public) AND state = 'ready'", "ii",
      id, call->user.id);
  if (row)
    dataset_path(call->api, id, store_text(row, "file"), path, size);
  else if (found)
    api_fail_store(call);
  else
    api_fail(call, 404, "there is no data set %lld of yours that is ready", (long long)id);
  json_decref(row);
  return row != NULL;
}

bool dataset_quota(api_call *call, int64_t bytes) {
  bool found;
  json_t *row =
      store_row(call->api->store, &found,
                "SELECT (SELECT COALESCE(SUM(bytes), 0) FROM datasets WHERE owner = ?1)"
                " + (SELECT COALESCE(SUM(bytes), 0) FROM uploads WHERE owner = ?1) AS used",
                "i", call->user.id);
  int64_t used = json_integer_value(json_object_get(row, "used"));
  int64_t storage_per_user = (int64_t)setting(call->api, "storage_bytes");
  bool known = row != NULL;
  json_decref(row);
  if (!known)
    api_fail_store(call);
  else if (bytes > storage_per_user - used)
    api_fail(call, 413, "your data sets and uploads have %.2f of %.2f GB; this one has %.2f",
             (double)used / 1e9, (double)storage_per_user / 1e9, (double)bytes / 1e9);
  else
    return true;
  return false;
}

bool dataset_finish(api_call *call, const json_t *upload, const char *path) {
  store *s = call->api->store;
  char folder[3000], target[4096], file[64];
  const char *name = json_string_value(json_object_get(upload, "name"));
  snprintf(file, sizeof file, "data%s", json_string_value(json_object_get(upload, "suffix")));
  if (!dataset_name_is_free(call, name)) return false;
  if (!store_begin(s)) {
    api_fail_store(call);
    return false;
  }
  int64_t id = store_insert(s,
                            "INSERT INTO datasets (owner, name, state, bytes, file, created) "
                            "VALUES (?, ?, 'checking', ?, ?, ?)",
                            "isisi", call->user.id, name,
                            json_integer_value(json_object_get(upload, "bytes")), file, api_now());
  folder_of(call->api, id, folder, sizeof folder);
  snprintf(target, sizeof target, "%s/%s", folder, file);
  /* The file moves between the two rows' changes: whichever is there after a kill, recovery tidies.
   */
  bool ok = id > 0 && store_run(s, "DELETE FROM uploads WHERE key = ?", "s", call->key) == 1 &&
            mkdir(folder, 0700) == 0 && rename(path, target) == 0;
  if (!ok) {
    store_rollback(s);
    if (id > 0) rmdir(folder);
    if (id == STORE_EXISTS)
      api_fail(call, 409, "you have a data set of this name");
    else
      api_fail_store(call);
    return false;
  }
  if (!store_commit(s)) {
    if (rename(target, path) == 0) rmdir(folder);
    api_fail_store(call);
    return false;
  }
  api_log("dataset", call, call->user.id, NULL, "uploaded");
  start_look(call->api, id, call->user.id, name, file); /* fails: the next start looks */
  return true;
}

/* Folders without a row, and uploads without one. */
static void tidy(api *a, const char *what, const char *sql, bool by_number) {
  char folder[3000], path[4096];
  snprintf(folder, sizeof folder, "%s/%s", a->data_dir, what);
  DIR *d = opendir(folder);
  for (struct dirent *e; d && (e = readdir(d));) {
    bool found;
    if (e->d_name[0] == '.') continue;
    json_t *row = by_number
                      ? store_row(a->store, &found, sql, "i", (int64_t)strtoll(e->d_name, NULL, 10))
                      : store_row(a->store, &found, sql, "s", e->d_name);
    json_decref(row);
    if (found) continue;
    snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    if (by_number)
      remove_files(a, strtoll(e->d_name, NULL, 10));
    else
      unlink(path);
  }
  if (d) closedir(d);
}

void datasets_tidy(api *a) {
  tidy(a, "uploads", "SELECT 1 AS one FROM uploads WHERE key = ?", false);
  tidy(a, "datasets", "SELECT 1 AS one FROM datasets WHERE id = ?", true);
}

bool datasets_recover(api *a) {
  char path[4096];
  if (!(a->looks = calloc(1, sizeof *a->looks))) return false;
  pthread_mutex_init(&a->looks->mutex, NULL);
  pthread_cond_init(&a->looks->ended, NULL);
  const char *const folders[] = {"uploads", "datasets"};
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/%s", a->data_dir, folders[i]);
    if (mkdir(path, 0700) != 0 && errno != EEXIST) return false;
  }
  datasets_tidy(a);
  json_t *rows = store_rows(
             a->store, "SELECT id, owner, name, file FROM datasets WHERE state = 'checking'", ""),
         *row;
  size_t i;
  json_array_foreach(rows, i, row) start_look(a, json_integer_value(json_object_get(row, "id")),
                                              json_integer_value(json_object_get(row, "owner")),
                                              json_string_value(json_object_get(row, "name")),
                                              json_string_value(json_object_get(row, "file")));
  bool ok = rows != NULL;
  json_decref(rows);
  return ok;
}

/* ---- the resource ---- */

/* The data set of the path when the caller may see it, or, with `change`, may change it. */
static json_t *find(api_call *call, bool change) {
  bool found;
  json_t *row = store_row(
      call->api->store, &found,
      "SELECT id, owner, name, public, state, format, bytes, file, properties, error, created"
      " FROM datasets WHERE id = ?",
      "i", call->ids[0]);
  bool own = row && (json_integer_value(json_object_get(row, "owner")) == call->user.id ||
                     call->user.admin);
  bool public = row && json_integer_value(json_object_get(row, "public"));
  if (own || (public && !change)) return row;
  json_decref(row);
  if (!row && found)
    api_fail_store(call);
  else if (public)
    api_fail(call, 403, "public data sets are changed by administrators");
  else
    api_fail(call, 404, "there is no data set %lld of yours", (long long)call->ids[0]);
  return NULL;
}

static json_t *present(json_t *row) {
  json_object_del(row, "file");
  json_object_set_new(row, "public",
                      json_boolean(json_integer_value(json_object_get(row, "public"))));
  return row;
}

static void list(api_call *call) {
  json_t *rows = store_rows(
      call->api->store,
      "SELECT id, owner, name, public, state, format, bytes, error, created FROM datasets"
      " WHERE owner = ? OR public OR ? ORDER BY name",
      "ii", call->user.id, (int64_t)call->user.admin);
  api_reply_rows(call, "datasets", rows, present);
}

static void one(api_call *call) {
  json_t *row = find(call, false);
  if (!row) return;
  const char *text = json_string_value(json_object_get(row, "properties"));
  json_t *properties = text ? json_loads(text, 0, NULL) : NULL;
  json_object_set_new(row, "properties", properties ? properties : json_null());
  api_reply(call, 200, present(row));
}

static void download(api_call *call) {
  json_t *row = find(call, false);
  char path[4096], name[128];
  if (!row) return;
  const char *file = store_text(row, "file");
  dataset_path(call->api, call->ids[0], file, path, sizeof path);
  snprintf(name, sizeof name, "dataset-%lld%s", (long long)call->ids[0], file + strlen("data"));
  json_decref(row);
  api_reply_download(call, path, "application/octet-stream", name);
}

/* What there is to look at: of tables some rows, of pictures the classes with a link each. */
static void preview(api_call *call) {
  json_t *row = find(call, false);
  if (!row) return;
  const char *text = json_string_value(json_object_get(row, "properties"));
  json_t *p = text ? json_loads(text, 0, NULL) : NULL, *class;
  json_decref(row);
  if (!p) {
    api_fail(call, 409, "the data set was not looked at yet, or is broken");
    return;
  }
  const char *format = json_string_value(json_object_get(p, "format"));
  json_t *answer = json_pack("{s:s}", "format", format);
  if (strcmp(format, "images") != 0) {
    json_t *columns = json_array(), *feature;
    size_t i;
    json_array_foreach(json_object_get(p, "features"), i, feature)
        json_array_append(columns, json_object_get(feature, "feature"));
    json_object_set_new(answer, "columns", columns);
    json_object_set(answer, "rows", json_object_get(p, "examples"));
  } else {
    json_t *classes = json_array();
    size_t i;
    json_array_foreach(json_object_get(p, "classes"), i, class) json_array_append_new(
        classes,
        json_pack("{s:O, s:O, s:O, s:o}", "class", class, "training",
                  json_array_get(json_object_get(p, "training_per_class"), i), "validation",
                  json_array_get(json_object_get(p, "validation_per_class"), i), "sample",
                  dataset_sample_link(call->ids[0], json_string_value(class), 0)));
    json_object_set_new(answer, "classes", classes);
  }
  json_decref(p);
  api_reply(call, 200, answer);
}

json_t *dataset_sample_link(int64_t id, const char *class, int64_t index) {
  char link[1024];
  size_t at = (size_t)snprintf(link, sizeof link,
                               "/api/v1/datasets/%lld/sample?index=%lld&class=", (long long)id,
                               (long long)index);
  for (const char *c = class; *c && at + 4 < sizeof link; c++) {
    bool plain = (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                 strchr("-_.~", *c);
    at += (size_t)snprintf(link + at, sizeof link - at, plain ? "%c" : "%%%02X",
                           plain ? *c : (unsigned char)*c);
  }
  return json_string(link);
}

static void sample(api_call *call) {
  char path[4096], index[24], side[24], error[1024], *png;
  size_t bytes;
  int status;
  json_t *row = find(call, false);
  if (!row) return;
  const char *format = json_string_value(json_object_get(row, "format"));
  bool pictures = format && strcmp(format, "images") == 0;
  dataset_path(call->api, call->ids[0], json_string_value(json_object_get(row, "file")), path,
               sizeof path);
  json_decref(row);
  if (!pictures) {
    api_fail(call, 409, "this data set has no pictures; see its preview");
    return;
  }
  snprintf(index, sizeof index, "%lld", (long long)api_integer(call, "index", 0));
  snprintf(side, sizeof side, "%lld", (long long)api_integer(call, "size", 128));
  const char *const words[] = {"sample", path, "--class", api_text(call, "class"), "--index", index,
                               "--size", side, "-o",      "/dev/stdout",           NULL};
  if (tool_run(call->api, NULL, words, &png, &bytes, &status, error, sizeof error))
    api_reply_bytes(call, 200, "image/png", png, bytes);
  else
    api_fail(call, status == 422 ? 404 : status, "%s", error);
  free(png);
}

static void publish(api_call *call) {
  int64_t changed = store_run(call->api->store, "UPDATE datasets SET public = ? WHERE id = ?", "ii",
                              (int64_t)api_boolean(call, "public", true), call->ids[0]);
  if (changed < 0)
    api_fail_store(call);
  else if (changed == 0)
    api_fail(call, 404, "there is no data set %lld", (long long)call->ids[0]);
  else
    api_reply_empty(call);
}

static void erase(api_call *call) {
  json_t *row = find(call, true);
  if (!row) return;
  json_decref(row);
  if (store_run(call->api->store, "DELETE FROM datasets WHERE id = ?", "i", call->ids[0]) < 0) {
    api_fail_store(call);
    return;
  }
  remove_files(call->api, call->ids[0]);
  api_log("dataset", call, call->user.id, NULL, "deleted");
  api_reply_empty(call);
}

static const api_field sample_fields[] = {
    {"class", API_TEXT, true, true, 1, 255, "of which class", NULL},
    {"index", API_INTEGER, false, true, 0, 1e12, "which of its pictures, from 0", NULL},
    {"size", API_INTEGER, false, true, 8, 1024, "width and height in pixels; 128", NULL},
    {0}};
static const api_field publish_fields[] = {
    {"public", API_BOOLEAN, true, false, 0, 0, "true: everybody may see and use it", NULL}, {0}};

static const api_route routes[] = {
    {"GET", "/api/v1/datasets", API_USER, "your data sets and the public ones", NULL, list, 0},
    {"GET", "/api/v1/datasets/{id}", API_USER, "one data set with its properties", NULL, one, 0},
    {"GET", "/api/v1/datasets/{id}/file", API_USER, "the file as it was uploaded", NULL, download,
     0},
    {"GET", "/api/v1/datasets/{id}/preview", API_USER,
     "some rows of a table, or the classes of pictures with a link to one each", NULL, preview, 0},
    {"GET", "/api/v1/datasets/{id}/sample", API_USER, "one picture of a class, as PNG",
     sample_fields, sample, 0},
    {"PATCH", "/api/v1/datasets/{id}", API_ADMIN, "publish it, or take it back", publish_fields,
     publish, 0},
    {"DELETE", "/api/v1/datasets/{id}", API_USER, "delete it", NULL, erase, 0},
    {0}};

const api_resource api_datasets = {"datasets", "Tables and sets of pictures.", routes};
