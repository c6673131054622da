#include "plan/unit.h"

#include "base/alloc.h"

webml_status wml_unit_create(webml_device *device, wml_store *store, const wml_step_spec *spec,
                             wml_unit *unit) {
  *unit = (wml_unit){.device = device};
  WML_TRY(wml_step_build(spec, &unit->step));
  webml_status status =
      wml_from_result(device->backend->compile(store, &unit->step.graph, &unit->plan));
  if (status != WEBML_OK) {
    wml_step_free(&unit->step);
    *unit = (wml_unit){0};
  }
  return status;
}

void wml_unit_memory(const wml_unit *unit, bool shared, webml_memory *memory) {
  wml_memory m;
  unit->device->backend->memory(unit->plan, &m);
  if (!shared) {
    memory->weights += m.params;
    memory->state += m.state;
  }
  memory->saved += m.saved;
  memory->scratch += m.scratch;
  memory->total = memory->weights + memory->state + memory->saved + memory->scratch;
}

webml_status wml_unit_prepare(wml_unit *unit) {
  return wml_from_result(unit->device->backend->prepare(unit->plan));
}

void wml_unit_feeds(const wml_unit *unit, const void *input, const void *target, int64_t rows,
                    wml_feed feeds[2]) {
  feeds[0] = (wml_feed){unit->step.inputs[0], input, rows};
  feeds[1] = (wml_feed){unit->step.targets[0], target, rows};
}

void wml_unit_destroy(wml_unit *unit) {
  if (unit->device) unit->device->backend->plan_destroy(unit->plan);
  wml_step_free(&unit->step);
  *unit = (wml_unit){0};
}

/* Vendor libraries end the process when their own small allocations fail: leave them some room. */
static webml_status check_room(const char *name, size_t need, size_t available) {
  const size_t room = (size_t)64 << 20;
  if (available >= room && need <= available - room) return WEBML_OK;
  return wml_fail(
      WEBML_ERROR_MEMORY,
      "this needs %.0f MB, but device %s has %.0f MB available; use a smaller batch or model",
      (double)need / 1e6, name, (double)available / 1e6);
}

webml_status wml_check_memory(const webml_device *device, const webml_memory *memory, size_t host) {
  size_t shared = wml_device_shares_memory(device) ? host : 0;
  WML_TRY(check_room(device->name, memory->total + shared, wml_device_available(device)));
  return shared || !host ? WEBML_OK : check_room("cpu", host, wml_host_available());
}

webml_status webml_predictor_memory(const webml_model *model, webml_device *device, int64_t batch,
                                    webml_precision precision, webml_memory *memory) {
  if (!model || !device || !memory || batch < 1)
    return wml_fail(
        WEBML_ERROR_ARGUMENT,
        "webml_predictor_memory: model, device, memory and a batch of at least 1 are needed");
  WML_TRY(webml_device_check(device, precision));
  if (model->dynamic || wml_model_input_elements(model) < 0 || wml_model_output_elements(model) < 0)
    return wml_fail(WEBML_ERROR_MODEL, "the model has open sizes; shape it to a data set first");
  *memory = (webml_memory){0};
  wml_store *store = NULL;
  WML_TRY(wml_from_result(device->backend->store_create(device->handle, &store)));
  wml_step_spec spec = {.model = model,
                        .mode = WML_MODE_PREDICT,
                        .batch = batch,
                        .precision = (wml_precision)precision};
  wml_step_rows(&spec, model->format == WML_FORMAT_IMAGES ? WML_U8 : WML_F32);
  wml_unit unit;
  webml_status status = wml_unit_create(device, store, &spec, &unit);
  if (status == WEBML_OK) wml_unit_memory(&unit, false, memory), wml_unit_destroy(&unit);
  device->backend->store_destroy(store);
  return status;
}
