/* Predictions in the words of the data set: a row by its columns' names, a picture as it is. */
#include "datasets.h"
#include "multipart.h"
#include "store/sessions.h"

#include <stdlib.h>
#include <string.h>
#include <webml.h>

enum { EXAMPLES = 16 };

/* Links to pictures of the class that was said, where the caller may see the data set. */
static void add_examples(api_call *call, int64_t session, json_t *answer) {
  bool found;
  json_t *row = session_dataset(call->store, session, call->user.id, &found);
  const char *text = json_string_value(json_object_get(row, "properties")),
             *class = json_string_value(json_object_get(answer, "class"));
  json_t *p = text ? json_loads(text, 0, NULL) : NULL, *name, *list = json_array();
  size_t i;
  json_array_foreach(json_object_get(p, "classes"), i, name) {
    if (!class || strcmp(json_string_value(name), class) != 0) continue;
    json_int_t n =
        json_integer_value(json_array_get(json_object_get(p, "training_per_class"), i)) +
        json_integer_value(json_array_get(json_object_get(p, "validation_per_class"), i));
    for (json_int_t k = 0; k < n && k < EXAMPLES; k++)
      json_array_append_new(list, dataset_sample_link(store_integer(row, "id"), class, k));
  }
  if (json_array_size(list)) json_object_set(answer, "examples", list);
  json_decref(list);
  json_decref(p);
  json_decref(row);
}

static void predict(api_call *call) {
  char error[1024], path[CONTEXT_PATH];
  bool found;
  size_t size;
  const void *body = http_body(call->request, &size);
  const char *type = http_header(call->request, "content-type");
  if (multipart_is(type) && !(body = multipart_first(type, body, size, &size))) {
    api_fail(call, 400, "the multipart body has no part with content");
    return;
  }
  json_t *row = weights_target(call->store, call->ids[0], call->user.id, &found);
  if (!row) {
    if (found)
      api_fail_store(call);
    else
      api_fail(call, 404, "there are no weights %lld that you may use", (long long)call->ids[0]);
    return;
  }
  int64_t session = store_integer(row, "session");
  json_decref(row);
  path_of_job(&call->api->context, session, "weights.safetensors", path, sizeof path);
  served *s = serve_acquire(call->api->serving, call->ids[0], path, NULL, error, sizeof error);
  if (!s) {
    api_fail(call, 503, "%s", error);
    return;
  }
  bool images = serve_shape_of(s)->images;
  char *text = images ? NULL : strndup(body, size), *answer = NULL;
  if (images)
    answer = serve_picture(s, body, size, error, sizeof error);
  else if (text)
    answer = serve_row(s, text, error, sizeof error);
  free(text);
  serve_release(s);
  json_t *json = answer ? json_loads(answer, 0, NULL) : NULL;
  webml_free(answer);
  if (json) {
    json_object_del(json, "input");
    if (images) add_examples(call, session, json);
    api_reply(call, 200, json);
  } else
    api_fail(call, 422, "%s", error);
}

/* ---- answers ---- */

static const answer_shape prediction_shape = {"Prediction", NULL, NULL, NULL};

static const api_route routes[] = {
    {.id = "predict",
     .method = "POST",
     .path = "/api/v1/weights/{id}/predict",
     .right = API_OPTIONAL,
     .about = "a row {\"column\": value, ...}, or a PNG or JPEG, plain or as multipart/form-data",
     .run = predict,
     .how = API_RAW | API_LARGE,
     .answer = &prediction_shape},
    {0}};

const api_resource api_predict = {"predictions", "Predictions by trained weights.", routes};
