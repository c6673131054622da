#include "logins.h"

int64_t login_open(store *s, int64_t user, const char *address, const char *agent, int64_t now) {
  return store_insert(
      s, "INSERT INTO logins (user, address, agent, created, used) VALUES (?, ?, ?, ?, ?)", "issii",
      user, address, agent, now, now);
}

json_t *logins_of(store *s, int64_t user) {
  return store_rows(s,
                    "SELECT id, address, agent, created, used FROM logins WHERE user = ?"
                    " ORDER BY used DESC, id DESC",
                    "i", user);
}

int64_t login_end(store *s, int64_t user, int64_t login) {
  return store_run(s, "DELETE FROM logins WHERE id = ? AND user = ?", "ii", login, user);
}

int64_t logins_end(store *s, int64_t user) {
  return store_run(s, "DELETE FROM logins WHERE user = ?", "i", user);
}

int64_t renewal_add(store *s, int64_t login, const char *hash, int64_t now, int64_t expires) {
  return store_run(s, "INSERT INTO renewals (hash, login, created, expires) VALUES (?, ?, ?, ?)",
                   "siii", hash, login, now, expires);
}

/* Within a transaction. */
static renewal_verdict judge(store *s, const char *hash, int64_t now, int64_t grace,
                             const json_t *row) {
  int64_t spent = store_integer(row, "spent"), login = store_integer(row, "login");
  if (spent && now - spent > grace)
    return store_run(s, "DELETE FROM logins WHERE id = ?", "i", login) < 0 ? RENEWAL_FAILED
                                                                           : RENEWAL_STOLEN;
  if (store_integer(row, "expires") <= now) return RENEWAL_UNKNOWN;
  bool ok = store_run(s, "UPDATE logins SET used = ? WHERE id = ?", "ii", now, login) == 1 &&
            store_run(s, "UPDATE renewals SET spent = COALESCE(spent, ?) WHERE hash = ?", "is", now,
                      hash) == 1;
  return ok ? RENEWAL_GOOD : RENEWAL_FAILED;
}

renewal_verdict renewal_use(store *s, const char *hash, int64_t now, int64_t grace, int64_t *user,
                            int64_t *login) {
  bool found;
  if (!store_begin(s)) return RENEWAL_FAILED;
  json_t *row = store_row(s, &found,
                          "SELECT r.login AS login, r.spent AS spent, r.expires AS expires,"
                          " l.user AS user FROM renewals r JOIN logins l ON l.id = r.login"
                          " WHERE r.hash = ?",
                          "s", hash);
  renewal_verdict v = row     ? judge(s, hash, now, grace, row)
                      : found ? RENEWAL_FAILED
                              : RENEWAL_UNKNOWN;
  *user = store_integer(row, "user");
  *login = store_integer(row, "login");
  json_decref(row);
  if (v == RENEWAL_FAILED)
    store_rollback(s);
  else if (!store_commit(s))
    v = RENEWAL_FAILED;
  return v;
}

int64_t login_set_cookie(store *s, int64_t login, const char *hash) {
  return store_run(s, "UPDATE logins SET cookie = ? WHERE id = ?", "si", hash, login);
}

json_t *login_of_cookie(store *s, const char *hash, int64_t since, bool *found) {
  return store_row(s, found,
                   "SELECT l.id AS login, l.used AS used, u.id AS id, u.name AS name,"
                   " u.role AS role, u.generation AS generation"
                   " FROM logins l JOIN users u ON u.id = l.user"
                   " WHERE l.cookie = ? AND l.used > ? AND u.enabled",
                   "si", hash, since);
}

int64_t login_touch(store *s, int64_t login, int64_t now) {
  return store_run(s, "UPDATE logins SET used = ? WHERE id = ?", "ii", now, login);
}

int64_t logins_purge(store *s, int64_t now, int64_t since) {
  int64_t gone = store_run(s, "DELETE FROM renewals WHERE expires <= ?", "i", now);
  if (gone < 0) return gone;
  return store_run(s,
                   "DELETE FROM logins WHERE CASE WHEN cookie IS NULL"
                   " THEN id NOT IN (SELECT login FROM renewals) ELSE used <= ? END",
                   "i", since);
}

json_t *failure_find(store *s, const char *key) {
  bool found;
  return store_row(s, &found, "SELECT count, last FROM failures WHERE key = ?", "s", key);
}

int64_t failure_keep(store *s, const char *key, int64_t count, int64_t last) {
  return store_run(s,
                   "INSERT INTO failures (key, count, last) VALUES (?1, ?2, ?3)"
                   " ON CONFLICT (key) DO UPDATE SET count = ?2, last = ?3",
                   "sii", key, count, last);
}

int64_t failure_forget(store *s, const char *key) {
  return store_run(s, "DELETE FROM failures WHERE key = ?", "s", key);
}

int64_t failures_purge(store *s, int64_t before) {
  return store_run(s, "DELETE FROM failures WHERE last < ?", "i", before);
}

int64_t failures_last(store *s) {
  bool found;
  json_t *row = store_row(s, &found, "SELECT MAX(last) AS last FROM failures", "");
  int64_t last = store_integer(row, "last");
  json_decref(row);
  return last;
}
