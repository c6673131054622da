/* What the machine's devices do: looked at every 0.75 s, told to listeners when something has
 * changed. */
#ifndef SERVER_DEVICES_MONITOR_H
#define SERVER_DEVICES_MONITOR_H

#include "api/api.h"
#include "choose.h"

/* Looks once. False: no memory. */
bool monitor_create(api *a);
/* Goes on looking in a thread of its own, when the queue is there. */
bool monitor_start(api *a);
void monitor_stop(api *a);
/* When the queue is gone. */
void monitor_free(api *a);

/* The last look as JSON, as GET /api/v1/devices answers; the caller's. NULL: no memory. */
json_t *monitor_json(api *a);
/* The devices as the queue sees them: with the trainings that run now. Returns their number. */
int monitor_states(api *a, device_state list[CHOOSE_MOST_DEVICES]);
/* Looks again at once: a training has started or ended, or a device was closed. */
void monitor_wake(api *a);

/* Adds the DCGM figures of the last look to a page of metrics. */
typedef void (*monitor_put)(void *page, const char *name, const char *labels, double value);
void monitor_metrics(api *a, monitor_put put, void *page);

#endif
