#include "idempotency.h"

#include <string.h>

/* Within a transaction: the key is new. */
static idempotency_verdict take(store *s, const idempotency_request *r) {
  bool found;
  json_t *row =
      store_row(s, &found, "SELECT COUNT(*) AS n FROM idempotency WHERE user = ?", "i", r->user);
  idempotency_verdict v = !row                                 ? IDEMPOTENCY_FAILED
                          : store_integer(row, "n") >= r->most ? IDEMPOTENCY_TOO_MANY
                                                               : IDEMPOTENCY_NEW;
  json_decref(row);
  if (v == IDEMPOTENCY_NEW &&
      store_run(s, "INSERT INTO idempotency (user, key, request, created) VALUES (?, ?, ?, ?)",
                "issi", r->user, r->key, r->request, r->now) != 1)
    v = IDEMPOTENCY_FAILED;
  return v;
}

static idempotency_verdict judge(const idempotency_request *r, const json_t *row) {
  return strcmp(store_text(row, "request"), r->request) != 0 ? IDEMPOTENCY_OTHER
         : json_is_null(json_object_get(row, "status"))      ? IDEMPOTENCY_UNDER_WAY
                                                             : IDEMPOTENCY_ANSWERED;
}

idempotency_verdict idempotency_begin(store *s, const idempotency_request *r, json_t **answer) {
  bool found = true;
  *answer = NULL;
  if (!store_begin(s)) return IDEMPOTENCY_FAILED;
  json_t *row = NULL;
  if (store_run(s, "DELETE FROM idempotency WHERE user = ? AND created < ?", "ii", r->user,
                r->since) >= 0)
    row = store_row(s, &found,
                    "SELECT request, status, type, headers, body FROM idempotency"
                    " WHERE user = ? AND key = ?",
                    "is", r->user, r->key);
  idempotency_verdict v = row ? judge(r, row) : found ? IDEMPOTENCY_FAILED : take(s, r);
  if (v == IDEMPOTENCY_FAILED)
    store_rollback(s);
  else if (!store_commit(s))
    v = IDEMPOTENCY_FAILED;
  if (v == IDEMPOTENCY_ANSWERED)
    *answer = row;
  else
    json_decref(row);
  return v;
}

int64_t idempotency_keep(store *s, int64_t user, const char *key, int64_t status, const char *type,
                         const char *headers, const char *body) {
  return store_run(s,
                   "UPDATE idempotency SET status = ?, type = ?, headers = ?, body = ?"
                   " WHERE user = ? AND key = ?",
                   "isssis", status, type, headers, body, user, key);
}

int64_t idempotency_release(store *s, int64_t user, const char *key) {
  return store_run(s, "DELETE FROM idempotency WHERE user = ? AND key = ?", "is", user, key);
}

int64_t idempotency_purge(store *s, int64_t before) {
  return store_run(s, "DELETE FROM idempotency WHERE created < ?", "i", before);
}

int64_t idempotency_recover(store *s) {
  return store_run(s, "DELETE FROM idempotency WHERE status IS NULL", "");
}
