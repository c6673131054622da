/* A step's graph with its compiled plan, and what is needed to run it over samples. */
#ifndef WML_PLAN_UNIT_H
#define WML_PLAN_UNIT_H

#include "devices/device.h"
#include "plan/step.h"

typedef struct wml_unit {
  webml_device *device;
  wml_step step;
  wml_plan *plan;
} wml_unit;

/* Builds and compiles; nothing large is allocated yet. */
webml_status wml_unit_create(webml_device *device, wml_store *store, const wml_step_spec *spec,
                             wml_unit *unit);
/* Adds the unit's needs to `memory`. Parameters and state are counted where `shared` is false. */
void wml_unit_memory(const wml_unit *unit, bool shared, webml_memory *memory);
webml_status wml_unit_prepare(wml_unit *unit);
/* The two feeds of a run over arrays of `rows` rows that stay as they are while the store lives. */
void wml_unit_feeds(const wml_unit *unit, const void *input, const void *target, int64_t rows,
                    wml_feed feeds[2]);
void wml_unit_destroy(wml_unit *unit);
/* Refuses, naming both numbers, what the device cannot hold, and `host` bytes that the machine
 * cannot. */
webml_status wml_check_memory(const webml_device *device, const webml_memory *memory, size_t host);

#endif
