#include "resets.h"

#include "users.h"

/* Within a transaction: a password, and whatever was opened with the one before ends. */
static bool set_password(store *s, int64_t user, const char *password) {
  return user_change_password(s, user, password) == 1 &&
         store_run(s, "DELETE FROM password_resets WHERE user = ?", "i", user) >= 0;
}

static int64_t end(store *s, int64_t result) {
  if (result > 0) return store_commit(s) ? result : STORE_FAILED;
  store_rollback(s);
  return result;
}

int64_t reset_begin(store *s, int64_t user, const char *hash, int64_t now, int64_t expires) {
  if (!store_begin(s)) return STORE_FAILED;
  bool ok = set_password(s, user, "") &&
            store_run(s,
                      "INSERT INTO password_resets (user, hash, created, expires)"
                      " VALUES (?, ?, ?, ?)",
                      "isii", user, hash, now, expires) == 1;
  return end(s, ok ? 1 : STORE_FAILED);
}

int64_t reset_user(store *s, const char *hash, int64_t now) {
  bool found;
  json_t *row = store_row(s, &found,
                          "SELECT u.id AS id FROM password_resets r JOIN users u ON u.id = r.user"
                          " WHERE r.hash = ? AND r.expires > ? AND u.enabled",
                          "si", hash, now);
  int64_t user = row ? store_integer(row, "id") : found ? STORE_FAILED : 0;
  json_decref(row);
  return user;
}

int64_t reset_use(store *s, const char *hash, const char *password, int64_t now) {
  if (!store_begin(s)) return STORE_FAILED;
  int64_t user = reset_user(s, hash, now);
  if (user > 0 && !set_password(s, user, password)) user = STORE_FAILED;
  return end(s, user);
}

int64_t resets_purge(store *s, int64_t now) {
  return store_run(s, "DELETE FROM password_resets WHERE expires <= ?", "i", now);
}
