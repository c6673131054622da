/* Predictions in the words of the data set: a row by its columns' names, a picture as it is. */
#include "predict/serve.h"

#include <stdlib.h>
#include <string.h>
#include <webml.h>

static void predict(api_call *call) {
  char error[1024];
  bool found;
  size_t size;
  const void *body = http_body(call->request, &size);
  json_t *row =
      store_row(call->api->store, &found,
                "SELECT w.session AS session FROM weights w JOIN models m ON m.id = w.model"
                " WHERE w.id = ?1 AND (m.owner = ?2 OR m.public)",
                "ii", call->ids[0], call->user.id);
  if (!row) {
    if (found)
      api_fail_store(call);
    else
      api_fail(call, 404, "there are no weights %lld that you may use", (long long)call->ids[0]);
    return;
  }
  int64_t session = json_integer_value(json_object_get(row, "session"));
  json_decref(row);
  served *s = serve_acquire(call->api, call->ids[0], session, NULL, error, sizeof error);
  if (!s) {
    api_fail(call, 503, "%s", error);
    return;
  }
  char *text = serve_shape_of(s)->images ? NULL : strndup(body, size), *answer = NULL;
  if (serve_shape_of(s)->images)
    answer = serve_picture(s, body, size, error, sizeof error);
  else if (text)
    answer = serve_row(s, text, error, sizeof error);
  free(text);
  serve_release(s);
  json_t *json = answer ? json_loads(answer, 0, NULL) : NULL;
  webml_free(answer);
  if (json) {
    json_object_del(json, "input");
    api_reply(call, 200, json);
  } else
    api_fail(call, 422, "%s", error);
}

static const api_route routes[] = {{"POST", "/api/v1/weights/{id}/predict", API_OPTIONAL,
                                    "a row {\"column\": value, ...}, or the bytes of a PNG or JPEG",
                                    NULL, predict, API_RAW},
                                   {0}};

const api_resource api_predict = {"predictions", "Predictions by trained weights.", routes};
