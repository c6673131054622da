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

static const api_route routes[] = {{"GET", "/v1/models/{name}", API_OPTIONAL,
                                    "status of the newest version", NULL, status, 0, NULL},
                                   {"POST", "/v1/models/{name}", API_OPTIONAL,
                                    "NAME:predict with instances or inputs", NULL, predict,
                                    API_RAW | API_LARGE, NULL},
                                   {0}};

const api_resource api_tensorflow = {"tensorflow", "TensorFlow Serving's interface.", routes};
