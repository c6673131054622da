#include "datasets.h"

#define SEEN                                                                                       \
  "d.id AS id, d.owner AS owner, u.name AS owner_name, d.name AS name, d.about AS about,"          \
  " d.public AS public, d.state AS state, d.format AS format, d.bytes AS bytes, d.error AS error," \
  " d.created AS created, d.version AS version"
#define FROM " FROM datasets d JOIN users u ON u.id = d.owner "
#define BUSY                                                                                       \
  "EXISTS (SELECT 1 FROM sessions WHERE dataset = datasets.id AND state IN ('waiting', 'running'," \
  " 'paused'))"

json_t *datasets_list(store *s, int64_t user, bool all) {
  return store_rows(s, "SELECT " SEEN FROM "WHERE d.owner = ? OR d.public OR ? ORDER BY d.name",
                    "ii", user, (int64_t)all);
}

json_t *dataset_find(store *s, int64_t id, bool *found) {
  return store_row(
      s, found, "SELECT " SEEN ", d.file AS file, d.properties AS properties" FROM "WHERE d.id = ?",
      "i", id);
}

json_t *dataset_find_ready(store *s, int64_t id, int64_t user, bool *found) {
  return store_row(s, found,
                   "SELECT file, properties FROM datasets WHERE id = ? AND (owner = ? OR public)"
                   " AND state = 'ready'",
                   "ii", id, user);
}

dataset_name dataset_name_of(store *s, const char *name, int64_t user, int64_t except) {
  bool found;
  json_t *row = store_row(s, &found,
                          "SELECT public AND owner <> ?2 AS public FROM datasets WHERE id <> ?3 AND"
                          " ((name = ?1 AND owner = ?2) OR"
                          " (public AND owner <> ?2 AND skeleton(name) = skeleton(?1)))",
                          "sii", name, user, except);
  dataset_name result =
      row     ? store_integer(row, "public") ? DATASET_NAME_PUBLIC : DATASET_NAME_YOURS
      : found ? DATASET_NAME_UNKNOWN
              : DATASET_NAME_FREE;
  json_decref(row);
  return result;
}

int64_t dataset_change(store *s, int64_t id, int64_t version, const json_t *changes) {
  return store_update(s, "datasets", id, version, changes, NULL);
}

int64_t dataset_set_looked(store *s, int64_t id, const char *format, const char *properties,
                           const char *error) {
  return store_run(s,
                   "UPDATE datasets SET state = ?, format = ?, properties = ?, error = ?,"
                   " version = version + 1 WHERE id = ?",
                   "ssssi", properties ? "ready" : "broken", format, properties,
                   properties ? NULL : error, id);
}

int64_t dataset_delete(store *s, int64_t id) {
  return store_run(s, "DELETE FROM datasets WHERE id = ? AND NOT " BUSY, "i", id);
}

json_t *dataset_sessions(store *s, int64_t id) {
  return store_rows(s,
                    "SELECT id, owner FROM sessions WHERE dataset = ? AND state IN ('waiting',"
                    " 'running', 'paused') ORDER BY id",
                    "i", id);
}

json_t *datasets_unlooked(store *s) {
  return store_rows(s, "SELECT id, owner, name, file FROM datasets WHERE state = 'checking'", "");
}

bool dataset_exists(store *s, int64_t id) {
  bool found;
  json_decref(store_row(s, &found, "SELECT 1 AS one FROM datasets WHERE id = ?", "i", id));
  return found;
}

int64_t datasets_bytes(store *s, int64_t user) {
  bool found;
  json_t *row = store_row(s, &found,
                          "SELECT (SELECT COALESCE(SUM(bytes), 0) FROM datasets WHERE owner = ?1)"
                          " + (SELECT COALESCE(SUM(bytes), 0) FROM uploads WHERE owner = ?1) AS n",
                          "i", user);
  int64_t n = row ? store_integer(row, "n") : -1;
  json_decref(row);
  return n;
}

/* ---- uploads ---- */

int64_t upload_add(store *s, const char *key, int64_t owner, const char *name, const char *suffix,
                   int64_t bytes, int64_t now) {
  return store_run(s,
                   "INSERT INTO uploads (key, owner, name, suffix, bytes, created)"
                   " VALUES (?, ?, ?, ?, NULLIF(?, -1), ?)",
                   "sissii", key, owner, name, suffix, bytes, now);
}

json_t *upload_find(store *s, const char *key, int64_t owner, bool *found) {
  return store_row(s, found,
                   "SELECT key, name, suffix, bytes, created, state, error FROM uploads"
                   " WHERE key = ? AND owner = ?",
                   "si", key, owner);
}

json_t *uploads_list(store *s, int64_t owner) {
  return store_rows(s,
                    "SELECT key, name, suffix, bytes, created, state, error FROM uploads"
                    " WHERE owner = ? ORDER BY created",
                    "i", owner);
}

json_t *uploads_open(store *s) {
  return store_rows(s, "SELECT key, owner, name, suffix, bytes FROM uploads WHERE state = 'open'",
                    "");
}

int64_t upload_set_bytes(store *s, const char *key, int64_t bytes) {
  return store_run(s, "UPDATE uploads SET bytes = ? WHERE key = ? AND bytes IS NULL", "is", bytes,
                   key);
}

int64_t upload_set_failed(store *s, const char *key, const char *error) {
  return store_run(s, "UPDATE uploads SET state = 'failed', error = ? WHERE key = ?", "ss", error,
                   key);
}

int64_t upload_delete(store *s, const char *key) {
  return store_run(s, "DELETE FROM uploads WHERE key = ?", "s", key);
}

int64_t uploads_forget(store *s, int64_t owner, int64_t before) {
  return store_run(s, "DELETE FROM uploads WHERE owner = ? AND created < ?", "ii", owner, before);
}

int64_t uploads_count(store *s, int64_t owner) {
  bool found;
  json_t *row =
      store_row(s, &found, "SELECT COUNT(*) AS n FROM uploads WHERE owner = ?", "i", owner);
  int64_t n = row ? store_integer(row, "n") : -1;
  json_decref(row);
  return n;
}

bool upload_exists(store *s, const char *key) {
  bool found;
  json_decref(store_row(s, &found, "SELECT 1 AS one FROM uploads WHERE key = ?", "s", key));
  return found;
}

int64_t upload_becomes_dataset(store *s, const json_t *upload, int64_t owner, const char *file,
                               int64_t bytes, int64_t now) {
  int64_t id = store_insert(s,
                            "INSERT INTO datasets (owner, name, state, bytes, file, created)"
                            " VALUES (?, ?, 'checking', ?, ?, ?)",
                            "isisi", owner, store_text(upload, "name"), bytes, file, now);
  if (id > 0 && upload_delete(s, store_text(upload, "key")) != 1) return STORE_FAILED;
  return id;
}
