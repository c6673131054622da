/* What every room of the server works with: the store, what has happened, and where files are.
 * Made by main() before everything else and gone after everything else. Any thread. */
#ifndef SERVER_CONTEXT_H
#define SERVER_CONTEXT_H

#include "store/store.h"

#include <stdbool.h>

typedef struct event_hub event_hub; /* events.h */

typedef struct context {
  store *store;
  event_hub *events;
  const char *data_dir;
  bool sandbox; /* programs that read strangers' files are confined */
} context;

/* Unix seconds. */
int64_t context_now(void);
/* Seconds of a clock that nobody sets. */
double context_monotonic(void);

/* ---- files: data_dir/jobs/<session>/, datasets/<id>/, cache/<id>/ of a data set, uploads/<key>,
 * backups/<key>.zip ---- */

enum { CONTEXT_PATH = 4096 };

/* The path of a file in a session's folder; "": the folder itself. */
void path_of_job(const context *c, int64_t session, const char *file, char *path, size_t size);
/* The path of a file in a data set's folder. */
void path_of_dataset(const context *c, int64_t dataset, const char *file, char *path, size_t size);
/* The folder of what programs keep about a data set to be faster the next time. */
void path_of_cache(const context *c, int64_t dataset, char *path, size_t size);
void path_of_upload(const context *c, const char *key, char *path, size_t size);
void path_of_backup(const context *c, const char *key, char *path, size_t size);

/* Paths into the data directory become the name of their file: where the server keeps things is
 * nobody's business. In place. */
void hide_paths(const context *c, char *text);

/* Removes a folder and the files in it; folders in it stay, and so does it then. */
void folder_remove(const char *path);

#endif
