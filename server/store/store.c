#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "names.h"
#include "schema.h"

struct store {
  sqlite3 *db;
  pthread_mutex_t mutex; /* recursive: a transaction's calls are inside it */
  atomic_uint_fast64_t version;
  int ballast; /* -1: there is none */
};

static _Thread_local char message[512];
static _Thread_local store_trouble trouble;
static _Thread_local bool may_use_ballast;

const char *store_error(void) {
  return message;
}

store_trouble store_last_trouble(void) {
  return trouble;
}

static bool fail(store *s, const char *what) {
  int code = sqlite3_errcode(s->db) & 0xff;
  trouble = code == SQLITE_FULL                            ? STORE_DISK_FULL
            : code == SQLITE_BUSY || code == SQLITE_LOCKED ? STORE_IS_BUSY
                                                           : STORE_IS_BROKEN;
  snprintf(message, sizeof message, "%s: %s", what, sqlite3_errmsg(s->db));
  return false;
}

/* ---- ballast: a file that is given up when the disk is full, so that what frees room still works
 * ---- */

enum { BALLAST = 4 << 20 };

void store_use_ballast(bool may) {
  may_use_ballast = may;
}

static void open_ballast(store *s, const char *path) {
  char file[4096];
  snprintf(file, sizeof file, "%s.ballast", path);
  s->ballast = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

void store_fill_ballast(store *s) {
  if (s->ballast >= 0 && posix_fallocate(s->ballast, 0, BALLAST) != 0) return; /* next time */
}

/* True: there is a little room now; what has failed may be tried again. */
static bool give_up_ballast(store *s) {
  off_t size = may_use_ballast && s->ballast >= 0 ? lseek(s->ballast, 0, SEEK_END) : 0;
  return size > 0 && ftruncate(s->ballast, size > (1 << 20) ? size / 2 : 0) == 0;
}

/* ---- statements ---- */

static sqlite3_stmt *prepare(store *s, const char *sql, const char *types, va_list args) {
  sqlite3_stmt *statement = NULL;
  if (sqlite3_prepare_v2(s->db, sql, -1, &statement, NULL) != SQLITE_OK) {
    fail(s, sql);
    return NULL;
  }
  for (int i = 0; types[i]; i++) {
    int result = SQLITE_MISUSE;
    const char *text;
    switch (types[i]) {
    case 'i': result = sqlite3_bind_int64(statement, i + 1, va_arg(args, int64_t)); break;
    case 'd': result = sqlite3_bind_double(statement, i + 1, va_arg(args, double)); break;
    case 's':
      text = va_arg(args, const char *);
      result = text ? sqlite3_bind_text(statement, i + 1, text, -1, SQLITE_TRANSIENT)
                    : sqlite3_bind_null(statement, i + 1);
    }
    if (result == SQLITE_OK) continue;
    fail(s, sql);
    sqlite3_finalize(statement);
    return NULL;
  }
  return statement;
}

static json_t *row_of(sqlite3_stmt *statement) {
  json_t *row = json_object();
  for (int i = 0; row && i < sqlite3_column_count(statement); i++) {
    const char *name = sqlite3_column_name(statement, i);
    json_t *value;
    switch (sqlite3_column_type(statement, i)) {
    case SQLITE_INTEGER: value = json_integer(sqlite3_column_int64(statement, i)); break;
    case SQLITE_FLOAT: value = json_real(sqlite3_column_double(statement, i)); break;
    case SQLITE_NULL: value = json_null(); break;
    default:
      value = json_stringn((const char *)sqlite3_column_text(statement, i),
                           (size_t)sqlite3_column_bytes(statement, i));
    }
    json_object_set_new(row, name, value ? value : json_null());
  }
  return row;
}

static json_t *rows(store *s, const char *sql, const char *types, va_list args) {
  pthread_mutex_lock(&s->mutex);
  sqlite3_stmt *statement = prepare(s, sql, types, args);
  json_t *list = statement ? json_array() : NULL;
  int result = SQLITE_DONE;
  while (list && (result = sqlite3_step(statement)) == SQLITE_ROW)
    json_array_append_new(list, row_of(statement));
  if (list && result != SQLITE_DONE) {
    fail(s, "the store");
    json_decref(list);
    list = NULL;
  }
  if (statement && !sqlite3_stmt_readonly(statement) && sqlite3_changes(s->db) > 0)
    atomic_fetch_add(&s->version, 1);
  sqlite3_finalize(statement);
  pthread_mutex_unlock(&s->mutex);
  return list;
}

json_t *store_rows(store *s, const char *sql, const char *types, ...) {
  va_list args;
  va_start(args, types);
  json_t *list = rows(s, sql, types, args);
  va_end(args);
  return list;
}

json_t *store_row(store *s, bool *found, const char *sql, const char *types, ...) {
  va_list args;
  va_start(args, types);
  json_t *list = rows(s, sql, types, args);
  va_end(args);
  *found = !list || json_array_size(list) > 0;
  json_t *row = list && *found ? json_incref(json_array_get(list, 0)) : NULL;
  json_decref(list);
  return row;
}

int64_t store_integer(const json_t *row, const char *column) {
  return json_integer_value(json_object_get(row, column));
}

const char *store_text(const json_t *row, const char *column) {
  return json_string_value(json_object_get(row, column));
}

/* Rows are passed over. */
static int step_to_end(store *s, sqlite3_stmt *statement) {
  for (;;) {
    int step = sqlite3_step(statement);
    if (step == SQLITE_ROW) continue;
    if (step != SQLITE_FULL || !give_up_ballast(s)) return step;
    sqlite3_reset(statement);
  }
}

static int64_t change(store *s, bool insert, const char *sql, const char *types, va_list args) {
  pthread_mutex_lock(&s->mutex);
  sqlite3_stmt *statement = prepare(s, sql, types, args);
  int64_t result = STORE_FAILED;
  int step = statement ? step_to_end(s, statement) : SQLITE_ERROR;
  if (step == SQLITE_DONE)
    result = insert ? sqlite3_last_insert_rowid(s->db) : sqlite3_changes(s->db);
  else if (statement) {
    int extended = sqlite3_extended_errcode(s->db);
    fail(s, "the store");
    if (extended == SQLITE_CONSTRAINT_UNIQUE || extended == SQLITE_CONSTRAINT_PRIMARYKEY)
      result = STORE_EXISTS;
  }
  sqlite3_finalize(statement);
  if (result > 0) atomic_fetch_add(&s->version, 1);
  pthread_mutex_unlock(&s->mutex);
  return result;
}

int64_t store_run(store *s, const char *sql, const char *types, ...) {
  va_list args;
  va_start(args, types);
  int64_t result = change(s, false, sql, types, args);
  va_end(args);
  return result;
}

int64_t store_insert(store *s, const char *sql, const char *types, ...) {
  va_list args;
  va_start(args, types);
  int64_t result = change(s, true, sql, types, args);
  va_end(args);
  return result;
}

/* ---- partial changes ---- */

static int bind_json(sqlite3_stmt *statement, int place, const json_t *value) {
  switch (json_typeof(value)) {
  case JSON_STRING:
    return sqlite3_bind_text(statement, place, json_string_value(value),
                             (int)json_string_length(value), SQLITE_TRANSIENT);
  case JSON_INTEGER: return sqlite3_bind_int64(statement, place, json_integer_value(value));
  case JSON_REAL: return sqlite3_bind_double(statement, place, json_real_value(value));
  case JSON_TRUE: return sqlite3_bind_int64(statement, place, 1);
  case JSON_FALSE: return sqlite3_bind_int64(statement, place, 0);
  case JSON_NULL: return sqlite3_bind_null(statement, place);
  default: return SQLITE_MISUSE;
  }
}

/* The columns come from this program's tables, never from a client. */
static sqlite3_stmt *prepare_update(store *s, const char *table, int64_t id, int64_t version,
                                    const json_t *changes, const char *condition) {
  char sql[1024];
  const char *column;
  json_t *value;
  sqlite3_stmt *statement = NULL;
  int place = 3;
  size_t at = (size_t)snprintf(sql, sizeof sql, "UPDATE %s SET version = version + 1", table);
  json_object_foreach((json_t *)(uintptr_t)changes, column, value) at +=
      (size_t)snprintf(sql + at, sizeof sql - at, ", %.60s = ?%d", column, place++);
  snprintf(sql + at, sizeof sql - at, " WHERE id = ?1 AND ?2 IN (0, version)%s%s",
           condition ? " AND " : "", condition ? condition : "");
  if (sqlite3_prepare_v2(s->db, sql, -1, &statement, NULL) != SQLITE_OK) return NULL;
  int result = sqlite3_bind_int64(statement, 1, id);
  if (result == SQLITE_OK) result = sqlite3_bind_int64(statement, 2, version);
  place = 3;
  json_object_foreach((json_t *)(uintptr_t)changes, column, value) if (result == SQLITE_OK) result =
      bind_json(statement, place++, value);
  if (result == SQLITE_OK) return statement;
  sqlite3_finalize(statement);
  return NULL;
}

int64_t store_update(store *s, const char *table, int64_t id, int64_t version,
                     const json_t *changes, const char *condition) {
  pthread_mutex_lock(&s->mutex);
  sqlite3_stmt *statement = prepare_update(s, table, id, version, changes, condition);
  int64_t result = STORE_FAILED;
  int step = statement ? step_to_end(s, statement) : SQLITE_ERROR;
  if (step == SQLITE_DONE)
    result = sqlite3_changes(s->db);
  else {
    bool exists = sqlite3_extended_errcode(s->db) == SQLITE_CONSTRAINT_UNIQUE;
    fail(s, "the store");
    if (exists) result = STORE_EXISTS;
  }
  sqlite3_finalize(statement);
  if (result > 0) atomic_fetch_add(&s->version, 1);
  pthread_mutex_unlock(&s->mutex);
  return result;
}

/* ---- transactions ---- */

static bool execute(store *s, const char *sql) {
  int result;
  do result = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
  while (result == SQLITE_FULL && give_up_ballast(s));
  return result == SQLITE_OK || fail(s, sql);
}

bool store_begin(store *s) {
  pthread_mutex_lock(&s->mutex);
  if (execute(s, "BEGIN IMMEDIATE")) return true;
  pthread_mutex_unlock(&s->mutex);
  return false;
}

bool store_commit(store *s) {
  bool ok = execute(s, "COMMIT");
  if (!ok) sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
  atomic_fetch_add(&s->version, 1); /* what was read meanwhile is older */
  pthread_mutex_unlock(&s->mutex);
  return ok;
}

void store_rollback(store *s) {
  sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
  atomic_fetch_add(&s->version, 1);
  pthread_mutex_unlock(&s->mutex);
}

uint64_t store_version(const store *s) {
  return atomic_load(&((store *)(uintptr_t)s)->version);
}

/* ---- whole stores ---- */

/* Copies one database into another, page by page, in one transaction of the target. */
static int copy_pages(sqlite3 *to, sqlite3 *from) {
  sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
  if (!b) return sqlite3_errcode(to);
  int result = sqlite3_backup_step(b, -1);
  int last = sqlite3_backup_finish(b);
  return result == SQLITE_DONE ? last : result;
}

bool store_copy(store *s, const char *path) {
  sqlite3 *to = NULL;
  pthread_mutex_lock(&s->mutex);
  int result = sqlite3_open(path, &to);
  if (result == SQLITE_OK) result = copy_pages(to, s->db);
  if (result != SQLITE_OK)
    snprintf(message, sizeof message, "the store cannot be copied: %s", sqlite3_errstr(result));
  sqlite3_close(to);
  pthread_mutex_unlock(&s->mutex);
  return result == SQLITE_OK;
}

/* Ids that were given since the copy was made do not come again. */
static void raise_sequences(store *s, const json_t *before) {
  json_t *row;
  size_t i;
  json_array_foreach((json_t *)(uintptr_t)before, i, row) {
    const char *name = store_text(row, "name");
    int64_t seq = store_integer(row, "seq");
    if (store_run(s, "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", "is", seq,
                  name) == 0)
      store_run(s, "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", "si", name, seq);
  }
}

bool store_replace(store *s, const char *path, void (*with)(void *user), void *user) {
  sqlite3 *from = NULL;
  pthread_mutex_lock(&s->mutex);
  json_t *sequences = store_rows(s, "SELECT name, seq FROM sqlite_sequence", "");
  int result = sqlite3_open_v2(path, &from, SQLITE_OPEN_READWRITE, NULL);
  if (result == SQLITE_OK) result = copy_pages(s->db, from);
  if (result != SQLITE_OK)
    snprintf(message, sizeof message, "the store cannot be replaced: %s", sqlite3_errstr(result));
  sqlite3_close(from);
  if (result == SQLITE_OK) {
    execute(s, "PRAGMA journal_mode = WAL"); /* the copy may have brought another */
    raise_sequences(s, sequences);
    with(user);
  }
  json_decref(sequences);
  atomic_fetch_add(&s->version, 1);
  pthread_mutex_unlock(&s->mutex);
  return result == SQLITE_OK;
}

/* ---- opening ---- */

/* skeleton(name): what names that look alike have in common. */
static void sql_skeleton(sqlite3_context *context, int n, sqlite3_value **values) {
  char text[NAME_SKELETON];
  (void)n;
  const char *name = (const char *)sqlite3_value_text(values[0]);
  name_skeleton(name ? name : "", text);
  sqlite3_result_text(context, text, -1, SQLITE_TRANSIENT);
}

/* Each step of the schema once, in a transaction of its own. */
static bool migrate(store *s) {
  bool found;
  json_t *row = store_row(s, &found, "PRAGMA user_version", "");
  int version = row ? (int)json_integer_value(json_object_get(row, "user_version")) : -1;
  json_decref(row);
  if (version < 0) return false;
  if (version > schema_steps) {
    snprintf(message, sizeof message,
             "the store is of version %d, this program knows %d: it was used by a newer one",
             version, schema_steps);
    return false;
  }
  for (; version < schema_steps; version++) {
    char sql[64];
    snprintf(sql, sizeof sql, "PRAGMA user_version = %d", version + 1);
    if (!store_begin(s)) return false;
    bool ok = true;
    for (int i = 0; i < 4 && schema[version].sql[i]; i++)
      ok = ok && execute(s, schema[version].sql[i]);
    if (!ok || !execute(s, sql)) {
      store_rollback(s);
      return false;
    }
    if (!store_commit(s)) return false;
  }
  return true;
}

store *store_open(const char *path, char *error, size_t size) {
  store *s = calloc(1, sizeof *s);
  pthread_mutexattr_t attributes;
  snprintf(error, size, "out of memory");
  if (!s) return NULL;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&s->mutex, &attributes);
  pthread_mutexattr_destroy(&attributes);
  s->ballast = -1;
  if (sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK)
    fail(s, path);
  else {
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_timeout(s->db, 5000);
    sqlite3_create_function(s->db, "skeleton", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL,
                            sql_skeleton, NULL, NULL);
    /* Tables are made anew by some steps: their references are looked at when all is done. */
    if (execute(s, "PRAGMA journal_mode = WAL") && execute(s, "PRAGMA synchronous = FULL") &&
        migrate(s) && execute(s, "PRAGMA foreign_keys = ON")) {
      open_ballast(s, path);
      store_fill_ballast(s);
      return s;
    }
  }
  snprintf(error, size, "%s", message);
  store_close(s);
  return NULL;
}

void store_close(store *s) {
  if (!s) return;
  sqlite3_close_v2(s->db);
  if (s->ballast >= 0) close(s->ballast);
  pthread_mutex_destroy(&s->mutex);
  free(s);
}
