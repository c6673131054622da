#include "schema.h"

/* Times are Unix seconds. Hashes are of random secrets (BLAKE2b), in hexadecimal. */
const char *const schema[] = {
    "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE,"
    " password TEXT NOT NULL, role TEXT NOT NULL CHECK (role IN ('admin', 'user', 'node')),"
    " enabled INTEGER NOT NULL DEFAULT 1, generation INTEGER NOT NULL DEFAULT 1,"
    " created INTEGER NOT NULL);"
    "CREATE TABLE registration_keys (hash TEXT PRIMARY KEY, role TEXT NOT NULL,"
    " created INTEGER NOT NULL, expires INTEGER NOT NULL, used_by INTEGER);" /* an id that may be
                                                                                gone */
    "CREATE TABLE renewals (hash TEXT PRIMARY KEY,"
    " user INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,"
    " created INTEGER NOT NULL, expires INTEGER NOT NULL);"
    "CREATE TABLE models (id INTEGER PRIMARY KEY,"
    " owner INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE, name TEXT NOT NULL,"
    " description TEXT NOT NULL, dataset INTEGER, public INTEGER NOT NULL DEFAULT 0,"
    " created INTEGER NOT NULL, changed INTEGER NOT NULL, UNIQUE (owner, name));"
    /* state: checking, ready, broken */
    "CREATE TABLE datasets (id INTEGER PRIMARY KEY,"
    " owner INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE, name TEXT NOT NULL,"
    " public INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL, bytes INTEGER NOT NULL,"
    " file TEXT NOT NULL, format TEXT, properties TEXT, error TEXT, created INTEGER NOT NULL,"
    " UNIQUE (owner, name));"
    "CREATE TABLE uploads (key TEXT PRIMARY KEY,"
    " owner INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE, name TEXT NOT NULL,"
    " suffix TEXT NOT NULL, bytes INTEGER NOT NULL, created INTEGER NOT NULL);"
    /* state: waiting, running, finished, failed, cancelled. seen: what of its progress was told. */
    "CREATE TABLE sessions (id INTEGER PRIMARY KEY,"
    " owner INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,"
    " model INTEGER NOT NULL REFERENCES models(id) ON DELETE CASCADE,"
    " dataset INTEGER NOT NULL REFERENCES datasets(id) ON DELETE CASCADE,"
    " device TEXT NOT NULL, parameters TEXT NOT NULL, state TEXT NOT NULL,"
    " tries INTEGER NOT NULL DEFAULT 0, cancelled INTEGER NOT NULL DEFAULT 0, error TEXT,"
    " created INTEGER NOT NULL, started INTEGER, ended INTEGER);"
    "CREATE TABLE weights (id INTEGER PRIMARY KEY,"
    " owner INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,"
    " model INTEGER NOT NULL REFERENCES models(id) ON DELETE CASCADE,"
    " session INTEGER NOT NULL UNIQUE, bytes INTEGER NOT NULL, metrics TEXT NOT NULL,"
    " created INTEGER NOT NULL);"
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);",
    /* 2 */
    /* how requests of a model are put together; NULL: the server's defaults */
    "ALTER TABLE models ADD COLUMN max_batch_size INTEGER;"
    "ALTER TABLE models ADD COLUMN max_queue_delay_microseconds INTEGER;"
    "ALTER TABLE models ADD COLUMN max_queue_size INTEGER;"
    /* bytes that a training needs; where it runs or ran ("cpu" or a UUID); what it waits for */
    "ALTER TABLE sessions ADD COLUMN need_cpu INTEGER;"
    "ALTER TABLE sessions ADD COLUMN need_gpu INTEGER;"
    "ALTER TABLE sessions ADD COLUMN placed TEXT;"
    "ALTER TABLE sessions ADD COLUMN waits_for TEXT;"
    /* 1: has registered without a key and was not let in yet */
    "ALTER TABLE users ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0;",
};
const int schema_steps = sizeof schema / sizeof *schema;
