#include "backup.h"

bool backup_settle(store *copy) {
  return store_run(copy, "DELETE FROM uploads", "") >= 0 &&
         store_run(copy, "DELETE FROM logins", "") >= 0 &&
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

bool backup_void_logins(store *copy) {
  return store_run(copy, "UPDATE users SET generation = random() & 9007199254740991", "") >= 0 &&
         store_run(copy, "DELETE FROM logins", "") >= 0;
}
