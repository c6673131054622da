/* The embedded store: SQLite (WAL), one connection behind a mutex. Rows come as JSON objects by
 * column name. Any thread; calls of one transaction come from one thread, which holds the store
 * meanwhile.
 *
 * types: one letter per "?" of the statement: i int64_t, d double, s const char * (NULL is NULL).
 */
#ifndef SERVER_STORE_H
#define SERVER_STORE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct store store;

/* Opens or makes the file and brings its schema up to date. NULL with a sentence. */
store *store_open(const char *path, char *error, size_t error_size);
void store_close(store *store);

/* An array of objects; NULL: store_error(). The caller's reference. */
json_t *store_rows(store *store, const char *sql, const char *types, ...);
/* The first row, or NULL with *found false; NULL with *found true: an error. */
json_t *store_row(store *store, bool *found, const char *sql, const char *types, ...);
/* A value of a row; 0 or NULL where it is not there. */
int64_t store_integer(const json_t *row, const char *column);
const char *store_text(const json_t *row, const char *column);
/* Rows changed, or -1; STORE_EXISTS where a value that must be unique is there already. */
enum { STORE_FAILED = -1, STORE_EXISTS = -2 };
int64_t store_run(store *store, const char *sql, const char *types, ...);
/* The new row's id, or as store_run(). */
int64_t store_insert(store *store, const char *sql, const char *types, ...);

/* Partial changes, in one place: the columns that `changes` names get its values (texts, numbers,
 * booleans, null), nothing else does but the row's version, which grows by one. version: only where
 * that is the row's, so that nobody overwrites what he has not seen; 0: whatever it is. condition:
 * SQL about the row that must hold, too, or NULL. The table must have columns id and version, and
 * the names be columns: they are the program's own. As store_run(). */
int64_t store_update(store *store, const char *table, int64_t id, int64_t version,
                     const json_t *changes, const char *condition);

/* begin() takes the store until commit() or rollback(). */
bool store_begin(store *store);
bool store_commit(store *store);
void store_rollback(store *store);

/* Writes the store as it is now into a new file, while others use it. */
bool store_copy(store *store, const char *path);
/* Everything in the store becomes what is in that file, a store of the same version, in one
 * transaction; ids that were given before are not given again. with(user) runs before anybody else
 * comes to it. */
bool store_replace(store *store, const char *path, void (*with)(void *user), void *user);

/* Grows with every change: what was read stays true as long as this is what it was before. */
uint64_t store_version(const store *store);

/* The calling thread's last failure: one sentence for the log, and what to make of it. */
const char *store_error(void);
typedef enum store_trouble { STORE_IS_BROKEN, STORE_DISK_FULL, STORE_IS_BUSY } store_trouble;
store_trouble store_last_trouble(void);

/* A file of 4 MiB beside the store keeps room for what frees room: while the calling thread may use
 * it, changes that find the disk full give it up and are tried again. fill: after room was made. */
void store_use_ballast(bool may);
void store_fill_ballast(store *store);

#endif
