#include "tokens.h"

int64_t token_add(store *s, int64_t user, const char *hash, const char *name, const char *scopes,
                  int64_t now, int64_t expires, int most) {
  bool found;
  if (!store_begin(s)) return STORE_FAILED;
  json_t *row = store_row(s, &found, "SELECT COUNT(*) AS n FROM tokens WHERE user = ?", "i", user);
  int64_t id = !row ? STORE_FAILED
               : store_integer(row, "n") >= most
                   ? TOKENS_TOO_MANY
                   : store_insert(s,
                                  "INSERT INTO tokens (user, hash,"
                                  " name, scopes, created, expires)"
                                  " VALUES (?, ?, ?, ?, ?,"
                                  " NULLIF(?, 0))",
                                  "isssii", user, hash, name, scopes, now, expires);
  json_decref(row);
  if (id > 0) return store_commit(s) ? id : STORE_FAILED;
  store_rollback(s);
  return id;
}

json_t *tokens_of(store *s, int64_t user) {
  return store_rows(s,
                    "SELECT id, name, scopes, created, expires, used FROM tokens WHERE user = ?"
                    " ORDER BY id DESC",
                    "i", user);
}

int64_t token_delete(store *s, int64_t user, int64_t id) {
  return store_run(s, "DELETE FROM tokens WHERE id = ? AND user = ?", "ii", id, user);
}

#define WITH_ACCOUNT                                                                               \
  "SELECT t.id AS token, t.scopes AS scopes, t.expires AS expires, t.used AS used,"                \
  " u.id AS user, u.name AS name, u.role AS role, u.service AS service,"                           \
  " u.generation AS generation FROM tokens t JOIN users u ON u.id = t.user"                        \
  " WHERE u.enabled AND (t.expires IS NULL OR t.expires > ?2) AND "

json_t *token_by_hash(store *s, const char *hash, int64_t now, bool *found) {
  return store_row(s, found, WITH_ACCOUNT "t.hash = ?1", "si", hash, now);
}

json_t *token_by_id(store *s, int64_t id, int64_t now, bool *found) {
  return store_row(s, found, WITH_ACCOUNT "t.id = ?1", "ii", id, now);
}

int64_t token_touch(store *s, int64_t id, int64_t now) {
  return store_run(s, "UPDATE tokens SET used = ? WHERE id = ?", "ii", now, id);
}

int64_t tokens_purge(store *s, int64_t before) {
  return store_run(s, "DELETE FROM tokens WHERE expires < ?", "i", before);
}
