#include "settings.h"

#include <stdio.h>
#include <stdlib.h>

void settings_get(store *s, const char *name, double *value) {
  bool found;
  json_t *row = store_row(s, &found, "SELECT value FROM settings WHERE name = ?", "s", name);
  if (row) *value = strtod(store_text(row, "value"), NULL);
  json_decref(row);
}

bool settings_set(store *s, const json_t *values) {
  const char *name;
  json_t *value;
  bool ok = store_begin(s);
  if (!ok) return false;
  json_object_foreach((json_t *)(uintptr_t)values, name, value) {
    char text[32];
    snprintf(text, sizeof text, "%.17g", json_number_value(value));
    ok = ok && store_run(s,
                         "INSERT INTO settings (name, value) VALUES (?1, ?2)"
                         " ON CONFLICT (name) DO UPDATE SET value = ?2",
                         "ss", name, text) >= 0;
  }
  if (ok) return store_commit(s);
  store_rollback(s);
  return false;
}

bool device_set_closed(store *s, const char *key, bool closed) {
  char name[128];
  snprintf(name, sizeof name, "closed:%s", key);
  return (closed ? store_run(s,
                             "INSERT INTO settings (name, value) VALUES (?, '1')"
                             " ON CONFLICT DO NOTHING",
                             "s", name)
                 : store_run(s, "DELETE FROM settings WHERE name = ?", "s", name)) >= 0;
}

json_t *devices_closed(store *s) {
  return store_rows(s, "SELECT substr(name, 8) AS key FROM settings WHERE name LIKE 'closed:%'",
                    "");
}
