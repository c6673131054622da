/* What devices did: second by second of the last ten minutes, in memory; minute by minute of a week
 * and by quarters of an hour of two years, in the store, where means, maxima and people's shares
 * are written once a minute, in one transaction. What was not seen is no zero: a second counts when
 * the monitor has looked in it. Any thread. */
#ifndef SERVER_DEVICES_HISTORY_H
#define SERVER_DEVICES_HISTORY_H

#include "monitor.h"

typedef struct device_history device_history;

enum {
  HISTORY_SECONDS = 600, /* kept of seconds */
  HISTORY_MINUTES = 7 * 86400,
  HISTORY_QUARTERS = 2 * 365 * 86400,
  HISTORY_MOST_POINTS = 1000
};

/* Forgets what is too old. NULL: no memory. */
device_history *history_create(const context *c, monitor *m);
/* Looks every second in a thread of its own. */
bool history_start(device_history *h);
/* Writes what was seen of the last minute. When the monitor has stopped. */
void history_stop(device_history *h);
void history_destroy(device_history *h);

/* The step in seconds that an answer about from..to gets: at least `wanted`, such that the samples
 * of that age are still kept, and there are at most HISTORY_MOST_POINTS of them. */
int64_t history_step(int64_t now, int64_t from, int64_t to, int64_t wanted);

/* {"times", "utilisation", "utilisation_max", "memory", "memory_max", "power", "power_max",
 * "temperature", "temperature_max": lists of one length, null where nothing was seen or measured;
 * "people": [{"user", "seconds": [...], "memory": [...]}]} of the device ("cpu" or a UUID) from the
 * multiple of step at or before `from`, until `to`. seconds: in which trainings of theirs ran on
 * it; memory: what those held on average, in bytes. The caller's; NULL: store_error(). */
json_t *history_json(device_history *h, const char *device, int64_t from, int64_t to, int64_t step);

#endif
