/* Data sets and the uploads that become them. */
#ifndef SERVER_STORE_DATASETS_H
#define SERVER_STORE_DATASETS_H

#include "store.h"

/* Rows: id, owner, owner_name, name, about, public, state (checking, ready, broken), format, bytes,
 * error, created, version; one: file and properties (a JSON text), too. */
json_t *datasets_list(store *s, int64_t user, bool all);
json_t *dataset_find(store *s, int64_t id, bool *found);
/* One that is ready and the user's, or public: file, properties. */
json_t *dataset_find_ready(store *s, int64_t id, int64_t user, bool *found);

typedef enum dataset_name {
  DATASET_NAME_FREE,
  DATASET_NAME_YOURS,
  DATASET_NAME_PUBLIC,
  DATASET_NAME_UNKNOWN /* store_error() */
} dataset_name;
/* Whether the user may give this name; except: a data set that has it already, or 0. */
dataset_name dataset_name_of(store *s, const char *name, int64_t user, int64_t except);

/* As store_update(). */
int64_t dataset_change(store *s, int64_t id, int64_t version, const json_t *changes);
/* What looking at it has shown. properties NULL: it is broken, and `error` says why. */
int64_t dataset_set_looked(store *s, int64_t id, const char *format, const char *properties,
                           const char *error);
/* 0: a session waits, runs or pauses with it. Sessions that are over keep its name. */
int64_t dataset_delete(store *s, int64_t id);
/* The sessions that are in the way of deleting it: id, owner. */
json_t *dataset_sessions(store *s, int64_t id);

/* Those that are to be looked at: id, owner, name, file. */
json_t *datasets_unlooked(store *s);
bool dataset_exists(store *s, int64_t id);

/* Bytes of the user's data sets and uploads together; -1: store_error(). */
int64_t datasets_bytes(store *s, int64_t user);

/* ---- uploads ---- */

/* bytes -1: not said yet. */
int64_t upload_add(store *s, const char *key, int64_t owner, const char *name, const char *suffix,
                   int64_t bytes, int64_t now);
/* key, name, suffix, bytes (null: not said yet), created, state (open, failed), error. */
json_t *upload_find(store *s, const char *key, int64_t owner, bool *found);
json_t *uploads_list(store *s, int64_t owner);
int64_t upload_set_bytes(store *s, const char *key, int64_t bytes);
/* It is whole but cannot become a data set: the client sees why. */
int64_t upload_set_failed(store *s, const char *key, const char *error);
int64_t upload_delete(store *s, const char *key);
/* The user's that were begun before this time go; how many there were. */
int64_t uploads_forget(store *s, int64_t owner, int64_t before);
int64_t uploads_count(store *s, int64_t owner);
bool upload_exists(store *s, const char *key);
/* Those that are open: key, owner, name, suffix, bytes. */
json_t *uploads_open(store *s);

/* Within a transaction of the caller's: the upload's row becomes a data set's; its id. */
int64_t upload_becomes_dataset(store *s, const json_t *upload, int64_t owner, const char *file,
                               int64_t bytes, int64_t now);

#endif
