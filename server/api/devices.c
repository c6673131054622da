/* What this machine computes on. */
#include "api.h"

#include <webml.h>

static void list(api_call *call) {
  char *text = NULL;
  if (webml_devices(&text) != WEBML_OK) {
    api_fail(call, 500, "%s", webml_last_error());
    return;
  }
  json_t *devices = json_loads(text, 0, NULL), *device;
  size_t i;
  webml_free(text);
  json_array_foreach(json_object_get(devices, "devices"), i, device)
      json_object_set_new(device, "reservation", json_null());
  api_reply(call, 200, devices);
}

static const api_route routes[] = {{"GET", "/api/v1/devices", API_USER,
                                    "processors and GPUs, their memory, and why there is no GPU",
                                    NULL, list, 0},
                                   {0}};

const api_resource api_devices = {"devices", "Processors and GPUs.", routes};
