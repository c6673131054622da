#include "backup.h"

/* A token that was revoked since must not come back, nor a key that was used. */
static bool forget_secrets(store *copy) {
  return store_run(copy, "DELETE FROM tokens", "") >= 0 &&
         store_run(copy, "DELETE FROM password_resets", "") >= 0 &&
         store_run(copy, "DELETE FROM idempotency", "") >= 0;
}

bool backup_settle(store *copy) {
  return store_run(copy, "DELETE FROM uploads", "") >= 0 &&
         store_run(copy, "DELETE FROM logins", "") >= 0 && forget_secrets(copy) &&
         store_run(copy,
                   "UPDATE sessions SET state = 'failed', placed = NULL, error = 'it was under way"
                   " when the backup was made; start it again' WHERE state IN ('waiting',"
                   " 'running', 'paused')",
                   "") >= 0;
}

json_t *backup_datasets(store *copy) {
  return store_rows(copy, "SELECT id, file FROM datasets", "");
}

json_t *backup_weights(store *copy) {
  return store_rows(copy, "SELECT id, session FROM weights", "");
}

void backup_drop_dataset(store *copy, int64_t id) {
  store_run(copy, "DELETE FROM datasets WHERE id = ?", "i", id);
}

void backup_drop_weights(store *copy, int64_t id) {
  store_run(copy, "DELETE FROM weights WHERE id = ?", "i", id);
}

static bool has_rows(store *s, const char *sql) {
  bool found;
  json_decref(store_row(s, &found, sql, ""));
  return found; /* an error counts, too */
}

const char *backup_problem(store *copy) {
  if (has_rows(copy, "SELECT 1 AS one FROM sqlite_master WHERE type IN ('trigger', 'view')"))
    return "its store has triggers or views";
  if (has_rows(copy, "SELECT 1 AS one FROM pragma_integrity_check WHERE integrity_check <> 'ok'"))
    return "its store is damaged";
  if (has_rows(copy, "SELECT 1 AS one FROM pragma_foreign_key_check"))
    return "its store has references to what is not there";
  if (has_rows(copy, "SELECT 1 AS one FROM datasets WHERE file NOT GLOB 'data*' OR"
                     " file GLOB '*[^a-z.]*'"))
    return "a data set names a file that is none of the server's";
  return NULL;
}

bool backup_void_logins(store *copy) {
  return store_run(copy, "DELETE FROM uploads", "") >= 0 &&
         store_run(copy, "UPDATE users SET generation = random() & 9007199254740991", "") >= 0 &&
         store_run(copy, "DELETE FROM logins", "") >= 0 && forget_secrets(copy);
}
