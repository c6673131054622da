/* Tables and sets of pictures. */
#include "datasets.h"

#include "cascade.h"
#include "store/datasets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool dataset_name_is_free(api_call *call, const char *name, int64_t except) {
  switch (dataset_name_of(call->store, name, call->user.id, except)) {
  case DATASET_NAME_FREE: return true;
  case DATASET_NAME_YOURS: api_fail(call, 409, "you have a data set of this name"); break;
  case DATASET_NAME_PUBLIC:
    api_fail(call, 409, "a public data set has this name, or one that looks like it");
    break;
  default: api_fail_store(call);
  }
  return false;
}

bool dataset_path_of_ready(api_call *call, int64_t id, char *path, size_t size) {
  bool found;
  json_t *row = dataset_find_ready(call->store, id, call->user.id, &found);
  if (row)
    path_of_dataset(&call->api->context, id, store_text(row, "file"), path, size);
  else if (found)
    api_fail_store(call);
  else
    api_fail(call, 404, "there is no data set %lld of yours that is ready", (long long)id);
  json_decref(row);
  return row != NULL;
}

/* ---- the resource ---- */

/* The data set of the path when the caller may see it, or, with `change`, may change it. */
static json_t *find(api_call *call, bool change) {
  bool found;
  json_t *row = dataset_find(call->store, call->ids[0], &found);
  bool own = row && api_may_change(call, row), public = row && store_integer(row, "public");
  if (own || (public && !change)) return row;
  json_decref(row);
  if (!row && found)
    api_fail_store(call);
  else if (public)
    api_fail(call, 403, "a public data set is changed by its owner and by administrators");
  else
    api_fail(call, 404, "there is no data set %lld of yours", (long long)call->ids[0]);
  return NULL;
}

static void list(api_call *call) {
  api_reply_page(call, "datasets", datasets_list(call->store, call->user.id, call->user.admin));
}

static void one(api_call *call) {
  json_t *row = find(call, false);
  if (!row) return;
  api_add_version(call, row);
  api_reply(call, 200, row);
}

static void download(api_call *call) {
  json_t *row = find(call, false);
  char path[CONTEXT_PATH], name[128];
  if (!row) return;
  const char *file = store_text(row, "file");
  path_of_dataset(&call->api->context, call->ids[0], file, path, sizeof path);
  snprintf(name, sizeof name, "dataset-%lld%s", (long long)call->ids[0], file + strlen("data"));
  json_decref(row);
  api_reply_download(call, path, "application/octet-stream", name);
}

/* What there is to look at: of tables some rows, of pictures the classes with a link each. */
static void preview(api_call *call) {
  json_t *row = find(call, false);
  if (!row) return;
  const char *text = store_text(row, "properties");
  json_t *p = text ? json_loads(text, 0, NULL) : NULL, *class;
  json_decref(row);
  if (!p) {
    api_fail(call, 409, "the data set was not looked at yet, or is broken");
    return;
  }
  const char *format = store_text(p, "format");
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

/* The file of a data set never changes: the same question has the same answer. */
static bool is_known_sample(api_call *call) {
  char hash[SECRET_HASH];
  secret_hash(api_text(call, "class"), hash); /* a tag has no odd characters */
  return api_is_known(call, "%lld-%.32s-%lld-%lld", (long long)call->ids[0], hash,
                      (long long)api_integer(call, "index", 0),
                      (long long)api_integer(call, "size", 128));
}

static void sample(api_call *call) {
  char path[CONTEXT_PATH], index[24], side[24], error[1024], *png;
  size_t bytes;
  json_t *row = find(call, false);
  if (!row) return;
  const char *format = store_text(row, "format");
  bool pictures = format && strcmp(format, "images") == 0;
  path_of_dataset(&call->api->context, call->ids[0], store_text(row, "file"), path, sizeof path);
  json_decref(row);
  if (!pictures) {
    api_fail(call, 409, "this data set has no pictures; see its preview");
    return;
  }
  if (is_known_sample(call)) return;
  snprintf(index, sizeof index, "%lld", (long long)api_integer(call, "index", 0));
  snprintf(side, sizeof side, "%lld", (long long)api_integer(call, "size", 128));
  const char *const words[] = {"sample", path, "--class", api_text(call, "class"), "--index", index,
                               "--size", side, "-o",      "/dev/stdout",           NULL};
  const tool_request request = {.words = words, .dataset = call->ids[0]};
  tool_outcome outcome = tool_run(call->api->tools, &request, &png, &bytes, error, sizeof error);
  if (outcome == TOOL_DONE)
    api_reply_bytes(call, 200, "image/png", png, bytes);
  else if (outcome == TOOL_REFUSED)
    api_fail(call, 404, "%s", error);
  else
    api_fail_tool(call, outcome, error);
  free(png);
}

/* ---- changes ---- */

/* False: answered. */
static bool check_change(api_call *call, const json_t *row) {
  const char *name = api_text(call, "name");
  bool publishes = api_boolean(call, "public", false);
  if (!api_check_version(call, row)) return false;
  if (json_object_get(call->input, "public") && !call->user.admin) {
    api_fail(call, 403, "administrators publish data sets, and take them back");
    return false;
  }
  if (!name && !publishes) return true;
  return dataset_name_is_free(call, name ? name : store_text(row, "name"), call->ids[0]);
}

static void save(api_call *call) {
  json_t *row = find(call, true);
  if (!row) return;
  if (!check_change(call, row)) {
    json_decref(row);
    return;
  }
  int64_t changed =
      dataset_change(call->store, call->ids[0], store_integer(row, "version"), call->input);
  if (changed > 0) {
    api_log_change("dataset", call, row, call->input);
    one(call);
  } else if (changed == STORE_EXISTS)
    api_fail(call, 409, "you have a data set of this name");
  else if (changed == 0)
    api_fail(call, 412, "the data set has changed since you read it; read it again");
  else
    api_fail_store(call);
  json_decref(row);
}

/* Whose sessions are in the way, as far as that is the caller's business. */
static void refuse_erase(api_call *call) {
  json_t *rows = dataset_sessions(call->store, call->ids[0]), *row;
  char own[200] = "";
  int others = 0;
  size_t i, at = 0;
  json_array_foreach(rows, i, row) {
    if (store_integer(row, "owner") != call->user.id && !call->user.admin)
      others++;
    else if (at + 24 < sizeof own)
      at += (size_t)snprintf(own + at, sizeof own - at, "%s%lld", at ? ", " : "",
                             (long long)store_integer(row, "id"));
  }
  json_decref(rows);
  if (*own)
    api_fail(call, 409, "it is used by session %s, which waits or runs; cancel that first", own);
  else
    api_fail(call, 409, "it is used by %d session%s of others, which wait or run", others,
             others == 1 ? "" : "s");
}

static void erase(api_call *call) {
  json_t *row = find(call, true);
  if (!row) return;
  int64_t gone = dataset_delete(call->store, call->ids[0]);
  if (gone < 0)
    api_fail_store(call);
  else if (gone == 0)
    refuse_erase(call);
  else {
    cascade(call->api);
    store_fill_ballast(call->store);
    api_log("dataset", call, call->user.id, store_text(row, "name"), "deleted");
    api_reply_empty(call);
  }
  json_decref(row);
}

static const api_field sample_fields[] = {
    {"class", API_TEXT, true, true, 1, 255, "of which class", NULL},
    {"index", API_INTEGER, false, true, 0, 1e12, "which of its pictures, from 0", NULL},
    {"size", API_INTEGER, false, true, 8, 1024, "width and height in pixels; 128", NULL},
    {0}};
static const api_field save_fields[] = {
    {"name", API_NAME, false, false, 1, 100, "a new name", NULL},
    {"about", API_TEXT, false, false, 0, 4000, "a description in words", NULL},
    {"public", API_BOOLEAN, false, false, 0, 0,
     "true: everybody may see and use it; for administrators", NULL},
    {0}};

/* ---- answers ---- */

static const char *const state_names[] = {"checking", "ready", "broken", NULL};
static const shape_member dataset_shape_members[] = {
    {"id", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"owner", SHAPE_INTEGER, 0, NULL, NULL, NULL},
    {"owner_name", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"name", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"about", SHAPE_TEXT, 0, "a description in words", NULL, NULL},
    {"public", SHAPE_BOOLEAN, 0, NULL, NULL, NULL},
    {"state", SHAPE_TEXT, 0, NULL, NULL, state_names},
    {"format", SHAPE_TEXT, SHAPE_NULLABLE, "csvdata or images", NULL, NULL},
    {"bytes", SHAPE_BYTES, 0, NULL, NULL, NULL},
    {"error", SHAPE_TEXT, SHAPE_NULLABLE, "why it is broken", NULL, NULL},
    {"created", SHAPE_TIME, 0, NULL, NULL, NULL},
    {"version", SHAPE_INTEGER, 0, "as in ETag", NULL, NULL},
    {0}};
const answer_shape api_dataset_shape = {"Dataset", dataset_shape_members, NULL, NULL};
static const shape_member datasets_shape_members[] = {
    {"datasets", SHAPE_LIST, 0, NULL, &api_dataset_shape, NULL},
    {"next", SHAPE_INTEGER, SHAPE_NULLABLE, "cursor of the next page", NULL, NULL},
    {0}};
static const answer_shape datasets_shape = {"Datasets", datasets_shape_members, NULL, NULL};
static const shape_member whole_shape_members[] = {{"properties", SHAPE_JSON, SHAPE_NULLABLE,
                                                    "what its inspection found: docs/data.md", NULL,
                                                    NULL},
                                                   {0}};
static const answer_shape whole_shape = {"DatasetWhole", whole_shape_members, NULL,
                                         &api_dataset_shape};
static const shape_member class_shape_members[] = {
    {"class", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"training", SHAPE_INTEGER, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"validation", SHAPE_INTEGER, SHAPE_NULLABLE, NULL, NULL, NULL},
    {"sample", SHAPE_TEXT, SHAPE_NULLABLE, "path of one picture", NULL, NULL},
    {0}};
static const answer_shape class_shape = {"ClassPreview", class_shape_members, NULL, NULL};
static const shape_member preview_shape_members[] = {
    {"format", SHAPE_TEXT, 0, NULL, NULL, NULL},
    {"columns", SHAPE_TEXTS, SHAPE_OPTIONAL, NULL, NULL, NULL},
    {"rows", SHAPE_JSON, SHAPE_OPTIONAL, "lists of values, one for each row", NULL, NULL},
    {"classes", SHAPE_LIST, SHAPE_OPTIONAL, NULL, &class_shape, NULL},
    {0}};
static const answer_shape preview_shape = {"Preview", preview_shape_members, NULL, NULL};

static const api_route routes[] = {
    {.id = "listDatasets",
     .method = "GET",
     .path = "/api/v1/datasets",
     .right = API_USER,
     .about = "your data sets and the public ones",
     .fields = api_page_fields,
     .run = list,
     .answer = &datasets_shape},
    {.id = "getDataset",
     .method = "GET",
     .path = "/api/v1/datasets/{id}",
     .right = API_USER,
     .about = "one data set with its properties",
     .run = one,
     .answer = &whole_shape},
    {.id = "downloadDataset",
     .method = "GET",
     .path = "/api/v1/datasets/{id}/file",
     .right = API_USER,
     .about = "the file as it was uploaded",
     .run = download,
     .how = API_TICKET,
     .content = "application/octet-stream"},
    {.id = "previewDataset",
     .method = "GET",
     .path = "/api/v1/datasets/{id}/preview",
     .right = API_USER,
     .about = "some rows of a table, or the classes of pictures with a link to one each",
     .run = preview,
     .answer = &preview_shape},
    {.id = "getSample",
     .method = "GET",
     .path = "/api/v1/datasets/{id}/sample",
     .right = API_USER,
     .about = "one picture of a class, as PNG",
     .fields = sample_fields,
     .run = sample,
     .how = API_TOOL,
     .content = "image/png"},
    {.id = "changeDataset",
     .method = "PATCH",
     .path = "/api/v1/datasets/{id}",
     .right = API_USER,
     .about = "rename or describe it; administrators publish it and take it back",
     .fields = save_fields,
     .run = save,
     .answer = &whole_shape},
    {.id = "deleteDataset",
     .method = "DELETE",
     .path = "/api/v1/datasets/{id}",
     .right = API_USER,
     .about = "delete it",
     .run = erase,
     .how = API_ESSENTIAL},
    {0}};

const api_resource api_datasets = {"datasets", "Tables and sets of pictures.", routes};
