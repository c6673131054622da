#include "schema.h"

/* Times are Unix seconds. Hashes are of random secrets (BLAKE2b), in hexadecimal. */
const schema_step schema[] = {
    {{"CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE,"
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
      /* state: waiting, running, finished, failed, cancelled. seen: what of its progress was told.
       */
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
      "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);"}},
    /* 2 */
    /* how requests of a model are put together; NULL: the server's defaults */
    {{"ALTER TABLE models ADD COLUMN max_batch_size INTEGER;"
      "ALTER TABLE models ADD COLUMN max_queue_delay_microseconds INTEGER;"
      "ALTER TABLE models ADD COLUMN max_queue_size INTEGER;"
      /* bytes that a training needs; where it runs or ran ("cpu" or a UUID); what it waits for */
      "ALTER TABLE sessions ADD COLUMN need_cpu INTEGER;"
      "ALTER TABLE sessions ADD COLUMN need_gpu INTEGER;"
      "ALTER TABLE sessions ADD COLUMN placed TEXT;"
      "ALTER TABLE sessions ADD COLUMN waits_for TEXT;"
      /* 1: has registered without a key and was not let in yet */
      "ALTER TABLE users ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0;"}},
    /* 3: ids never come again (AUTOINCREMENT), not even those of rows that are gone already but
     * that others still name; generations are random; rows that clients edit have a version;
     * log-ins are rows of their own, and the log-ins of before end. */
    {{"CREATE TABLE new_users (id INTEGER PRIMARY KEY AUTOINCREMENT,"
      " name TEXT NOT NULL UNIQUE COLLATE NOCASE, password TEXT NOT NULL,"
      " role TEXT NOT NULL CHECK (role IN ('admin', 'user', 'node')),"
      " enabled INTEGER NOT NULL DEFAULT 1, waiting INTEGER NOT NULL DEFAULT 0,"
      " generation INTEGER NOT NULL, created INTEGER NOT NULL, version INTEGER NOT NULL DEFAULT 1);"
      "INSERT INTO new_users (id, name, password, role, enabled, waiting, generation, created)"
      " SELECT id, name, password, role, enabled, waiting, random() & 9007199254740991, created"
      " FROM users;"
      "CREATE TABLE new_keys (id INTEGER PRIMARY KEY AUTOINCREMENT, hash TEXT NOT NULL UNIQUE,"
      " role TEXT NOT NULL, creator INTEGER, created INTEGER NOT NULL, expires INTEGER NOT NULL,"
      " used_by INTEGER);" /* ids that may be gone */
      "INSERT INTO new_keys (hash, role, created, expires, used_by)"
      " SELECT hash, role, created, expires, used_by FROM registration_keys ORDER BY created;"
      "DROP TABLE renewals;"
      "CREATE TABLE logins (id INTEGER PRIMARY KEY AUTOINCREMENT,"
      " user INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE, address TEXT NOT NULL,"
      " agent TEXT NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL);"
      /* spent: when it was used; kept for as long as its reuse tells a theft */
      "CREATE TABLE renewals (hash TEXT PRIMARY KEY,"
      " login INTEGER NOT NULL REFERENCES logins(id) ON DELETE CASCADE,"
      " created INTEGER NOT NULL, expires INTEGER NOT NULL, spent INTEGER);"
      "CREATE INDEX renewals_of_login ON renewals (login);",
      "CREATE TABLE new_models (id INTEGER PRIMARY KEY AUTOINCREMENT,"
      " owner INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE, name TEXT NOT NULL,"
      " description TEXT NOT NULL, public INTEGER NOT NULL DEFAULT 0, created INTEGER NOT NULL,"
      " changed INTEGER NOT NULL, max_batch_size INTEGER, max_queue_delay_microseconds INTEGER,"
      " max_queue_size INTEGER, version INTEGER NOT NULL DEFAULT 1, UNIQUE (owner, name));"
      "INSERT INTO new_models (id, owner, name, description, public, created, changed,"
      " max_batch_size, max_queue_delay_microseconds, max_queue_size)"
      " SELECT id, owner, name, description, public, created, changed, max_batch_size,"
      " max_queue_delay_microseconds, max_queue_size FROM models;"
      "CREATE TABLE new_datasets (id INTEGER PRIMARY KEY AUTOINCREMENT,"
      " owner INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE, name TEXT NOT NULL,"
      " about TEXT NOT NULL DEFAULT '', public INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL,"
      " bytes INTEGER NOT NULL, file TEXT NOT NULL, format TEXT, properties TEXT, error TEXT,"
      " created INTEGER NOT NULL, version INTEGER NOT NULL DEFAULT 1, UNIQUE (owner, name));"
      "INSERT INTO new_datasets (id, owner, name, public, state, bytes, file, format, properties,"
      " error, created) SELECT id, owner, name, public, state, bytes, file, format, properties,"
      " error, created FROM datasets;"
      /* bytes NULL: not said yet. state: open, whole, failed */
      "CREATE TABLE new_uploads (key TEXT PRIMARY KEY,"
      " owner INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE, name TEXT NOT NULL,"
      " suffix TEXT NOT NULL, bytes INTEGER, created INTEGER NOT NULL,"
      " state TEXT NOT NULL DEFAULT 'open', error TEXT);"
      "INSERT INTO new_uploads (key, owner, name, suffix, bytes, created)"
      " SELECT key, owner, name, suffix, bytes, created FROM uploads;"
      /* dataset NULL: it was deleted, its name stays. wish: what its owner has asked for while it
       * waits or runs: cancel, stop (and keep the best weights), pause. state also: paused */
      "CREATE TABLE new_sessions (id INTEGER PRIMARY KEY AUTOINCREMENT,"
      " owner INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,"
      " model INTEGER NOT NULL REFERENCES models(id) ON DELETE CASCADE,"
      " dataset INTEGER REFERENCES datasets(id) ON DELETE SET NULL, dataset_name TEXT,"
      " device TEXT NOT NULL, parameters TEXT NOT NULL, state TEXT NOT NULL,"
      " tries INTEGER NOT NULL DEFAULT 0, wish TEXT, error TEXT, created INTEGER NOT NULL,"
      " started INTEGER, ended INTEGER, need_cpu INTEGER, need_gpu INTEGER, placed TEXT,"
      " waits_for TEXT);"
      "INSERT INTO new_sessions (id, owner, model, dataset, dataset_name, device, parameters, "
      "state,"
      " tries, wish, error, created, started, ended, need_cpu, need_gpu, placed, waits_for)"
      " SELECT s.id, s.owner, s.model, s.dataset, d.name, s.device, s.parameters, s.state, s.tries,"
      " CASE WHEN s.cancelled THEN 'cancel' END, s.error, s.created, s.started, s.ended, "
      "s.need_cpu,"
      " s.need_gpu, s.placed, s.waits_for FROM sessions s JOIN datasets d ON d.id = s.dataset;",
      "CREATE TABLE new_weights (id INTEGER PRIMARY KEY AUTOINCREMENT,"
      " owner INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,"
      " model INTEGER NOT NULL REFERENCES models(id) ON DELETE CASCADE,"
      " session INTEGER NOT NULL UNIQUE, bytes INTEGER NOT NULL, metrics TEXT NOT NULL,"
      " created INTEGER NOT NULL);"
      "INSERT INTO new_weights SELECT id, owner, model, session, bytes, metrics, created"
      " FROM weights;"
      "INSERT INTO sqlite_sequence (name, seq)"
      " SELECT 'new_' || t, 0 FROM (SELECT 'users' AS t UNION SELECT 'models' UNION SELECT "
      "'datasets'"
      " UNION SELECT 'sessions' UNION SELECT 'weights')"
      " WHERE 'new_' || t NOT IN (SELECT name FROM sqlite_sequence);"
      "UPDATE sqlite_sequence SET seq = max(seq, (SELECT COALESCE(MAX(used_by), 0)"
      " FROM registration_keys)) WHERE name = 'new_users';"
      "UPDATE sqlite_sequence SET seq = max(seq, (SELECT COALESCE(MAX(session), 0) FROM weights))"
      " WHERE name = 'new_sessions';"
      "DROP TABLE weights; DROP TABLE sessions; DROP TABLE uploads; DROP TABLE datasets;"
      "DROP TABLE models; DROP TABLE registration_keys; DROP TABLE users;"
      "ALTER TABLE new_users RENAME TO users; ALTER TABLE new_keys RENAME TO registration_keys;"
      "ALTER TABLE new_models RENAME TO models; ALTER TABLE new_datasets RENAME TO datasets;"
      "ALTER TABLE new_uploads RENAME TO uploads; ALTER TABLE new_sessions RENAME TO sessions;"
      "ALTER TABLE new_weights RENAME TO weights;"
      "CREATE INDEX sessions_of_state ON sessions (state);"
      "CREATE INDEX sessions_of_owner ON sessions (owner);"
      "CREATE INDEX weights_of_model ON weights (model);"
      /* Log-ins that failed, so that a restart forgets nobody. key: a keyed hash. */
      "CREATE TABLE failures (key TEXT PRIMARY KEY, count INTEGER NOT NULL, last INTEGER NOT "
      "NULL);"}},
    /* 4: API tokens, service accounts, keys with which a password is set anew, and the answers of
     * requests that may come again. */
    /* service: an account of a program; it has role 'user', no password and tokens only */
    {{"ALTER TABLE users ADD COLUMN service INTEGER NOT NULL DEFAULT 0;"
      /* scopes: names with blanks between them. expires NULL: never */
      "CREATE TABLE tokens (id INTEGER PRIMARY KEY AUTOINCREMENT,"
      " user INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,"
      " hash TEXT NOT NULL UNIQUE, name TEXT NOT NULL, scopes TEXT NOT NULL,"
      " created INTEGER NOT NULL, expires INTEGER, used INTEGER, UNIQUE (user, name));"
      "CREATE TABLE password_resets ("
      " user INTEGER PRIMARY KEY REFERENCES users(id) ON DELETE CASCADE,"
      " hash TEXT NOT NULL UNIQUE, created INTEGER NOT NULL, expires INTEGER NOT NULL);"
      /* key, request: hashes. status NULL: still under way. body: encrypted by the key */
      "CREATE TABLE idempotency (user INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,"
      " key TEXT NOT NULL, request TEXT NOT NULL, created INTEGER NOT NULL, status INTEGER,"
      " type TEXT, headers TEXT, body TEXT, PRIMARY KEY (user, key));"}},
    /* 5 */
    /* What devices did, by level (seconds of a sample); user: an id that may be gone. */
    {{"CREATE TABLE samples (device TEXT NOT NULL, level INTEGER NOT NULL, time INTEGER NOT NULL,"
      " seconds REAL NOT NULL, utilisation REAL, utilisation_max REAL, memory REAL, memory_max"
      " REAL, power REAL, power_max REAL, temperature REAL, temperature_max REAL,"
      " PRIMARY KEY (device, level, time)) WITHOUT ROWID;"
      "CREATE TABLE samples_of_people (device TEXT NOT NULL, level INTEGER NOT NULL,"
      " time INTEGER NOT NULL, user INTEGER NOT NULL, seconds REAL NOT NULL, memory REAL NOT NULL,"
      " PRIMARY KEY (device, level, time, user)) WITHOUT ROWID;"}},
    /* 6 */
    /* The hash of a log-in's cookie; NULL: it has a token and renewals. */
    {{"ALTER TABLE logins ADD COLUMN cookie TEXT;"
      "CREATE UNIQUE INDEX logins_of_cookie ON logins (cookie) WHERE cookie IS NOT NULL;"}},
    /* 7: jobs of the queue that measure weights. */
    /* evaluates: the weights, which may be gone; NULL: it is a training. report: JSON */
    {{"ALTER TABLE sessions ADD COLUMN evaluates INTEGER;"
      "ALTER TABLE sessions ADD COLUMN report TEXT;"
      "CREATE INDEX sessions_of_evaluates ON sessions (evaluates) WHERE evaluates IS NOT NULL;"}},
};
const int schema_steps = sizeof schema / sizeof *schema;
