#include "settings.h"

#include <stdio.h>
#include <stdlib.h>

void settings_get(store *s, const char *name, double *value) {
  bool found;
  json_t *row = store_row(s, &found, "SELECT value FROM settings WHERE name = ?", "s", name);
  if (row) *value = strtod(store_text(row, "value"), NULL);
  json_decref(row);
}

/* ---- versions: rows "version" and "version:<key>" ---- */

static void name_version(const char *of, char name[128]) {
  snprintf(name, 128, of ? "version:%s" : "version", of);
}

int64_t settings_version(store *s, const char *of) {
  char name[128];
  double version = 1;
  name_version(of, name);
  settings_get(s, name, &version);
  return (int64_t)version;
}

/* Begins a change of this version (0: any). 1; 0; STORE_FAILED: none has begun. */
static int64_t begin(store *s, const char *of, int64_t version) {
  char name[128];
  name_version(of, name);
  if (!store_begin(s)) return STORE_FAILED;
  int64_t now = settings_version(s, of), result = !version || version == now;
  if (result && store_run(s,
                          "INSERT INTO settings (name, value) VALUES (?1, ?2)"
                          " ON CONFLICT (name) DO UPDATE SET value = ?2",
                          "si", name, now + 1) < 0)
    result = STORE_FAILED;
  if (result <= 0) store_rollback(s);
  return result;
}

static int64_t end(store *s, bool ok) {
  if (ok) return store_commit(s) ? 1 : STORE_FAILED;
  store_rollback(s);
  return STORE_FAILED;
}

/* ---- changes ---- */

int64_t settings_set(store *s, const json_t *values, int64_t version) {
  const char *name;
  json_t *value;
  int64_t begun = begin(s, NULL, version);
  if (begun <= 0) return begun;
  bool ok = true;
  json_object_foreach((json_t *)(uintptr_t)values, name, value) {
    char text[32];
    snprintf(text, sizeof text, "%.17g", json_number_value(value));
    ok = ok && store_run(s,
                         "INSERT INTO settings (name, value) VALUES (?1, ?2)"
                         " ON CONFLICT (name) DO UPDATE SET value = ?2",
                         "ss", name, text) >= 0;
  }
  return end(s, ok);
}

int64_t device_set_closed(store *s, const char *key, bool closed, int64_t version) {
  char name[128];
  int64_t begun = begin(s, key, version);
  if (begun <= 0) return begun;
  snprintf(name, sizeof name, "closed:%s", key);
  return end(s, (closed ? store_run(s,
                                    "INSERT INTO settings (name, value) VALUES (?, '1')"
                                    " ON CONFLICT DO NOTHING",
                                    "s", name)
                        : store_run(s, "DELETE FROM settings WHERE name = ?", "s", name)) >= 0);
}

bool device_is_closed(store *s, const char *key) {
  char name[128];
  double closed = 0;
  snprintf(name, sizeof name, "closed:%s", key);
  settings_get(s, name, &closed);
  return closed != 0;
}

json_t *devices_closed(store *s) {
  return store_rows(s, "SELECT substr(name, 8) AS key FROM settings WHERE name LIKE 'closed:%'",
                    "");
}
