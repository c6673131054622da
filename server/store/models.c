#include "models.h"

#include <string.h>

#define TRAINS                                                                                     \
  "EXISTS (SELECT 1 FROM sessions WHERE model = models.id AND state IN ('waiting', 'running',"     \
  " 'paused'))"
#define USED "(" TRAINS " OR EXISTS (SELECT 1 FROM weights WHERE model = models.id))"
#define SEEN                                                                                       \
  "SELECT models.id AS id, owner, users.name AS owner_name, models.name AS name, description,"     \
  " public, models.created AS created, changed, models.version AS version, " USED " AS used,"      \
  " max_batch_size, max_queue_delay_microseconds, max_queue_size"                                  \
  " FROM models JOIN users ON users.id = owner "

json_t *models_list(store *s, int64_t owner, bool all) {
  return store_rows(s, SEEN "WHERE owner = ? OR ? ORDER BY models.name", "ii", owner, (int64_t)all);
}

json_t *model_find(store *s, int64_t id, bool *found) {
  return store_row(s, found, SEEN "WHERE models.id = ?", "i", id);
}

json_t *model_description(store *s, int64_t id, int64_t owner, bool *found) {
  return store_row(s, found, "SELECT description FROM models WHERE id = ? AND owner = ?", "ii", id,
                   owner);
}

int64_t model_add(store *s, int64_t owner, const char *name, const char *description, int64_t now) {
  return store_insert(
      s, "INSERT INTO models (owner, name, description, created, changed) VALUES (?, ?, ?, ?, ?)",
      "issii", owner, name, description, now, now);
}

/* Whether a public model of somebody else has this name, or one that looks like it. */
static bool is_taken(store *s, const char *name, int64_t owner) {
  bool found;
  json_decref(store_row(s, &found,
                        "SELECT 1 AS one FROM models WHERE public AND owner <> ? AND"
                        " skeleton(name) = skeleton(?)",
                        "is", owner, name));
  return found; /* an error counts as taken */
}

/* Within a transaction: 1: nothing is in the way. */
static int64_t check_change(store *s, const json_t *row, const json_t *changes) {
  const char *name = store_text(changes, "name"), *text = store_text(changes, "description");
  const json_t *public = json_object_get(changes, "public");
  bool is_public = public ? json_is_true(public) : store_integer(row, "public");
  if (text && store_integer(row, "used") && strcmp(text, store_text(row, "description")) != 0)
    return MODEL_IS_STATIC;
  if (is_public && (name || public) &&
      is_taken(s, name ? name : store_text(row, "name"), store_integer(row, "owner")))
    return MODEL_NAME_TAKEN;
  return 1;
}

int64_t model_change(store *s, int64_t id, int64_t version, json_t *changes, int64_t now) {
  bool found;
  if (!store_begin(s)) return STORE_FAILED;
  json_t *row = model_find(s, id, &found);
  int64_t result = row ? check_change(s, row, changes) : found ? STORE_FAILED : 0;
  json_decref(row);
  json_object_set_new(changes, "changed", json_integer(now));
  if (result > 0) result = store_update(s, "models", id, version, changes, NULL);
  if (result > 0) return store_commit(s) ? result : STORE_FAILED;
  store_rollback(s);
  return result;
}

int64_t model_delete(store *s, int64_t id) {
  return store_run(s, "DELETE FROM models WHERE id = ? AND NOT " TRAINS, "i", id);
}

/* ---- by name ---- */

json_t *model_target(store *s, const char *name, int64_t user, int64_t version, bool *found) {
  return store_row(s, found,
                   "SELECT w.id AS id, w.session AS session, m.owner AS owner,"
                   " m.max_batch_size AS batch, m.max_queue_delay_microseconds AS delay,"
                   " m.max_queue_size AS queue FROM weights w JOIN models m ON m.id = w.model"
                   " JOIN users u ON u.id = m.owner"
                   " WHERE m.name = ?1 AND (m.owner = ?2 OR (m.public AND u.enabled))"
                   " AND (?3 = 0 OR w.id = ?3)"
                   " ORDER BY m.owner = ?2 DESC, w.id DESC LIMIT 1",
                   "sii", name, user, version);
}

json_t *model_targets(store *s, int64_t user) {
  return store_rows(s,
                    "SELECT m.name AS name, w.id AS id FROM weights w JOIN models m ON m.id ="
                    " w.model JOIN users u ON u.id = m.owner"
                    " WHERE m.owner = ? OR (m.public AND u.enabled) ORDER BY m.name, w.id",
                    "i", user);
}
