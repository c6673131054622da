/* TensorFlow Serving's interface: rows in, rows out. */
#include "inference.h"
#include "target.h"

#include <string.h>

static void status(api_call *call) {
  target t;
  if (!target_find(call, &t)) return;
  api_reply(call, 200,
            json_pack("{s:[{s:s, s:s, s:{s:s, s:s}}]}", "model_version_status", "version",
                      t.version, "state", "AVAILABLE", "status", "error_code", "OK",
                      "error_message", ""));
}

static void predict(api_call *call) {
  target t;
  char *colon = strrchr(call->name, ':');
  if (!colon || strcmp(colon, ":predict") != 0) {
    api_fail(call, 404, "there is %s:predict here", call->name);
    return;
  }
  *colon = '\0';
  served *s = target_open(call, &t);
  if (s) inference_run(call, &t, s, INFERENCE_TENSORFLOW, false);
}

/* ---- answers ---- */

static const answer_shape status_shape = {"TensorflowStatus", NULL, NULL, NULL};
static const shape_member predictions_shape_members[] = {
    {"predictions", SHAPE_JSON, SHAPE_OPTIONAL, NULL, NULL, NULL},
    {"outputs", SHAPE_JSON, SHAPE_OPTIONAL, NULL, NULL, NULL},
    {0}};
static const answer_shape predictions_shape = {"TensorflowPredictions", predictions_shape_members,
                                               NULL, NULL};

static const api_route routes[] = {{.id = "tensorflowStatus",
                                    .method = "GET",
                                    .path = "/v1/models/{name}",
                                    .right = API_OPTIONAL,
                                    .about = "status of the newest version",
                                    .run = status,
                                    .answer = &status_shape},
                                   {.id = "tensorflowPredict",
                                    .method = "POST",
                                    .path = "/v1/models/{name}",
                                    .right = API_OPTIONAL,
                                    .about = "NAME:predict with instances or inputs",
                                    .run = predict,
                                    .how = API_RAW | API_LARGE,
                                    .answer = &predictions_shape},
                                   {0}};

const api_resource api_tensorflow = {"tensorflow", "TensorFlow Serving's interface.", routes};
