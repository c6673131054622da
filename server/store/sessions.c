#include "sessions.h"

#include <stdio.h>
#include <string.h>

#define SEEN                                                                                       \
  "SELECT s.id AS id, s.owner AS owner, u.name AS owner_name, CASE WHEN s.evaluates IS NULL THEN"  \
  " 'training' ELSE 'evaluation' END AS kind, s.evaluates AS evaluates, s.model AS model, m.name " \
  "AS"                                                                                             \
  " model_name, s.dataset AS dataset, COALESCE(d.name, s.dataset_name) AS dataset_name,"           \
  " s.device AS device, s.placed AS placed, s.waits_for AS waits_for, s.need_cpu AS need_cpu,"     \
  " s.need_gpu AS need_gpu, s.parameters AS parameters, s.state AS state, s.error AS error,"       \
  " s.created AS created, s.started AS started, s.ended AS ended, w.id AS weights"                 \
  " FROM sessions s JOIN users u ON u.id = s.owner JOIN models m ON m.id = s.model"                \
  " LEFT JOIN datasets d ON d.id = s.dataset LEFT JOIN weights w ON w.session = s.id "

json_t *sessions_list(store *s, int64_t owner, bool all, int most) {
  return store_rows(s, SEEN "WHERE s.owner = ? OR ? ORDER BY s.id DESC LIMIT ?", "iii", owner,
                    (int64_t)all, (int64_t)most);
}

json_t *sessions_evaluating(store *s, int64_t weights) {
  return store_rows(s, SEEN "WHERE s.evaluates = ? ORDER BY s.id DESC", "i", weights);
}

json_t *session_report(store *s, int64_t id) {
  bool found;
  json_t *row = store_row(s, &found, "SELECT report FROM sessions WHERE id = ?", "i", id);
  const char *text = store_text(row, "report");
  json_t *report = text ? json_loads(text, 0, NULL) : NULL;
  json_decref(row);
  return report;
}

int64_t session_set_report(store *s, int64_t id, const char *report) {
  return store_run(s, "UPDATE sessions SET report = ? WHERE id = ?", "si", report, id);
}

json_t *session_find(store *s, int64_t id, int64_t user, bool all, bool *found) {
  return store_row(s, found, SEEN "WHERE s.id = ? AND (s.owner = ? OR ?)", "iii", id, user,
                   (int64_t)all);
}

bool session_is_in_state(store *s, int64_t id, const char *state) {
  bool found;
  json_decref(store_row(s, &found, "SELECT 1 AS one FROM sessions WHERE id = ? AND state = ?", "is",
                        id, state));
  return found;
}

int64_t session_delete(store *s, int64_t id) {
  return store_run(s,
                   "DELETE FROM sessions WHERE id = ? AND state IN ('finished', 'failed',"
                   " 'cancelled')",
                   "i", id);
}

bool session_is_needed(store *s, int64_t id) {
  bool found;
  json_decref(store_row(s, &found,
                        "SELECT 1 AS one FROM sessions WHERE id = ?1 UNION SELECT 1 FROM weights"
                        " WHERE session = ?1",
                        "i", id));
  return found;
}

int64_t session_check(store *s, const session_new *n) {
  bool found;
  json_t *row = store_row(
      s, &found,
      "SELECT EXISTS (SELECT 1 FROM models WHERE id = ?2 AND owner = ?1) AS model,"
      " EXISTS (SELECT 1 FROM datasets WHERE id = ?3 AND (owner = ?1 OR public) AND state ="
      " 'ready') AS dataset,"
      " (SELECT COUNT(*) FROM sessions WHERE owner = ?1 AND state IN ('waiting', 'running',"
      " 'paused')) AS sessions,"
      " (SELECT COUNT(*) FROM weights WHERE model = ?2) + (SELECT COUNT(*) FROM sessions WHERE"
      " model = ?2 AND evaluates IS NULL AND state IN ('waiting', 'running', 'paused')) AS weights",
      "iii", n->owner, n->model, n->dataset);
  int64_t result = !row                             ? STORE_FAILED
                   : !store_integer(row, "model")   ? SESSION_NO_MODEL
                   : !store_integer(row, "dataset") ? SESSION_NO_DATASET
                   : n->most_sessions && store_integer(row, "sessions") >= n->most_sessions
                       ? SESSION_TOO_MANY
                   : n->most_weights && store_integer(row, "weights") >= n->most_weights
                       ? SESSION_TOO_MANY_WEIGHTS
                       : 1;
  json_decref(row);
  return result;
}

int64_t session_add(store *s, const session_new *n) {
  if (!store_begin(s)) return STORE_FAILED;
  int64_t id = session_check(s, n);
  if (id > 0)
    id = store_insert(s,
                      "INSERT INTO sessions (owner, model, dataset, dataset_name, device,"
                      " parameters, state, created, need_cpu, need_gpu, evaluates)"
                      " VALUES (?1, ?2, ?3, (SELECT name FROM datasets WHERE id = ?3), ?4, ?5,"
                      " ?9, ?6, ?7, ?8, NULLIF(?10, 0))",
                      "iiissiiisi", n->owner, n->model, n->dataset, n->device, n->parameters,
                      n->created, n->need_cpu, n->need_gpu, n->paused ? "paused" : "waiting",
                      n->evaluates);
  if (id > 0) return store_commit(s) ? id : STORE_FAILED;
  store_rollback(s);
  return id;
}

int64_t session_wish(store *s, int64_t id, const char *wish) {
  return store_run(s,
                   "UPDATE sessions SET wish = ?1 WHERE id = ?2 AND"
                   " (?1 <> 'cancel' AND state = 'running' AND evaluates IS NULL OR"
                   " ?1 = 'cancel' AND state IN ('waiting', 'running', 'paused'))",
                   "si", wish, id);
}

int64_t session_resume(store *s, int64_t id) {
  return store_run(s,
                   "UPDATE sessions SET state = 'waiting', wish = NULL, tries = 0 WHERE id = ? AND"
                   " state = 'paused'",
                   "i", id);
}

int64_t sessions_cancel_of(store *s, int64_t owner) {
  return store_run(s, "UPDATE sessions SET wish = 'cancel' WHERE owner = ? AND state = 'waiting'",
                   "i", owner);
}

/* ---- for the queue ---- */

#define QUEUED                                                                                     \
  "SELECT s.id AS id, s.owner AS owner, s.evaluates AS evaluates, s.model AS model, s.dataset AS"  \
  " dataset, s.device AS"                                                                          \
  " device, s.placed AS placed, s.waits_for AS waits_for, s.need_cpu AS need_cpu, s.need_gpu AS"   \
  " need_gpu, s.parameters AS parameters, json_extract(s.parameters, '$.precision') AS precision," \
  " m.description AS description, d.file AS file"                                                  \
  " FROM sessions s JOIN models m ON m.id = s.model JOIN datasets d ON d.id = s.dataset "

json_t *sessions_waiting(store *s, int64_t last_owner) {
  return store_rows(s,
                    "SELECT *, ROW_NUMBER() OVER (PARTITION BY owner ORDER BY id) AS turn FROM"
                    " (" QUEUED "WHERE s.state = 'waiting' AND COALESCE(s.wish, '') <> 'cancel')"
                    " ORDER BY turn, owner <= ?, owner LIMIT 256",
                    "i", last_owner);
}

json_t *sessions_running(store *s) {
  return store_rows(s, QUEUED "WHERE s.state = 'running'", "");
}

json_t *sessions_cancel_waiting(store *s) {
  return store_rows(s,
                    "UPDATE sessions SET state = 'cancelled', ended = created WHERE state ="
                    " 'waiting' AND wish = 'cancel' OR state = 'paused' AND wish = 'cancel'"
                    " RETURNING id, owner",
                    "");
}

json_t *sessions_fail_orphans(store *s, const char *error, int64_t now) {
  return store_rows(s,
                    "UPDATE sessions SET state = 'failed', error = ?, ended = ? WHERE state IN"
                    " ('waiting', 'paused') AND dataset IS NULL RETURNING id, owner",
                    "si", error, now);
}

const char *session_wish_of(store *s, int64_t id) {
  static const char *const known[] = {"cancel", "stop", "pause"};
  bool found;
  json_t *row = store_row(s, &found, "SELECT wish FROM sessions WHERE id = ?", "i", id);
  const char *wish = store_text(row, "wish"), *result = !row && !found ? known[0] : NULL;
  for (size_t i = 0; wish && i < sizeof known / sizeof *known; i++)
    if (strcmp(wish, known[i]) == 0) result = known[i];
  json_decref(row);
  return result;
}

int64_t session_tries(store *s, int64_t id, bool *gone) {
  bool found;
  json_t *row = store_row(s, &found, "SELECT tries FROM sessions WHERE id = ?", "i", id);
  int64_t tries = store_integer(row, "tries");
  *gone = !row && !found;
  json_decref(row);
  return tries;
}

int64_t session_set_running(store *s, int64_t id, const char *placed, int64_t now) {
  return store_run(s,
                   "UPDATE sessions SET state = 'running', started = COALESCE(started, ?), tries ="
                   " tries + 1, placed = ?, waits_for = NULL WHERE id = ?",
                   "isi", now, placed, id);
}

int64_t session_set_waiting(store *s, int64_t id) {
  return store_run(s, "UPDATE sessions SET state = 'waiting' WHERE id = ?", "i", id);
}

int64_t session_set_paused(store *s, int64_t id) {
  return store_run(s, "UPDATE sessions SET state = 'paused', wish = NULL WHERE id = ?", "i", id);
}

int64_t session_set_waits_for(store *s, int64_t id, const char *why) {
  return store_run(s, "UPDATE sessions SET waits_for = ? WHERE id = ? AND state = 'waiting'", "si",
                   why, id);
}

int64_t session_set_ended(store *s, int64_t id, const char *state, const char *error, int64_t now) {
  return store_run(s, "UPDATE sessions SET state = ?, error = ?, ended = ? WHERE id = ?", "ssii",
                   state, error, now, id);
}

/* ---- weights ---- */

#define WEIGHTS                                                                                    \
  "SELECT w.id AS id, w.owner AS owner, u.name AS owner_name, w.model AS model, m.name AS"         \
  " model_name, w.session AS session, w.bytes AS bytes, w.metrics AS metrics, w.created AS"        \
  " created FROM weights w JOIN users u ON u.id = w.owner JOIN models m ON m.id = w.model "

json_t *weights_list(store *s, int64_t owner, bool all) {
  return store_rows(s, WEIGHTS "WHERE w.owner = ? OR ? ORDER BY w.id DESC", "ii", owner,
                    (int64_t)all);
}

json_t *weights_find(store *s, int64_t id, int64_t user, bool all, bool *found) {
  return store_row(s, found, WEIGHTS "WHERE w.id = ? AND (w.owner = ? OR ?)", "iii", id, user,
                   (int64_t)all);
}

json_t *weights_target(store *s, int64_t id, int64_t user, bool *found) {
  return store_row(s, found,
                   "SELECT w.session AS session FROM weights w JOIN models m ON m.id = w.model"
                   " JOIN users u ON u.id = m.owner"
                   " WHERE w.id = ?1 AND (m.owner = ?2 OR (m.public AND u.enabled))",
                   "ii", id, user);
}

json_t *weights_public_name(store *s, int64_t id) {
  bool found;
  return store_row(s, &found,
                   "SELECT m.name AS name FROM weights w JOIN models m ON m.id = w.model"
                   " WHERE w.id = ? AND m.public",
                   "i", id);
}

int64_t weights_add(store *s, int64_t owner, int64_t model, int64_t session, int64_t bytes,
                    const char *metrics, int64_t now) {
  return store_insert(s,
                      "INSERT INTO weights (owner, model, session, bytes, metrics, created)"
                      " VALUES (?, ?, ?, ?, ?, ?)",
                      "iiiisi", owner, model, session, bytes, metrics, now);
}

int64_t weights_delete(store *s, int64_t id) {
  return store_run(s, "DELETE FROM weights WHERE id = ?", "i", id);
}

bool weights_exist(store *s, int64_t id) {
  bool found;
  json_decref(store_row(s, &found, "SELECT 1 AS one FROM weights WHERE id = ?", "i", id));
  return found;
}

json_t *session_dataset(store *s, int64_t session, int64_t user, bool *found) {
  return store_row(s, found,
                   "SELECT d.id AS id, d.properties AS properties FROM sessions s JOIN datasets d"
                   " ON d.id = s.dataset WHERE s.id = ?1 AND (d.owner = ?2 OR (d.public AND"
                   " ?2 <> 0))",
                   "ii", session, user);
}
