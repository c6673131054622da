/* Names and values that administrators set; and devices that they have closed. */
#ifndef SERVER_STORE_SETTINGS_H
#define SERVER_STORE_SETTINGS_H

#include "store.h"

/* *value stays where nobody has set it. */
void settings_get(store *s, const char *name, double *value);
/* Whole numbers and numbers by name; all or none. */
bool settings_set(store *s, const json_t *values);

/* key: "cpu" or a GPU's UUID. False: store_error(). */
bool device_set_closed(store *s, const char *key, bool closed);
/* The keys of those that are closed: [{"key"}]. */
json_t *devices_closed(store *s);

#endif
