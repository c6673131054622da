#include "users.h"

#define SEEN                                                                                       \
  "id, name, CASE WHEN service THEN 'service' ELSE role END AS role, enabled, waiting, created, "  \
  "version"
/* Random, so that no token of an account that is gone opens another one. */
#define GENERATION "random() & 9007199254740991"

json_t *users_list(store *s) {
  return store_rows(s, "SELECT " SEEN " FROM users ORDER BY name", "");
}

json_t *user_find(store *s, int64_t id, bool *found) {
  return store_row(s, found, "SELECT " SEEN " FROM users WHERE id = ?", "i", id);
}

json_t *user_by_name(store *s, const char *name, bool *found) {
  return store_row(s, found,
                   "SELECT id, password FROM users WHERE name = ? AND enabled AND password <> ''",
                   "s", name);
}

json_t *user_password(store *s, int64_t id, bool *found) {
  return store_row(s, found, "SELECT password FROM users WHERE id = ?", "i", id);
}

json_t *user_of_login(store *s, int64_t id, int64_t login, bool *found) {
  return store_row(s, found,
                   "SELECT u.id AS id, u.name AS name, u.role AS role, u.generation AS generation"
                   " FROM users u JOIN logins l ON l.user = u.id"
                   " WHERE u.id = ? AND u.enabled AND l.id = ?",
                   "ii", id, login);
}

/* Within a transaction. */
static int64_t insert(store *s, const char *name, const char *password, const char *role,
                      bool waits, int64_t now) {
  bool found;
  json_t *like = store_row(
      s, &found, "SELECT 1 AS one FROM users WHERE skeleton(name) = skeleton(?)", "s", name);
  json_decref(like);
  if (found) return like ? STORE_EXISTS : STORE_FAILED;
  return store_insert(s,
                      "INSERT INTO users (name, password, role, enabled, waiting, generation,"
                      " created) VALUES (?, ?, ?, ?, ?, " GENERATION ", ?)",
                      "sssiii", name, password, role, (int64_t)!waits, (int64_t)waits, now);
}

/* Ends the transaction; the result, or STORE_FAILED where it could not be kept. */
static int64_t end(store *s, int64_t result) {
  if (result > 0) return store_commit(s) ? result : STORE_FAILED;
  store_rollback(s);
  return result;
}

int64_t user_ask(store *s, const char *name, const char *password, int64_t now, int most) {
  bool found;
  if (!store_begin(s)) return STORE_FAILED;
  json_t *row = store_row(s, &found, "SELECT COUNT(*) AS n FROM users WHERE waiting", "");
  int64_t result = !row                              ? STORE_FAILED
                   : store_integer(row, "n") >= most ? 0
                                                     : insert(s, name, password, "user", true, now);
  json_decref(row);
  return end(s, result);
}

int64_t user_register(store *s, const char *key_hash, const char *name, const char *password,
                      int64_t now) {
  bool found;
  if (!store_begin(s)) return STORE_FAILED;
  json_t *row = store_row(
      s, &found,
      "SELECT id, role FROM registration_keys WHERE hash = ? AND used_by IS NULL AND expires > ?",
      "si", key_hash, now);
  int64_t user = row     ? insert(s, name, password, store_text(row, "role"), false, now)
                 : found ? STORE_FAILED
                         : USERS_NO_KEY;
  if (user > 0 && store_run(s, "UPDATE registration_keys SET used_by = ? WHERE id = ?", "ii", user,
                            store_integer(row, "id")) != 1)
    user = STORE_FAILED;
  json_decref(row);
  return end(s, user);
}

int64_t user_add(store *s, const char *name, const char *role, bool service, int64_t now) {
  if (!store_begin(s)) return STORE_FAILED;
  int64_t user = insert(s, name, "", role, false, now);
  if (user > 0 && service &&
      store_run(s, "UPDATE users SET service = 1 WHERE id = ?", "i", user) != 1)
    user = STORE_FAILED;
  return end(s, user);
}

int users_have_admin(store *s) {
  bool found;
  json_t *row = store_row(
      s, &found, "SELECT 1 AS one FROM users WHERE role = 'admin' AND enabled AND password <> ''",
      "");
  json_decref(row);
  return row ? 1 : found ? -1 : 0;
}

/* Within a transaction: what was changed stands if an administrator is left. */
static int64_t end_with_admin(store *s, int64_t changed) {
  int left = changed > 0 ? users_have_admin(s) : 1;
  return end(s, left > 0 ? changed : left < 0 ? STORE_FAILED : USERS_NO_ADMIN);
}

int64_t user_change(store *s, int64_t id, int64_t version, const json_t *changes) {
  if (!store_begin(s)) return STORE_FAILED;
  int64_t changed = store_update(s, "users", id, version, changes, NULL);
  if (changed > 0 && (store_run(s,
                                "UPDATE users SET generation = " GENERATION
                                ", waiting = waiting AND NOT enabled WHERE id = ?",
                                "i", id) != 1 ||
                      store_run(s, "DELETE FROM logins WHERE user = ?", "i", id) < 0))
    changed = STORE_FAILED;
  return end_with_admin(s, changed);
}

int64_t user_change_password(store *s, int64_t id, const char *password) {
  int64_t changed =
      store_run(s,
                "UPDATE users SET password = ?, generation = " GENERATION ", version = version + 1"
                " WHERE id = ?",
                "si", password, id);
  if (changed > 0 && store_run(s, "DELETE FROM logins WHERE user = ?", "i", id) < 0)
    changed = STORE_FAILED;
  return changed;
}

int64_t user_set_password(store *s, int64_t id, const char *password) {
  return store_begin(s) ? end(s, user_change_password(s, id, password)) : STORE_FAILED;
}

int64_t user_delete(store *s, int64_t id) {
  if (!store_begin(s)) return STORE_FAILED;
  return end_with_admin(s, store_run(s, "DELETE FROM users WHERE id = ?", "i", id));
}

/* ---- one-time keys ---- */

int64_t key_add(store *s, const char *hash, const char *role, int64_t creator, int64_t now,
                int64_t expires) {
  return store_insert(s,
                      "INSERT INTO registration_keys (hash, role, creator, created, expires)"
                      " VALUES (?, ?, ?, ?, ?)",
                      "ssiii", hash, role, creator, now, expires);
}

json_t *keys_list(store *s, int64_t now) {
  return store_rows(s,
                    "SELECT id, role, creator, created, expires FROM registration_keys"
                    " WHERE used_by IS NULL AND expires > ? ORDER BY id DESC",
                    "i", now);
}

int64_t key_delete(store *s, int64_t id) {
  return store_run(s, "DELETE FROM registration_keys WHERE id = ? AND used_by IS NULL", "i", id);
}

int64_t keys_forget_admins(store *s) {
  return store_run(s, "DELETE FROM registration_keys WHERE role = 'admin' AND used_by IS NULL", "");
}
