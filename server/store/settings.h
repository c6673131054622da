/* Names and values that administrators set; and devices that they have closed. */
#ifndef SERVER_STORE_SETTINGS_H
#define SERVER_STORE_SETTINGS_H

#include "store.h"

/* *value stays where nobody has set it. */
void settings_get(store *s, const char *name, double *value);
/* How often the settings (of NULL), or what is set of the device of this key, were changed, and 1.
 */
int64_t settings_version(store *s, const char *of);
/* Whole numbers and numbers by name; all or none. version: the one that is to be changed, 0: any.
 * 1; 0: it is another one by now; STORE_FAILED. */
int64_t settings_set(store *s, const json_t *values, int64_t version);

/* The same of a device. key: "cpu" or a GPU's UUID. */
int64_t device_set_closed(store *s, const char *key, bool closed, int64_t version);
bool device_is_closed(store *s, const char *key);
/* The keys of those that are closed: [{"key"}]. */
json_t *devices_closed(store *s);

#endif
